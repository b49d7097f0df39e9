"""`emmap wc`, beside GNU wc."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from click.testing import Result

from cli.gnu import FILES, gnu, make_files, ours
from emmap.cli import cluster, progress, streams, wc

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]

LISTS = [
    ["text"],
    ["empty"],
    ["text", "empty", "large", "latin", "binary", "tabs", "cut"],
    ["large", "none", "text"],
    ["none"],
    ["folder"],
    ["loop", "folder", "text", "/dev/null", "a name", "it's"],
    ["text", "text"],
    ["/proc/version"],
    ["/sys/kernel/mm/transparent_hugepage/enabled", "/proc/cpuinfo"],
    ["", "text"],
    ["no\nname", "caf\udce9", "a:b", "q=", "{}", "~", "#", 'it\'s no "name"', "text"],
]
FLAGS = [[], ["-l"], ["-w"], ["-c"], ["-L"], ["-lw"], ["-cl"], ["-wcL"], ["-L", "--lines"]]


@pytest.fixture(scope="module", autouse=True)
def _coreutils() -> None:
    done = subprocess.run(["wc", "--version"], capture_output=True, text=True, check=False)
    if "coreutils) 9.1\n" not in done.stdout:
        pytest.skip("wc is not that of coreutils 9.1")


@pytest.fixture
def in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, bytes, bytes]]:
    """Run wc's `main` in this process, which saves the start of another."""
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, bytes, bytes]:
        out, err = TextIOWrapper(BytesIO()), TextIOWrapper(BytesIO(), errors="surrogateescape")
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        code = wc.main(list(arguments))
        for stream in (out, err):
            stream.flush()
        written, errors = (stream.buffer.getvalue() for stream in (out, err))
        return code, written, errors.replace(b"emmap wc", b"wc")

    return call


InProcess = Callable[..., tuple[int, bytes, bytes]]


@pytest.mark.parametrize("files", LISTS, ids=repr)
def test_as_gnu(in_process: InProcess, tmp_path: Path, files: list[str]) -> None:
    for flags in FLAGS:
        assert in_process(*flags, *files) == gnu(tmp_path, "wc", *flags, *files), flags


def test_characters(in_process: InProcess, tmp_path: Path) -> None:
    files = [name for name in FILES if name != "binary"]
    assert in_process("-m", *files) == gnu(tmp_path, "wc", "-m", *files, locale="C.UTF-8")
    assert in_process("-cm", "latin")[1].split()[:2] == [b"21", b"31"]


def test_options_behind_files(in_process: InProcess, tmp_path: Path) -> None:
    assert in_process("text", "-l", "cut") == gnu(tmp_path, "wc", "text", "-l", "cut")
    (tmp_path / "-l").write_bytes(b"one")
    assert in_process("--", "-l", "text") == gnu(tmp_path, "wc", "--", "-l", "text")


@pytest.mark.parametrize("arguments", [["-z"], ["--flying"], ["-lx", "text"]], ids=repr)
def test_wrong_options(in_process: InProcess, tmp_path: Path, arguments: list[str]) -> None:
    assert in_process(*arguments) == gnu(tmp_path, "wc", *arguments)


@pytest.mark.parametrize("size", [1, 64, 10_000, 1 << 20])
def test_pieces_of_a_stream(
    in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(streams, "PIECE", size)
    monkeypatch.setattr(wc, "is_regular", lambda status: False)
    for name in FILES:
        if size == 1 and name == "large":
            continue
        for flags in ("-L", "-lw", "-m"):
            locale = "C.UTF-8" if flags == "-m" else "C"
            if (name, flags) != ("binary", "-m"):
                found = in_process(flags, name)[1].split()
                assert found == gnu(tmp_path, "wc", flags, name, locale=locale)[1].split()


def test_standard_input(program: Program, tmp_path: Path) -> None:
    make_files(tmp_path)
    for arguments in ([], ["-"], ["text", "-", "cut"], ["-l"]):
        for given in (b"", FILES["large"]):
            assert ours(program, "wc", *arguments, input=given) == gnu(
                tmp_path, "wc", *arguments, input=given
            )
        with (tmp_path / "large").open("rb") as one, (tmp_path / "large").open("rb") as two:
            for file in (one, two):
                os.lseek(file.fileno(), 1000, os.SEEK_SET)
            assert ours(program, "wc", *arguments, stdin=one) == gnu(
                tmp_path, "wc", *arguments, stdin=two
            )
            assert os.lseek(one.fileno(), 0, os.SEEK_CUR) == os.path.getsize(tmp_path / "large")


def test_a_regular_input_is_mapped(program: Program, tmp_path: Path) -> None:
    make_files(tmp_path)
    code = "from emmap.cli import streams, wc; streams.os.read = None; wc.main(['-'])"
    with (tmp_path / "text").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=file, capture_output=True, check=True
        )
    assert done.stdout == b" 4  9 51 -\n"


