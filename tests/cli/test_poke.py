"""`emmap poke`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_creates_and_grows(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    result = run("poke", file, "8", "-70000", "--type", "i32")
    assert (result.exit_code, result.stdout) == (0, "wrote 4 bytes at offset 8\n")
    assert file.read_bytes() == bytes(8) + b"\x90\xee\xfe\xff"

    assert run("poke", file, "0x10", "255").stdout == "wrote 1 byte at offset 16\n"
    assert file.read_bytes() == bytes(8) + b"\x90\xee\xfe\xff" + bytes(4) + b"\xff"


def test_keeps_what_lies_around(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a mapped file")
    assert run("poke", file, "2", "poked!", "--type", "text").exit_code == 0
    assert file.read_bytes() == b"a poked! file"


@pytest.mark.parametrize("kind", ["i8", "f64"])
def test_negative_values(run: Run, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    assert run("poke", file, "0", "-5", "--type", kind).exit_code == 0
    assert float(run("peek", file, "0", "--type", kind).stdout) == -5


@pytest.mark.parametrize(
    "arguments",
    [
        ["0", "256"],
        ["0", "-1"],
        ["0", "x", "--type", "i32"],
        ["0", "xyz", "--type", "hex"],
        ["0", "", "--type", "text"],
        ["zero", "1"],
        ["0", "1", "--type", "u7"],
    ],
)
def test_bad_values_leave_the_file_alone(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "file"
    result = run("poke", file, *arguments)
    assert result.exit_code == 2
    assert "Invalid value for" in result.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        ("-1", "offset must not be negative"),
        ("0x7fffffffffffffff", "offset must be in the range 0-9223372036854775803"),
    ],
)
def test_bad_offsets_leave_the_file_alone(
    run: Run, tmp_path: Path, offset: str, reason: str
) -> None:
    file = tmp_path / "file"
    result = run("poke", file, offset, "1", "--type", "u32")
    assert result.exit_code == 1
    assert result.stderr == f"emmap poke: {file}: {reason}\n"
    assert not file.exists()


def test_a_folder(run: Run, tmp_path: Path) -> None:
    result = run("poke", tmp_path, "0", "1")
    assert result.exit_code == 1
    assert result.stderr == f"emmap poke: {tmp_path}: Is a directory\n"


def test_no_such_folder(run: Run) -> None:
    result = run("poke", "/nowhere/at/all", "0", "1")
    assert result.exit_code == 1
    assert result.stderr == "emmap poke: /nowhere/at/all: No such file or directory\n"
