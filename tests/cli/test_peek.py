"""`emmap peek`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of 20 bytes."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(16)) + b"caf\xe9")
    return path


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["1"], b"1"),
        (["19"], b"233"),
        (["19", "--type", "i8"], b"-23"),
        (["0x10", "--type", "u32"], b"3915800931"),
        (["0", "--type", "u64"], b"506097522914230528"),
        (["0", "--type", "hex"], b"000102030405060708090a0b0c0d0e0f"),
        (["0", "--type", "hex", "--length", "3"], b"000102"),
        (["16", "--type", "text"], b"caf\xe9"),
        (["16", "--type", "text", "--length", "3"], b"caf"),
    ],
)
def test_values(run: Run, file: Path, arguments: list[str], answer: bytes) -> None:
    result = run("peek", file, *arguments)
    assert (result.exit_code, result.stdout_bytes) == (0, answer + b"\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["20"], "offset must be in the range 0-19"),
        (["-1"], "offset must be in the range 0-19"),
        (["17", "--type", "f32"], "offset must be in the range 0-16"),
        (["20", "--type", "text"], "offset must be in the range 0-19"),
        (["10", "--type", "hex", "--length", "11"], "offset must be in the range 0-9"),
        (["0", "--type", "text", "--length", "21"], "21 bytes asked for, but the file has only 20"),
    ],
)
def test_out_of_range(run: Run, file: Path, arguments: list[str], reason: str) -> None:
    result = run("peek", file, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"emmap peek: {file}: {reason}\n"


def test_an_empty_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    result = run("peek", file, "0")
    assert result.exit_code == 1
    assert result.stderr == f"emmap peek: {file}: the file is empty: it has no bytes\n"


def test_numbers_have_a_length_of_their_own(run: Run, file: Path) -> None:
    result = run("peek", file, "0", "--length", "3")
    assert result.exit_code == 2
    assert "--length is for text and hex" in result.stderr


def test_no_such_file(run: Run) -> None:
    result = run("peek", "/nowhere/at/all", "0")
    assert result.exit_code == 1
    assert result.stderr == "emmap peek: /nowhere/at/all: No such file or directory\n"
