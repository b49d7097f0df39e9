"""The kernels of text against plain Python, for each instruction set that the machine has."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emmap
from emmap.text import kernels
from emmap.text.kernels import CHARACTERS, LINES, LONGEST, WORDS, Needle, Tally, count
from mapping.proc import smaps_of
from text import oracle

ALL = LINES | WORDS | CHARACTERS | LONGEST
LARGE = 100_000  # scans of this many bytes release the GIL
PAGE = emmap.PAGESIZE
SETS = kernels.instruction_sets()

# Bytes that lead astray: neutral ones, white ones, and encodings that are whole, cut, overlong,
# surrogates, beyond Unicode, or longer than any in use.
TOKENS = [
    *(bytes([byte]) for byte in b" \t\n\v\f\ra~!\x00\x1f\x7f"),
    *(bytes([byte]) for byte in b"\x80\xbf\xc0\xc2\xe0\xed\xf0\xf4\xfe\xff"),
    *(text.encode() for text in ("é", "中", "😀", "\u0800", "\ud7ff", "\uffff", "\U0010ffff")),
    b"\xe4\xb8", b"\xf0\x9f\x98", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xf8\x87\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", b"\xfd\xbf\xbf\xbf\xbf\xbf", b"\xfe\xbf\xbf\xbf\xbf\xbf\xbf",
    b"word", b"\r\n",
]  # fmt: skip
PIECES = st.tuples(st.sampled_from(TOKENS), st.sampled_from([1, 1, 1, 2, 7, 63, 64, 65, 200]))
DATA = st.lists(PIECES, max_size=40).map(lambda pieces: b"".join(t * n for t, n in pieces))

each_set = pytest.mark.parametrize("name", SETS)


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """The kernels of one instruction set, and then those that were in use before."""
    before = kernels.use_instruction_set(name)
    try:
        yield
    finally:
        kernels.use_instruction_set(before)


def random_data(seed: int, size: int, tokens: list[bytes] = TOKENS) -> bytes:
    """Long data of tokens; small ones are for hypothesis."""
    choose = random.Random(seed)
    return b"".join(choose.choices(tokens, k=size))[:size]


def as_tuple(tally: Tally) -> tuple[int, ...]:
    return tally.bytes, tally.lines, tally.words, tally.characters, tally.longest


def expected(data: bytes) -> tuple[int, ...]:
    return (
        len(data),
        data.count(b"\n"),
        oracle.words(data),
        oracle.characters(data),
        oracle.longest(data),
    )


# Counting


@each_set
@given(data=DATA)
@settings(max_examples=80, deadline=None)
def test_count(name: str, data: bytes) -> None:
    with instruction_set(name):
        assert as_tuple(count(data, ALL)) == expected(data)


@each_set
@pytest.mark.parametrize(
    "tokens", [TOKENS, [b"a", b"b", b" ", b"\n"], [b"\0", b"a", b" "], [b"\xf8\x88\x80\x80\x80"]]
)
def test_count_large(name: str, tokens: list[bytes]) -> None:
    data = random_data(len(tokens), LARGE, tokens)
    with instruction_set(name):
        assert as_tuple(count(data, ALL)) == expected(data)


@each_set
@pytest.mark.parametrize("wanted", range(16))
def test_count_what_is_wanted(name: str, wanted: int) -> None:
    data = random_data(wanted, 40_000)
    with instruction_set(name):
        tally, whole = count(data, wanted), count(data, ALL)
    for which, what in ((1, "lines"), (2, "words"), (4, "characters"), (8, "longest")):
        if wanted & which:
            assert getattr(tally, what) == getattr(whole, what)
        else:
            with pytest.raises(AttributeError, match="not counted"):
                getattr(tally, what)
    assert tally.bytes == len(data)


@each_set
@given(data=DATA, cuts=st.lists(st.floats(0, 1), max_size=6), order=st.randoms())
@settings(max_examples=80, deadline=None)
def test_windows_join(name: str, data: bytes, cuts: list[float], order: random.Random) -> None:
    edges = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    with instruction_set(name):
        tallies = [count(data, ALL, a, b) for a, b in pairwise(edges)]
        tallies.insert(order.randint(0, len(tallies)), Tally(ALL))
        while len(tallies) > 1:  # in any grouping
            i = order.randrange(len(tallies) - 1)
            tallies[i : i + 2] = [tallies[i] + tallies[i + 1]]
        assert tallies[0] == count(data, ALL)


def test_windows_join_at_each_byte() -> None:
    data = "a\tb\xa0 中文\n\t\t😀c\0d\r".encode() + b"\xf8\x88\x80\x80\x80 \xe4\xb8"
    total = Tally(ALL)
    for at in range(len(data)):
        total += count(data, ALL, at, at + 1)
    assert as_tuple(total) == expected(data)


@each_set
@given(data=DATA, stop=st.integers(0, 600))
@settings(max_examples=50, deadline=None)
def test_characters_count_where_they_begin(name: str, data: bytes, stop: int) -> None:
    stop = min(stop, len(data))
    with instruction_set(name):
        assert count(data, CHARACTERS, 0, stop).characters == oracle.characters(data, stop)


@each_set
@pytest.mark.parametrize("begun", [b"\xc3", b"\xe4", b"\xe4\xb8", b"\xf0\x9f", b"\xf0\x9f\x98"])
@pytest.mark.parametrize("between", [b"", b"a" * 64, b"a" * 128])
def test_what_a_block_begins(name: str, begun: bytes, between: bytes) -> None:
    data = b"a" * (64 - len(begun)) + begun + between + b"\x80" * 5 + b"a" * 64
    with instruction_set(name):
        assert count(data, CHARACTERS).characters == oracle.characters(data)


def wc(option: str, locale: str, data: bytes) -> int:
    done = subprocess.run(
        ["wc", option],
        input=data,
        env={"PATH": os.environ["PATH"], "LC_ALL": locale},
        capture_output=True,
        check=True,
    )
    return int(done.stdout)


def test_count_as_wc_does() -> None:
    version = subprocess.run(["wc", "--version"], capture_output=True, check=False).stdout
    if b"GNU coreutils) 9.1\n" not in version or not shutil.which("wc"):
        pytest.skip("wc is not that of coreutils 9.1")
    for seed in range(8):
        data = random_data(seed, 3000, TOKENS if seed % 2 else [bytes([b]) for b in range(256)])
        tally = count(data, ALL)
        assert tally.lines == wc("-l", "C", data)
        assert tally.words == wc("-w", "C", data)
        assert tally.longest == wc("-L", "C", data)
        assert tally.characters == wc("-m", "C.UTF-8", data)


def test_tally_pickles_small() -> None:
    data = random_data(3, 5000)
    tally = count(data, ALL, 0, 2500)
    text = pickle.dumps(tally)
    assert len(text) < 250
    assert pickle.loads(text) == tally
    assert pickle.loads(text) + count(data, ALL, 2500) == count(data, ALL)
    assert tally != count(data, ALL)
    assert tally != 1
    assert repr(Tally(LINES | LONGEST)) == "<Tally bytes=0 lines=0 longest=0>"


def test_tallies_of_different_counts_do_not_join() -> None:
    with pytest.raises(ValueError, match="different counts"):
        Tally(LINES) + Tally(WORDS)
    with pytest.raises(ValueError, match="wanted is made of"):
        Tally(16)
    with pytest.raises(TypeError):
        Tally(1) + 1  # type: ignore[operator]


# Searching

ALPHABETS = st.sampled_from([b"ab", b"aAbB ", b"@`[{aAzZ", bytes(range(256))])


@st.composite
def searches(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A needle and a haystack of the same few bytes, in which it may lie several times."""
    letters = st.sampled_from(draw(ALPHABETS))
    needle = bytes(draw(st.lists(letters, min_size=1, max_size=20))) * draw(st.integers(1, 8))
    filler = bytes(draw(st.lists(letters, max_size=12))) * draw(st.sampled_from([0, 1, 5, 60]))
    parts = st.sampled_from([needle, needle[:-1], needle.swapcase(), filler, filler[:1]])
    return needle, b"".join(draw(st.lists(parts, max_size=12)))


