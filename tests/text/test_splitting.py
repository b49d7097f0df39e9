"""`split`: the ranges are the target, and end at line ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emmap
from emmap.text import splitting
from emmap.text.splitting import line_windows
from emmap.text.targets import target_of
from text.samples import TEXTS


@given(st.text("a\n", max_size=60).map(str.encode), st.integers(1, 20))
def test_split(text: bytes, n: int) -> None:
    ranges = emmap.split(text, n)
    pieces = [text[offset : offset + length] for offset, length in ranges]
    assert b"".join(pieces) == text
    assert len(pieces) <= n
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    assert b"" not in pieces
    offset = 0
    for start, length in ranges:
        assert start == offset
        offset += length


def test_split_is_even() -> None:
    text = b"a line\n" * 1000
    assert [length for _, length in emmap.split(text, 4)] == [1750] * 4
    assert len(emmap.split(text, 10**6)) == 1000


@pytest.mark.parametrize("name", TEXTS)
def test_split_files(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "STEP", 3)
    path.write_bytes(TEXTS[name])
    assert emmap.split(path, 5) == emmap.split(TEXTS[name], 5)


def test_no_ranges() -> None:
    assert emmap.split(b"", 3) == []
    with pytest.raises(ValueError, match="at least 1"):
        emmap.split(b"a", 0)


def test_line_windows() -> None:
    text = b"a line\n" * 6 + b"rest"
    source = target_of(text)
    assert list(line_windows(source, 20)) == [(0, 14), (14, 28), (28, 46)]
    assert list(line_windows(source, 6, 28)) == [(28, 35), (35, 42), (42, 46)]
    assert list(line_windows(source, 7, largest=15)) == [(0, 7), (7, 21), (21, 35), (35, 46)]
    assert list(line_windows(source, 46)) == [(0, 46)]


@given(st.text("a\n", max_size=60).map(str.encode), st.integers(1, 20))
def test_line_windows_cover(text: bytes, size: int) -> None:
    windows = list(line_windows(target_of(text), size))
    assert b"".join(text[start:stop] for start, stop in windows) == text
    for start, stop in windows:
        piece = text[start:stop]
        assert piece.endswith(b"\n") or stop == len(text)
        assert 0 < len(piece) <= size or piece.count(b"\n") == piece.endswith(b"\n")
