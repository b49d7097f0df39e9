"""`emmap upper`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from emmap.cli import upper

Run = Callable[..., Result]

TEXT = b"Some words,\nand \xc3\xa9 a1\x00z\n"


@pytest.mark.parametrize("size", [0, 1, len(TEXT), 4096, 10_001])
def test_capitals_in_place(
    run: Run, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upper, "PIECE", 4096)
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    file = tmp_path / "file"
    file.write_bytes(data)
    result = run("upper", file)
    assert result.exit_code == 0
    assert file.read_bytes() == data.upper()
    letters = sum(97 <= byte <= 122 for byte in data)
    assert result.stdout == f"{file}: {letters:,} letters changed\n"


def test_one_letter(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert run("upper", file).stdout == f"{file}: 1 letter changed\n"


@pytest.mark.parametrize("size", [0, 1, len(TEXT), 10_001])
def test_dry_run_shows_that_the_file_stays(
    run: Run, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upper, "PIECE", 4096)
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    file = tmp_path / "file"
    file.write_bytes(data)
    written = file.stat().st_mtime_ns
    result = run("upper", "--dry-run", file)
    assert result.exit_code == 0
    assert file.read_bytes() == data
    assert file.stat().st_mtime_ns == written
    first = data.partition(b"\n")[0]
    assert result.stdout.splitlines()[:5] == [
        f"the file before    {first!r}",
        f"the mapping        {first.upper()!r}",
        f"the file after     {first!r}",
        f"SHA-256 before     {hashlib.sha256(data).hexdigest()}",
        "SHA-256 after      the same: the file did not change",
    ]


def test_dry_run_notices_another_writer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = iter(["before", "after"])
    monkeypatch.setattr(upper, "checksum", lambda file: next(sums))
    file = tmp_path / "file"
    file.write_bytes(TEXT)
    result = run("upper", "--dry-run", file)
    assert result.exit_code == 1
    assert result.stderr == f"emmap upper: {file}: somebody else changed the file meanwhile\n"


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_no_such_file(run: Run, options: list[str]) -> None:
    result = run("upper", *options, "/nowhere/at/all")
    assert result.exit_code == 1
    assert result.stderr == "emmap upper: /nowhere/at/all: No such file or directory\n"


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_folder(run: Run, tmp_path: Path, options: list[str]) -> None:
    result = run("upper", *options, tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"emmap upper: {tmp_path}: Is a directory\n"
