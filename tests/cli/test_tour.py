"""`emmap tour`: the command and its runner."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import emmap
from emmap.cli import tour
from emmap.cli.tour.report import Report

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]

FILES = {
    "empty": b"",
    "tiny": b"x",
    "text": b"some words\n" * 1000,
    "binary": bytes(range(256)) * 100,
    "wild": b"\x1b[31m\xff\x00" * 4000,
}


def check_whole(text: str) -> None:
    """Check that all steps are there, in their order, and that none failed."""
    titles = re.findall(r"^(\d+)\. ", text, re.MULTILINE)
    assert titles == [str(number) for number in range(1, len(tour.STEPS) + 1)]
    assert text.count(">>> ") >= len(tour.STEPS)
    assert f"{len(tour.STEPS)} steps in " in text


def test_on_its_own_text(program: Program) -> None:
    done = program("tour")
    text = done.stdout.decode("ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    check_whole(text)
    assert "A tour of a text of its own, 16 MiB\n" in text
    assert "byte at offset 30   'e'" in text
    (memory,) = re.findall(r"with at most ([\d.]+) MiB resident", text)
    assert float(memory) < 200


@pytest.mark.parametrize("name", FILES)
def test_on_a_file(run: Run, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(FILES[name])
    written = file.stat().st_mtime_ns
    result = run("tour", file)
    assert (result.exit_code, result.stderr) == (0, "")
    check_whole(result.stdout)
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert not any(line.endswith(" ") for line in result.stdout.splitlines())
    assert file.read_bytes() == FILES[name]
    assert file.stat().st_mtime_ns == written
    assert os.listdir(tmp_path) == [name]


def test_on_a_large_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    result = run("tour", file)
    assert result.exit_code == 0
    assert "large', 1 TiB\n" in result.stdout
    assert "in the first 32 MiB" in result.stdout


def test_colours_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "emmap", "tour"],
        stdout=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 65536):
            output += piece
    except OSError as error:
        if error.errno != errno.EIO:  # That is how a terminal says that all have left.
            raise
    os.close(ours)
    assert child.wait() == 0
    assert b"\x1b[" in output
    check_whole(re.sub(r"\x1b\[[\d;]*m", "", output.decode()))


def test_a_closed_pipe_leaves_no_folder_behind(program: Program, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = program("tour", stdout=writer, env={**os.environ, "TMPDIR": os.fspath(tmp_path)})
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("/nowhere/at/all", "No such file or directory"),
        ("/proc/self", "a folder cannot be mapped"),
        ("/dev/null", "Not a regular file"),
    ],
)
def test_no_place_for_a_tour(run: Run, file: str, reason: str) -> None:
    result = run("tour", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"emmap tour: {file}: {reason}\n"


def test_an_unreadable_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(emmap, "open", refuse)  # Permissions themselves do not stop root.
    result = run("tour", file)
    assert result.exit_code == 1
    assert result.stderr == f"emmap tour: {file}: Permission denied\n"


def test_no_room_for_its_own_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tour, "own_text", refuse)
    result = run("tour")
    assert result.exit_code == 1
    assert result.stderr == "emmap tour: temporary folder: No space left on device\n"


def test_a_step_that_fails_stops_no_other(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(place: object) -> Report:
        raise MemoryError("no room for 1 GiB")

    file = tmp_path / "file"
    file.write_bytes(b"words")
    steps = (tour.STEPS[0], fail, *tour.STEPS[2:])
    monkeypatch.setattr(tour, "STEPS", steps)
    result = run("tour", file)
    assert result.exit_code == 1
    assert result.stderr == "emmap tour: step 2: no room for 1 GiB\n"
    assert f"{len(steps)}. " in result.stdout
