"""`emmap lines`, beside GNU sed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import emmap
from cli.gnu import FILES, gnu, make_files
from emmap.cli import lines

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]

NAMES = ["text", "cut", "empty", "newline", "binary", "large"]
# Ours, and what it is for sed.
RANGES = {"1:1": "1,1p", "1": "1p", "2:3": "2,3p", "1:": "1,$p", ":2": "1,2p", "-1": "$p"} | {
    "-1:": "$p",
    "1:100": "1,100p",
    "100:": "100,$p",
    "7:2500": "7,2500p",
    "3999:4001": "3999,4001p",
    "1:-1": "1,$p",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("few", [0, 1000])
def test_as_sed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, few: int
) -> None:
    monkeypatch.setattr(lines, "FEW", few)
    make_files(tmp_path)
    for ours, theirs in RANGES.items():
        result = run("lines", tmp_path / name, ours)
        expected = gnu(tmp_path, "sed", "-n", theirs, name)[1]
        assert (result.exit_code, result.stdout_bytes) == (0, expected), ours


def slow(data: bytes, first: int | None, last: int | None) -> bytes:
    """The lines from first to last, as they are numbered here."""
    found = data.splitlines(keepends=True)
    start = 0 if first is None else first - 1 if first > 0 else max(len(found) + first, 0)
    stop = len(found) if last is None else last if last > 0 else len(found) + last + 1
    return b"".join(found[start : max(stop, 0)])


@pytest.mark.parametrize("first", [None, 1, 2, 5, -1, -2, -100])
@pytest.mark.parametrize("last", [None, 1, 2, 5, -1, -2, -100])
def test_all_kinds_of_ends(
    run: Run, program: Program, tmp_path: Path, first: int | None, last: int | None
) -> None:
    for data in (b"a\nb\nc\nd\n", b"a\n\nc", b"", b"\n"):
        (tmp_path / "file").write_bytes(data)
        text = f"{first or ''}:{last or ''}"
        assert run("lines", tmp_path / "file", text).stdout_bytes == slow(data, first, last)
        assert b"".join(
            lines.choose(iter(data.splitlines(keepends=True)), lines.parse_range(text))
        ) == slow(data, first, last)


def test_standard_input(program: Program, tmp_path: Path) -> None:
    make_files(tmp_path)
    for numbers, theirs in RANGES.items():
        expected = gnu(tmp_path, "sed", "-n", theirs, "cut")[1]
        assert program("lines", "-", numbers, input=FILES["cut"]).stdout == expected
    with (tmp_path / "large").open("rb") as file:
        assert program("lines", "-", "-2", stdin=file).stdout.startswith(b"line 3998 ")
        os.lseek(file.fileno(), FILES["large"].index(b"line 5 "), os.SEEK_SET)
        assert program("lines", "-", "1", stdin=file).stdout.startswith(b"line 5 ")


def test_an_endless_pipe(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'yes | "$0" -m emmap lines - 2:3', sys.executable],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b"y\ny\n"


@pytest.mark.parametrize("numbers", ["", "0", "0:3", "a", "1:b", "1:2:3", "1.5"])
def test_no_range(run: Run, tmp_path: Path, numbers: str) -> None:
    (tmp_path / "file").touch()
    result = run("lines", tmp_path / "file", numbers)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_range_that_ends_before_it_begins(run: Run, tmp_path: Path) -> None:
    make_files(tmp_path)
    assert run("lines", tmp_path / "text", "3:2").stdout == ""


@pytest.mark.parametrize(
    ("name", "reason"), [("none", "No such file or directory"), ("loop", "Too many levels of")]
)
def test_no_file(run: Run, tmp_path: Path, name: str, reason: str) -> None:
    make_files(tmp_path)
    result = run("lines", tmp_path / name, "1:2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"emmap lines: {tmp_path / name}: {reason}")


def test_a_kept_index(run: Run, tmp_path: Path) -> None:
    make_files(tmp_path)
    os.utime(tmp_path / "large", (1, 1))
    result = run("lines", "--index", tmp_path / "large", "-1")
    assert result.stdout_bytes == FILES["large"].splitlines(keepends=True)[-1]
    assert (tmp_path / "large.lines").exists()
    assert run("lines", "--index", tmp_path / "large", "-1").stdout_bytes == result.stdout_bytes
    assert not (tmp_path / "text.lines").exists()


def test_a_line_far_before_the_end(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path)
    with (tmp_path / "large").open("r+b") as file:
        file.truncate(1 << 40)

    def refuse(text: emmap.Lines) -> int:
        raise AssertionError("all lines would be counted")

    monkeypatch.setattr(emmap.Lines, "__len__", refuse)
    assert run("lines", tmp_path / "large", "17:18").stdout.startswith("line 16 ")
