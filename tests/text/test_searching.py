"""`grep`: the lines that GNU grep and `re` find, however the target is cut."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap.text import kernels
from emmap.text.patterns import Matcher
from mapping.proc import mapped_in
from text.samples import TEXTS, generated, gnu_grep

LITERALS = (
    b"one",
    b"o",
    b"e",
    b" \t",
    b"\0",
    b"\xff",
    "€".encode(),
    b"\r",
    b"nowhere",
    b"a onea one",
)
PATTERNS = (
    rb"one",
    rb"\s",
    rb"one\s+two",
    rb"[^x]",
    rb"(?s)o.*e.",
    rb"(?s)\A.*\Z",
    rb"^one",
    rb"e$",
    rb"(?m)^$",
    rb"^",
    rb"\r?$",
    rb"(?<!\n)two",
    rb"(?<=\n)two",
    rb"(?!.)",
    rb"\btwo\b",
    rb"(?i)THREE",
    rb"(one|two)\0",
    rb"n(?=[^e]*\n)",
    rb"three\n",
    rb"",
)


def by_line(pattern: re.Pattern[bytes], text: bytes) -> list[tuple[int, int, bytes, int]]:
    """The (number, offset, line, offset of the match) of each line that matches, the plain way."""
    found, offset = [], 0
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n") if text else [], 1):
        match = pattern.search(line)
        if match:
            found.append((number, offset, line, offset + match.start()))
        offset += len(line) + 1
    return found


def found(hits: Iterator[emmap.Hit]) -> list[tuple[int, int, bytes]]:
    return [(hit.number, hit.line_offset, hit.line) for hit in hits]


@pytest.mark.parametrize("name", TEXTS)
def test_literals_as_grep_finds_them(name: str, path: Path, window: int) -> None:
    text = TEXTS[name] if len(TEXTS[name]) // window < 500 else TEXTS[name][: 300 * window]
    path.write_bytes(text)
    for literal in LITERALS:
        if b"\0" in literal:  # no argument can have it
            expected = [line[:3] for line in by_line(re.compile(re.escape(literal)), text)]
        else:
            expected = gnu_grep(path, "-F", b"-e" + literal)
        assert found(emmap.grep(literal, path)) == expected
        assert found(emmap.grep(literal, text)) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: bytes, path: Path, window: int) -> None:
    compiled = re.compile(pattern)
    for text in TEXTS.values():
        text = text if len(text) // window < 500 else text[: 100 * window]
        expected = by_line(compiled, text)
        path.write_bytes(text)
        hits = list(emmap.grep(compiled, path))
        assert [(h.number, h.line_offset, h.line, h.offset) for h in hits] == expected


def test_workers(path: Path, workers: int | Executor | None, small_windows: int) -> None:
    path.write_bytes(TEXTS["more"])
    pattern = re.compile(rb"one\s+Two")
    with emmap.open(path) as m:
        for target in (path, m):
            assert found(emmap.grep("THREE", target, workers=workers)) == gnu_grep(path, "THREE")
            hits = emmap.grep(pattern, target, workers=workers)
            assert found(hits) == [line[:3] for line in by_line(pattern, TEXTS["more"])]


@pytest.mark.parametrize("instruction_set", kernels.instruction_sets())
def test_instruction_sets(instruction_set: str, path: Path, small_windows: int) -> None:
    path.write_bytes(TEXTS["more"])
    before = kernels.use_instruction_set(instruction_set)
    try:
        assert found(emmap.grep("ONE", path, ignore_case=True)) == gnu_grep(path, "-i", "ONE")
    finally:
        kernels.use_instruction_set(before)


def test_str_is_utf_8_and_case_is_that_of_ascii(path: Path) -> None:
    path.write_text("größe\nGRÖßE\nGRöSSE\n", encoding="utf-8")
    assert [hit.number for hit in emmap.grep("größe", path)] == [1]
    assert [hit.number for hit in emmap.grep("GRöß", path, ignore_case=True)] == [1]
    assert [hit.number for hit in emmap.grep("gr", path, ignore_case=True)] == [1, 2, 3]


def test_hit() -> None:
    text = b"first\nAbab, ab\n"
    (hit,) = emmap.grep("ab", text)
    assert (hit.offset, hit.line_offset, hit.number) == (8, 6, 2)
    assert hit.spans() == [(2, 4), (6, 8)]
    assert repr(hit) == "<Hit offset=8 line=b'Abab, ab'>"
    (hit,) = emmap.grep("AB", text, ignore_case=True)
    assert hit.spans() == [(0, 2), (2, 4), (6, 8)]
    (hit,) = emmap.grep(re.compile(b"[a-b]+"), text)
    assert hit.spans() == [(1, 4), (6, 8)]


def test_numbers_in_any_order(path: Path, small_windows: int) -> None:
    path.write_bytes(TEXTS["more"])
    expected = gnu_grep(path, "THREE")
    hits = list(emmap.grep("THREE", path))
    for step in (-1, 3, -7, 1):
        assert [hit.number for hit in hits[::step]] == [line[0] for line in expected[::step]]


def test_the_first_hit_comes_at_once(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"here\nand here\n")
        file.truncate(1 << 40)  # to search all of it would take minutes
    hits = emmap.grep("here", path)
    assert [hit.line for hit in islice(hits, 2)] == [b"here", b"and here"]
    assert mapped_in(path) == 0


def test_progress(path: Path, workers: int | Executor | None, small_windows: int) -> None:
    path.write_bytes(b"a line of it\n" * 1000)
    done: list[int] = []
    assert sum(1 for _ in emmap.grep("line", path, workers=workers, progress=done.append)) == 1000
    assert done[:2] == [4095, 8190]
    assert done[-1] == 13_000


def test_refused_before_the_search() -> None:
    with pytest.raises(ValueError, match="line end"):
        emmap.grep(b"a\nb", b"")
    with pytest.raises(ValueError, match="empty"):
        emmap.grep("", b"")
    with pytest.raises(TypeError, match="from bytes"):
        emmap.grep(re.compile("a"), b"")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"re\.IGNORECASE"):
        emmap.grep(re.compile(b"a"), b"", ignore_case=True)
    with pytest.raises(FileNotFoundError):
        emmap.grep("a", "/nowhere")


def keep(hits: Iterator[emmap.Hit], seen: list[emmap.Hit]) -> None:
    """Adds each hit to those seen, up to an exception."""
    for hit in hits:
        seen.append(hit)


@pytest.mark.parametrize("size", [2000, 8192])
def test_truncated(
    size: int, path: Path, small_windows: int, processes: ProcessPoolExecutor
) -> None:
    for workers in (None, 2, processes):
        path.write_bytes(b"one\n" * 10_000)
        hits = emmap.grep(b"one", path, workers=workers)
        seen = [next(hits)]
        os.truncate(path, size)
        with pytest.raises(emmap.PageLostError) as caught:
            keep(hits, seen)
        assert caught.value.filename == str(path)
        assert {hit.line for hit in seen} == {b"one"}
        assert len(seen) >= size // 4096 * 1024
        assert seen[3].number == 4


@pytest.mark.parametrize("workers", [None, 2])
def test_truncated_mapping(workers: int | None, path: Path, small_windows: int) -> None:
    path.write_bytes(b"one\n" * 10_000)
    with emmap.open(path) as m:
        hits = emmap.grep(b"one", m, workers=workers)
        seen = [next(hits)]
        os.truncate(path, 0)
        with pytest.raises(emmap.PageLostError) as caught:
            keep(hits, seen)
        assert caught.value.filename == str(path)
        assert {hit.line for hit in seen} == {b"one"}


def test_truncated_under_re(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one\n" * 1000)
    try_line = Matcher._try_line

    def truncate_and_try(*arguments: Any) -> None:
        os.truncate(path, 0)
        try_line(*arguments)

    monkeypatch.setattr(Matcher, "_try_line", truncate_and_try)
    with emmap.open(path) as m:
        hits = emmap.grep(re.compile(b"[o]"), m)
        with pytest.raises(emmap.PageLostError):
            list(hits)


def test_number_of_a_truncated_file(path: Path) -> None:
    path.write_bytes(generated(4, 100_000) + b"here\n")
    (hit,) = emmap.grep("here", path)
    os.truncate(path, 5)
    with pytest.raises(emmap.PageLostError):
        _ = hit.number


@pytest.mark.slow
def test_a_line_of_a_gibibyte(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"first\n")
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
        file.write(b"here\nlast here\n")
    long, last = emmap.grep("here", path, workers=2)
    assert (long.number, long.offset, len(long.line)) == (2, (1 << 30) + 6, (1 << 30) + 4)
    assert (last.number, last.line) == (3, b"last here")
    assert emmap.lines(path)[2] == b"last here"


@pytest.mark.slow
def test_five_gibibytes(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"here\n")
        file.seek(5 << 30)
        file.write(b"\nhere again")
    first, last = emmap.grep("here", path, workers=2)
    assert (first.number, first.offset) == (1, 0)
    assert (last.number, last.offset) == (3, (5 << 30) + 1)