@each_set
@given(search=searches())
@settings(max_examples=100, deadline=None)
def test_search(name: str, search: tuple[bytes, bytes]) -> None:
    needle, data = search
    with instruction_set(name):
        for ignore_case in (False, True):
            if ignore_case:
                found = oracle.occurrences(oracle.lower(needle), oracle.lower(data))
            else:
                found = oracle.occurrences(needle, data)
            subject = Needle(needle, ignore_case=ignore_case)
            assert subject.count(data) == len(found)
            at, each = subject.find(data), []
            while at >= 0:
                each.append(at)
                at = subject.find(data, at + len(needle))
            assert each == found


@each_set
@pytest.mark.parametrize("case", ["exact", "ignored"])
@pytest.mark.parametrize("size", [1, 2, 100, 5000])
def test_search_at_each_place(name: str, size: int, case: str) -> None:
    needle = random_data(size, size, [b"x", b"Y", b"\n"])
    subject = Needle(needle, ignore_case=case == "ignored")
    with instruction_set(name):
        for at in [*range(300), LARGE - size]:
            data = bytearray(b"." * (LARGE if at > 300 else 300 + size))
            assert subject.find(data) == -1
            data[at : at + size] = needle.swapcase() if case == "ignored" else needle
            assert subject.find(data) == at
            assert subject.find(data, 0, at + size - 1) == -1


