"""`emmap cat`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import emmap
from emmap.cli import cat

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_files_in_their_order(run: Run, tmp_path: Path) -> None:
    one, empty, two = tmp_path / "one", tmp_path / "empty", tmp_path / "two"
    one.write_bytes(os.urandom(3 * cat.PIECE + 17))
    empty.touch()
    two.write_bytes(bytes(range(256)))
    result = run("cat", one, empty, two, one)
    assert result.exit_code == 0
    assert result.stdout_bytes == one.read_bytes() + two.read_bytes() + one.read_bytes()


def test_goes_on_after_a_failure(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"words")
    result = run("cat", tmp_path / "none", file, tmp_path, file)
    assert result.exit_code == 1
    assert result.stdout_bytes == b"wordswords"
    assert result.stderr == (
        f"emmap cat: {tmp_path}/none: No such file or directory\n"
        f"emmap cat: {tmp_path}: Is a directory\n"
    )


def test_a_file_of_proc_has_bytes_but_no_size(run: Run) -> None:
    version = Path("/proc/version")
    assert version.stat().st_size == 0
    assert run("cat", version).stdout_bytes == version.read_bytes()


def test_what_cannot_be_mapped_is_read(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"and a file")
    done = program("cat", "-", "file", input=b"a pipe, ")
    assert (done.returncode, done.stdout) == (0, b"a pipe, and a file")
    assert program("cat", "/dev/stdin", input=b"a pipe").stdout == b"a pipe"
    assert program("cat", "/dev/null").stdout == b""
    endless = cat.pieces("/dev/zero")
    assert [next(endless) for _ in range(2)] == [bytes(cat.PIECE)] * 2
    endless.close()


def test_without_a_file_it_reads_the_input(program: Program) -> None:
    assert program("cat", input=b"words").stdout == b"words"


def test_a_name_that_is_no_text(program: Program, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).write_bytes(b"words")
    assert program("cat", name).stdout == b"words"
    done = program("cat", name + "s")
    assert done.returncode == 1
    assert done.stderr.endswith(b"s: No such file or directory\n")


def test_files_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"words")
    monkeypatch.setattr(cat, "pieces_read", None)
    assert b"".join(cat.pieces(os.fspath(file))) == b"words"


def test_a_file_cut_short_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(3 * cat.PIECE))
    pieces = cat.pieces(os.fspath(file))
    assert len(next(pieces)) == cat.PIECE
    os.truncate(file, 10)
    with pytest.raises(emmap.PageLostError):
        next(pieces)


def test_descriptors_are_closed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"words")
    before = os.listdir("/proc/self/fd")
    run("cat", file, tmp_path, "/dev/null", file)
    assert os.listdir("/proc/self/fd") == before