def test_a_named_pipe(program: Program, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", "echo some words > pipe"], cwd=tmp_path)
    assert ours(program, "wc", "pipe") == (0, b"      1       2      11 pipe\n", b"")
    assert writer.wait() == 0


@pytest.mark.parametrize(
    "names", [["text", "large", "none"], ["text"], [], ["text", "", "cut"], ["-", "text"]], ids=repr
)
def test_names_from(program: Program, tmp_path: Path, names: list[str]) -> None:
    make_files(tmp_path)
    ours_list = b"".join(name.encode() + b"\n" for name in names)
    if "" in names or "-" in names:
        done = program("wc", "--files-from", "-", input=ours_list)
        reason = (
            b"-:2: invalid zero-length file name"
            if "" in names
            else b"when reading file names from standard input, no file name of '-' allowed"
        )
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == b"emmap wc: %s\n" % reason
        return
    zeros = ours_list.replace(b"\n", b"\0")
    (tmp_path / "ours").write_bytes(ours_list)
    (tmp_path / "theirs").write_bytes(zeros)
    assert ours(program, "wc", "--files-from=ours") == gnu(tmp_path, "wc", "--files0-from=theirs")
    assert ours(program, "wc", "-w", "--files-from=-", input=ours_list) == gnu(
        tmp_path, "wc", "-w", "--files0-from=-", input=zeros
    )


def test_names_from_nowhere(in_process: InProcess) -> None:
    assert in_process("--files-from", "none") == (
        1,
        b"",
        b"wc: cannot open 'none' for reading: No such file or directory\n",
    )
    code, output, errors = in_process("--files-from", "text", "cut")
    assert (code, output) == (1, b"")
    assert errors.startswith(b"wc: extra operand 'cut'\nfile operands cannot be combined")


def test_no_permission(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int) -> int:
        if os.path.basename(path) == "cut":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse)  # Permissions themselves do not stop root.
    assert in_process("-l", "text", "cut", "text") == (
        1,
        b"  4 text\n  4 text\n  8 total\n",
        b"wc: cut: Permission denied\n",
    )


def test_workers(in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wc, "LARGE", 0)
    files = ["large", "none", "text", "folder", "large"]
    expected = gnu(tmp_path, "wc", *files)
    for number in ("1", "2", "5"):
        assert in_process("--workers", number, *files) == expected
    assert in_process(*files) == expected


@pytest.mark.parametrize("workers", ["0", "-1", "two", "dask:/here"])
def test_wrong_workers(in_process: InProcess, workers: str) -> None:
    assert in_process("--workers", workers, "text") == (
        1,
        b"",
        b"wc: --workers is a number from 1 on, or dask://HOST:PORT, not '%s'\n" % workers.encode(),
    )


def test_without_dask(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, output, errors = in_process("--workers", "dask://here:1", "text")
    assert (code, output) == (1, b"")
    assert b"pip install 'emmap[dask]'" in errors


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(TextIOWrapper):
        def isatty(self) -> bool:
            return True

    terminal = Terminal(BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    bar = progress.Bar(1000)
    bar(10)
    assert terminal.buffer.getvalue() == b""  # type: ignore[attr-defined]
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    bar(500)
    bar.hide()
    shown = re.sub(rb"\x1b\[[0-9;?]*\w", b"", terminal.buffer.getvalue())  # type: ignore[attr-defined]
    assert b"0.5/1.0 kB" in shown


def test_no_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "make_bar", None)
    progress.Bar(1000)(10)


def test_progress_is_told(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(progress.Bar, "__call__", lambda self, done: told.append(done))
    in_process("text", "none", "cut")
    assert told == [len(FILES["text"]), len(FILES["text"] + FILES["cut"])]


def test_a_dask_cluster(in_process: InProcess, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    files = ["large", "none", "text", "large"]
    with (
        warnings.catch_warnings(action="ignore"),
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp",
            dashboard_address=None,
            local_directory=str(tmp_path / "dask"),
        ) as machines,
    ):
        address = machines.scheduler_address.replace("tcp://", "dask://")
        assert in_process("--workers", address, *files) == gnu(tmp_path, "wc", *files)


def test_a_cluster_that_is_not_there(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 0.1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"dask://127.0.0.1:{free.getsockname()[1]}"
        expected = (1, b"", f"wc: {address} does not answer\n".encode())
        assert in_process("--workers", address, "text") == expected