@each_set
@pytest.mark.parametrize("case", ["exact", "ignored"])
@pytest.mark.parametrize(
    ("needle", "data"),
    [
        (b"a" * 50_000 + b"b", b"a" * 4_000_000),
        (b"b" + b"a" * 50_000, b"a" * 4_000_000),
        (b"a" * 25_000 + b"b" + b"a" * 25_000, (b"a" * 24_999 + b"b") * 160),
        ((b"ab" * 30_000)[1:] + b"b", b"ab" * 2_000_000),
    ],
    ids=["last", "first", "middle", "periodic"],
)
def test_no_haystack_makes_a_search_quadratic(
    name: str, case: str, needle: bytes, data: bytes
) -> None:
    # 10 ms each; comparing at each place would be 2 * 10^11 bytes, more than a minute.
    subject = Needle(needle, ignore_case=case == "ignored")
    where = (data + needle).find(needle)
    with instruction_set(name):
        found = subject.find(data), subject.find(data + needle)
    assert found == (-1, where)


def test_needle() -> None:
    with pytest.raises(ValueError, match="the pattern is empty"):
        Needle(b"")
    with pytest.raises(TypeError):
        Needle("text")  # type: ignore[arg-type]
    needle = Needle(bytearray(b"Ab"), ignore_case=True)
    assert needle.pattern == b"ab"
    assert needle.ignore_case
    assert pickle.loads(pickle.dumps(needle)).find(b"..aB") == 2


# Lines


@each_set
@given(data=DATA, first=st.integers(1, 100), every=st.integers(1, 100), start=st.integers(0, 90))
@settings(max_examples=50, deadline=None)
def test_line_starts(name: str, data: bytes, first: int, every: int, start: int) -> None:
    start = min(start, len(data))
    behind = [at + start for at in oracle.line_starts(data[start:])]
    with instruction_set(name):
        offsets, newlines = kernels.line_starts(data, first, every, start)
        assert list(offsets) == behind[first - 1 :: every]
        assert newlines == len(behind)
        found = kernels.line_start(data, first, start)
        assert found == (behind[first - 1] if first <= len(behind) else -1)
        assert kernels.last_newline(data, start) == (behind[-1] - 1 if behind else -1)


