"""`translate`: as `bytes.translate`, in place."""

from __future__ import annotations

import os
import random
from concurrent.futures import Executor
from pathlib import Path

import pytest

import emmap
from emmap.text import kernels
from text.samples import TEXTS

UPPER = bytes(range(256)).upper()
SHUFFLED = bytes(random.Random(5).sample(range(256), 256))
SAME = bytes(range(256))


def changed(text: bytes, table: bytes) -> int:
    return sum(old != new for old, new in zip(text, text.translate(table), strict=True))


@pytest.mark.parametrize("table", [UPPER, SHUFFLED, SAME])
def test_windows(table: bytes, path: Path, window: int) -> None:
    for text in TEXTS.values():
        text = text if len(text) // window < 3000 else text[: 300 * window]
        path.write_bytes(text)
        assert emmap.translate(path, table) == changed(text, table)
        assert path.read_bytes() == text.translate(table)


def test_workers(path: Path, workers: int | Executor | None, small_windows: int) -> None:
    text = TEXTS["more"]
    path.write_bytes(text)
    assert emmap.translate(path, SHUFFLED, workers=workers) == changed(text, SHUFFLED)
    assert path.read_bytes() == text.translate(SHUFFLED)
    with emmap.open(path, "r+") as m:
        text = m[:]
        assert emmap.translate(m, UPPER, workers=workers) == changed(text, UPPER)
        assert m[:] == text.translate(UPPER)


@pytest.mark.parametrize("instruction_set", kernels.instruction_sets())
def test_instruction_sets(instruction_set: str, small_windows: int) -> None:
    data = bytearray(TEXTS["more"])
    before = kernels.use_instruction_set(instruction_set)
    try:
        assert emmap.translate(data, SHUFFLED) == changed(TEXTS["more"], SHUFFLED)
    finally:
        kernels.use_instruction_set(before)
    assert data == TEXTS["more"].translate(SHUFFLED)


def test_what_does_not_change_stays_clean(path: Path) -> None:
    path.write_bytes(b"UPPER\n" * 100_000)
    os.utime(path, ns=(0, 0))
    assert emmap.translate(path, UPPER) == 0
    assert path.stat().st_mtime_ns == 0  # the kernel sets it when a page is first written
    assert emmap.translate(path, UPPER.lower()) == 500_000
    assert path.stat().st_mtime_ns != 0


def test_private_copy(path: Path) -> None:
    path.write_bytes(b"text")
    with emmap.open(path, "c") as m:
        assert emmap.translate(m, UPPER, workers=2) == 4
        assert m[:] == b"TEXT"
    assert path.read_bytes() == b"text"


def test_refused(path: Path) -> None:
    path.write_bytes(b"text")
    for table in (b"", UPPER[:-1], UPPER + b"x"):
        with pytest.raises(ValueError, match="for each of the 256"):
            emmap.translate(path, table)
        with pytest.raises(ValueError, match="for each of the 256"):
            emmap.translate(bytearray(), table)
    with pytest.raises(ValueError, match="from 1 on"):
        emmap.translate(path, UPPER, workers=0)
    with emmap.open(path) as m:
        for target in (m, memoryview(m), b"text"):
            with pytest.raises(emmap.ProtectionError, match="may not be written"):
                emmap.translate(target, UPPER)
    assert path.read_bytes() == b"text"


def test_truncated(path: Path) -> None:
    path.write_bytes(b"text" * 5000)
    with emmap.open(path, "r+") as m:
        os.truncate(path, 5000)
        with pytest.raises(emmap.PageLostError):
            emmap.translate(m, UPPER)
    assert path.stat().st_size == 5000
