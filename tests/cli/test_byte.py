"""`emmap byte`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

LINE = b"A mapped file is memory, and behaves so.\n"


@pytest.mark.parametrize(
    ("data", "offset", "answer"),
    [
        (LINE, "30", "byte at offset 30 is 'e'"),
        (LINE, "0x1e", "byte at offset 30 is 'e'"),
        (LINE, "0", "byte at offset 0 is 'A'"),
        (LINE, "40", r"byte at offset 40 is '\n'"),
        (b"\x00\xe9'\\", "0", r"byte at offset 0 is '\x00'"),
        (b"\x00\xe9'\\", "1", r"byte at offset 1 is '\xe9'"),
        (b"\x00\xe9'\\", "2", 'byte at offset 2 is "\'"'),
        (b"\x00\xe9'\\", "3", r"byte at offset 3 is '\\'"),
    ],
)
def test_the_byte(run: Run, tmp_path: Path, data: bytes, offset: str, answer: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    result = run("byte", file, offset)
    assert (result.exit_code, result.stdout, result.stderr) == (0, answer + "\n", "")


@pytest.mark.parametrize("offset", ["41", "-1", "-0x10", "0xffffffffffffffffffff"])
def test_out_of_range(run: Run, tmp_path: Path, offset: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(LINE)
    result = run("byte", file, offset)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"emmap byte: {file}: offset must be in the range 0-40\n"


def test_an_empty_file_has_no_bytes(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = run("byte", file, "0")
    assert result.exit_code == 1
    assert result.stderr == f"emmap byte: {file}: the file is empty: it has no bytes\n"


def test_past_four_gibibytes(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as sparse:
        sparse.seek(5 << 30)
        sparse.write(b"z")
    assert run("byte", file, str(5 << 30)).stdout == f"byte at offset {5 << 30} is 'z'\n"


def test_no_such_file(run: Run) -> None:
    result = run("byte", "/nowhere/at/all", "0")
    assert result.exit_code == 1
    assert result.stderr == "emmap byte: /nowhere/at/all: No such file or directory\n"


def test_a_folder(run: Run, tmp_path: Path) -> None:
    result = run("byte", tmp_path, "0")
    assert result.exit_code == 1
    assert result.stderr == f"emmap byte: {tmp_path}: a folder cannot be mapped\n"


def test_a_file_without_end(run: Run) -> None:
    result = run("byte", "/dev/zero", "0")
    assert result.exit_code == 1
    assert result.stderr.startswith("emmap byte: /dev/zero: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("offset", ["five", "1.5", "0x", ""])
def test_no_number(run: Run, tmp_path: Path, offset: str) -> None:
    result = run("byte", tmp_path, offset)
    assert result.exit_code == 2
    assert "is not a decimal or 0x hexadecimal number" in result.stderr