@each_set
def test_line_starts_of_many_lines(name: str) -> None:
    data = random_data(5, LARGE, [b"\n", b"a", b"\n\n\n"])
    behind = oracle.line_starts(data)
    with instruction_set(name):
        for first, every in ((1, 1), (5, 1), (3, 7), (1000, 1000)):
            offsets, newlines = kernels.line_starts(data, first, every)
            assert list(offsets) == behind[first - 1 :: every]
            assert newlines == len(behind)
        assert kernels.line_start(data, len(behind)) == behind[-1]
        assert kernels.line_start(data, len(behind) + 1) == -1


def test_line_starts_go_on_in_the_next_window() -> None:
    data = random_data(6, 50_000, [b"\n", b"a", b"b"])
    first = every = 10
    found: list[int] = []
    for start in range(0, len(data), 777):
        stop = min(start + 777, len(data))
        offsets, newlines = kernels.line_starts(data, first, every, start, stop)
        found += offsets
        first += every * len(offsets) - newlines
    assert found == oracle.line_starts(data)[9::10]


@pytest.mark.parametrize("bad", [0, -1, 1 << 63])
def test_line_numbers_begin_with_one(bad: int) -> None:
    for call in (
        lambda: kernels.line_start(b"\n", bad),
        lambda: kernels.line_starts(b"\n", bad),
        lambda: kernels.line_starts(b"\n", 1, bad),
    ):
        with pytest.raises(ValueError, match="from 1 on"):
            call()


# Translating

TABLES = st.one_of(
    st.sampled_from([bytes(range(256)), bytes(range(256)).upper(), bytes(range(255, -1, -1))]),
    st.binary(min_size=256, max_size=256),
)


@each_set
@given(data=DATA, table=TABLES, start=st.integers(0, 90), cut=st.integers(0, 90))
@settings(max_examples=50, deadline=None)
def test_translate(name: str, data: bytes, table: bytes, start: int, cut: int) -> None:
    start = min(start, len(data))
    stop = max(start, len(data) - cut)
    target = bytearray(data)
    with instruction_set(name):
        changed = kernels.translate(target, table, start, stop)
    assert target == data[:start] + data[start:stop].translate(table) + data[stop:]
    assert changed == sum(a != b for a, b in zip(data, target, strict=True))


@each_set
def test_translate_large(name: str) -> None:
    data = bytes(range(256)) * (LARGE // 256)
    table = bytes(random.Random(7).choices(range(256), k=256))
    target = bytearray(data)
    with instruction_set(name):
        changed = kernels.translate(target, table, 3)
    assert target == data[:3] + data[3:].translate(table)
    assert changed == sum(a != b for a, b in zip(data, target, strict=True))


@each_set
def test_translate_leaves_pages_clean(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * (7 * PAGE) + b"b" + b"a" * (PAGE - 1))
    # Of a copy-on-write mapping the kernel tells which pages were written: it has copied them.
    with instruction_set(name), emmap.open(path, "c") as m:
        assert kernels.translate(m, bytes(range(256))) == 0
        assert smaps_of(m.address)["Anonymous"] == "0 kB"
        assert kernels.translate(m, bytes(range(256)).replace(b"b", b"c")) == 1
        assert smaps_of(m.address)["Anonymous"] == f"{PAGE // 1024} kB"
        assert m[7 * PAGE :] == b"c" + b"a" * (PAGE - 1)


@pytest.mark.parametrize("table", [b"", bytes(255), bytes(257)])
def test_a_table_has_256_bytes(table: bytes) -> None:
    target = bytearray(b"ab")
    with pytest.raises(ValueError, match="each of the 256"):
        kernels.translate(target, table)
    assert target == b"ab"


@each_set
def test_nothing_is_read_outside(name: str) -> None:
    script = Path(__file__).parent / "at_the_edge.py"
    done = subprocess.run(
        [sys.executable, str(script), name], capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", (done.returncode, done.stderr)


def test_unknown_instruction_set() -> None:
    with pytest.raises(ValueError, match=r"no instruction set 'sparc', but .*portable"):
        kernels.use_instruction_set("sparc")
    assert SETS[-1] == "portable"
