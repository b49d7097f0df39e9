"""The arena: an allocator whose blocks outlive the process, and are found again at any address."""

from __future__ import annotations

import mmap
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.arenas import FIRST, arena_in, fill, methods, partner
from mapping.small_disk import run_on_small_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arena"


@pytest.fixture
def arena() -> emmap.Arena:
    return emmap.Arena(emmap.anonymous(1 << 16))


# Blocks


def test_block(arena: emmap.Arena) -> None:
    offset = arena.allocate(100)
    assert offset == FIRST
    view = arena.view(offset)
    assert (view.nbytes, view.readonly, view.format, bytes(view)) == (100, False, "B", bytes(100))
    view[:] = b"x" * 100
    assert arena.mapping[offset : offset + 100] == b"x" * 100
    assert arena.view(offset) == b"x" * 100


@pytest.mark.parametrize("n", [0, 1, 8, 23, 24, 25, 40, 41, 64, 1000, 31_000, 33_000, 50_000])
def test_lengths(arena: emmap.Arena, n: int) -> None:
    """A block has the bytes that were asked for, is aligned, and is zero also the second time."""
    for _ in range(2):
        offset = arena.allocate(n)
        assert offset % 16 == 0
        assert arena.view(offset) == bytes(n)
        arena.view(offset)[:] = b"\xff" * n
        behind = arena.allocate(1)
        arena.view(behind)[:] = b"\xff"
        assert arena.view(offset) == b"\xff" * n
        arena.free(offset)
        arena.check()


def test_index_types(arena: emmap.Arena) -> None:
    class Number:
        def __init__(self, value: int) -> None:
            self.value = value

        def __index__(self) -> int:
            return self.value

    offset = arena.allocate(Number(10))
    assert len(arena.view(Number(offset))) == 10
    arena.root = Number(offset)
    arena.free(Number(offset))
    wrong: Any
    for wrong in ("10", 10.0, None):
        for call in (arena.allocate, arena.free, arena.view):
            with pytest.raises(TypeError):
                call(wrong)


def test_index_that_closes(arena: emmap.Arena) -> None:
    class Closing:
        def __index__(self) -> int:
            arena.mapping.close()
            return 10

    with pytest.raises(emmap.ClosedError):
        arena.allocate(Closing())


def test_wrong_numbers(arena: emmap.Arena) -> None:
    with pytest.raises(ValueError, match="-1"):
        arena.allocate(-1)
    with pytest.raises(OverflowError):
        arena.allocate(1 << 64)
    for n in (1 << 16, 1 << 40, (1 << 63) - 1):
        with pytest.raises(MemoryError, match=f"no room for {n} bytes"):
            arena.allocate(n)


def test_stray_offsets() -> None:
    arena = emmap.Arena(emmap.anonymous(4000))
    offsets = [arena.allocate(40) for _ in range(3)]
    before = arena.mapping[:]
    for stray in {*range(-20, len(arena.mapping) + 20), -(1 << 70), 1 << 63, 1 << 70} - {*offsets}:
        for call in (arena.view, arena.free):
            with pytest.raises(ValueError, match=r"no block begins|cannot fit"):
                call(stray)
        if stray:
            with pytest.raises(ValueError, match=r"no block begins|cannot fit"):
                arena.root = stray
    assert arena.mapping[:] == before


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 2, 0), (2, 0, 1, 3)])
def test_double_free(arena: emmap.Arena, order: tuple[int, ...]) -> None:
    """Whichever neighbours a block has been joined with, it is known to be free."""
    offsets = [arena.allocate(n) for n in (40, 1000, 0, 100)]
    freed = []
    for i in order:
        arena.free(offsets[i])
        freed.append(offsets[i])
        before = arena.mapping[:]
        for offset in freed:
            for call in (arena.free, arena.view):
                with pytest.raises(ValueError, match=f"no block begins at offset {offset}"):
                    call(offset)
        assert arena.mapping[:] == before


def test_neighbours_are_joined(arena: emmap.Arena) -> None:
    whole = arena.statistics()
    chance = random.Random(11)
    for _ in range(20):
        offsets = fill(arena, lambda: chance.randrange(3000))
        chance.shuffle(offsets)
        for offset in offsets:
            arena.free(offset)
        assert arena.statistics() == whole
        offset = arena.allocate(whole.largest)
        assert arena.statistics().largest == arena.statistics().free == 0
        arena.free(offset)


def test_full(arena: emmap.Arena) -> None:
    offsets = [arena.allocate(1000)]
    while (largest := arena.statistics().largest) >= 1000:
        offsets.append(arena.allocate(1000))
    before = arena.mapping[:]
    with pytest.raises(MemoryError, match=r"no room for 1000 bytes.* past 65536 bytes"):
        arena.allocate(1000)
    assert arena.mapping[:] == before
    arena.allocate(largest)
    arena.free(offsets[5])
    assert arena.allocate(1000) == offsets[5]


def test_statistics(arena: emmap.Arena) -> None:
    assert repr(arena.statistics()) == (
        "Statistics(size=65536, blocks=0, used=0, free=62960, largest=62952)"
    )
    offset = arena.allocate(100)
    arena.allocate(0)
    found = arena.statistics()
    assert (found.size, found.blocks, found.used) == (65536, 2, 100)
    assert (found.free, found.largest) == (62960 - 112 - 32, 62952 - 112 - 32)
    arena.free(offset)
    assert arena.statistics()[1:] == (1, 0, 62960 - 32, 62952 - 112 - 32)
    with pytest.raises(AttributeError):
        found.size = 1  # type: ignore[misc]


# The root


def test_root(path: Path) -> None:
    arena = arena_in(path)
    assert arena.root == 0
    offset = arena.allocate(5)
    arena.view(offset)[:] = b"hello"
    arena.root = offset
    arena.mapping.close()
    with emmap.open(path) as mapping:
        again = emmap.Arena(mapping)
        assert bytes(again.view(again.root)) == b"hello"
    with emmap.open(path, "r+") as mapping:
        again = emmap.Arena(mapping)
        again.root = 0
        assert again.root == 0
        again.root = offset
        again.free(offset)
        assert again.root == 0
        with pytest.raises(ValueError, match="no block begins"):
            again.root = offset
        again.check()


# What it lies in


@pytest.mark.parametrize("kind", ["private", "shared", "/dev/zero", "file", "copy", "standard"])
def test_kinds_of_mappings(kind: str, path: Path) -> None:
    path.write_bytes(bytes(20_000))
    mapping = {
        "private": lambda: emmap.anonymous(20_000),
        "shared": lambda: emmap.anonymous(20_000, shared=True),
        "/dev/zero": lambda: emmap.open("/dev/zero", "r+", length=20_000),
        "file": lambda: emmap.open(path, "r+"),
        "copy": lambda: emmap.open(path, "c"),
        "standard": lambda: emmap.MemoryMap(-1, 20_000),
    }[kind]()
    with mapping:
        arena = emmap.Arena(mapping)
        assert arena.mapping is mapping
        offset = arena.allocate(10)
        arena.view(offset)[:] = b"0123456789"
        arena.root = offset
        again = emmap.Arena(mapping)
        assert bytes(again.view(again.root)) == b"0123456789"
        arena.check()
    assert any(path.read_bytes()) == (kind == "file")


def test_inside_a_file(path: Path) -> None:
    """The arena may begin at any multiple of 16 in its file, and offsets count from there."""
    path.write_bytes(b"x" * 4112 + bytes(10_000))
    with emmap.open(path, "r+", offset=4112) as mapping:
        assert emmap.Arena(mapping).allocate(10) == FIRST
        mapping[FIRST - 8 : FIRST] = bytes(8)
        with pytest.raises(emmap.CorruptFileError) as error:
            emmap.Arena(mapping).check()
        assert (error.value.offset, error.value.filename) == (4112 + FIRST - 8, str(path))
    with (
        emmap.open(path, "r+", offset=4120) as mapping,
        pytest.raises(ValueError, match="multiple of 16 bytes, not at file offset 4120"),
    ):
        emmap.Arena(mapping)


def test_too_short() -> None:
    for n in (0, 1, 2600, 2607):
        with emmap.anonymous(n) as mapping:
            with pytest.raises(ValueError, match=f"at least 2608 bytes, and the mapping has {n}"):
                emmap.Arena(mapping)
            assert not any(mapping[:])
    arena = emmap.Arena(emmap.anonymous(2608))
    assert arena.allocate(24) == FIRST


def test_wrong_arguments() -> None:
    for wrong in (None, bytearray(10_000), mmap.mmap(-1, 10_000)):
        with pytest.raises(TypeError):
            emmap.Arena(wrong)  # type: ignore[arg-type]


def test_repr_and_pickle(path: Path) -> None:
    arena = arena_in(path)
    arena.root = arena.allocate(3)
    arena.view(arena.root)[:] = b"abc"
    assert repr(arena) == f"<emmap.Arena in {arena.mapping!r}>"
    again = pickle.loads(pickle.dumps(arena))
    assert bytes(again.view(again.root)) == b"abc"
    assert again.mapping is not arena.mapping


CHANGES = {"allocate", "free", "set root", "repair"}


def test_read_only(path: Path) -> None:
    arena = arena_in(path)
    offset = arena.root = arena.allocate(10)
    before = path.read_bytes()
    with emmap.open(path) as mapping:
        reader = emmap.Arena(mapping)
        for name, call in methods(reader, offset).items():
            if name in CHANGES:
                with pytest.raises(emmap.ProtectionError):
                    call()
            else:
                call()
        assert reader.view(offset).readonly
    assert path.read_bytes() == before


def test_read_only_and_empty(path: Path) -> None:
    path.write_bytes(bytes(10_000))
    with emmap.open(path) as mapping, pytest.raises(emmap.ProtectionError, match="mode 'r\\+'"):
        emmap.Arena(mapping)
    assert not any(path.read_bytes())


def test_partly_protected(arena: emmap.Arena) -> None:
    offset = arena.allocate(10)
    arena.mapping.protect(emmap.Protection.READ, 40_000, 10)
    for name, call in methods(arena, offset).items():
        if name in CHANGES:
            with pytest.raises(emmap.ProtectionError):
                call()
        else:
            call()
    arena.mapping.protect(emmap.Protection.NONE)
    with pytest.raises(emmap.ProtectionError):
        arena.view(offset)


def test_closed(arena: emmap.Arena) -> None:
    offset = arena.allocate(10)
    view = arena.view(offset)
    arena.mapping.close()
    for call in methods(arena, offset).values():
        with pytest.raises(emmap.ClosedError):
            call()
    with pytest.raises(emmap.ClosedError):
        emmap.Arena(arena.mapping)
    view[:] = b"0123456789"
    assert "closed=True" in repr(arena)


def test_resized(arena: emmap.Arena) -> None:
    offset = arena.allocate(10)
    arena.mapping.resize(5000)
    for name, call in methods(arena, offset).items():
        if name != "root":
            with pytest.raises(emmap.CorruptFileError, match="65536 bytes, and only 5000"):
                call()
    arena.mapping.resize(0)
    with pytest.raises(emmap.CorruptFileError):
        arena.check()
    arena.mapping.resize(1 << 16)
    with pytest.raises(emmap.CorruptFileError):
        arena.allocate(10)


# Growth


def test_grows(path: Path) -> None:
    arena = emmap.Arena(emmap.open(path, "a+", reserve=1 << 30))
    first = arena.allocate(1000)
    view = arena.view(first)
    sizes = set()
    offsets = []
    for n in range(3000):
        offsets.append(arena.allocate(1000))
        arena.view(offsets[-1])[:] = bytes([n % 256]) * 1000
        sizes.add(arena.statistics().size)
    assert len(sizes) < 12
    view[:] = b"v" * 1000
    assert arena.mapping[first : first + 1000] == b"v" * 1000
    assert max(sizes) < 2 * 3_100_000
    assert path.stat().st_size == len(arena.mapping) == max(sizes)
    arena.check()
    assert all(arena.view(o) == bytes([n % 256]) * 1000 for n, o in enumerate(offsets))
    large = arena.allocate(100_000_000)
    assert len(arena.view(large)) == 100_000_000
    with pytest.raises(MemoryError, match="larger reserve="):
        arena.allocate(1 << 30)
    arena.check()


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_grows_to_its_capacity(kind: str) -> None:
    arena = emmap.Arena(emmap.anonymous(0, shared=kind == "shared", reserve=1 << 20))
    capacity = arena.mapping.capacity
    assert len(fill(arena, lambda: 100_000)) == 10
    arena.allocate(arena.statistics().largest)
    while arena.mapping.capacity - len(arena.mapping) > 100:
        arena.allocate(100)
    assert len(arena.mapping) <= capacity
    arena.check()


def test_takes_what_was_mapped_behind(path: Path) -> None:
    """As when a process was killed between growing the file and telling the arena."""
    arena = arena_in(path, 10_000)
    arena.mapping.resize(20_000)
    assert len(arena.view(arena.allocate(15_000))) == 15_000
    assert arena.statistics().size == 20_000
    arena.check()


def test_follows_growth_of_another_process(path: Path) -> None:
    arena = emmap.Arena(emmap.open(path, "a+", reserve=1 << 30))
    with (
        emmap.open(path) as fixed,
        emmap.open(path, reserve=1 << 30) as following,
        partner(arena) as ask,
    ):
        reader = emmap.Arena(fixed)
        offsets = [ask("allocate", 100_000, value) for value in range(1, 20)]
        for value, offset in enumerate(offsets, 1):
            assert arena.view(offset) == bytes([value]) * 100_000
        mine = arena.allocate(500_000)
        arena.view(mine)[:] = b"m" * 500_000
        assert ask("view", mine) == [ord("m")] * 500_000
        assert ask("check") is None
        assert emmap.Arena(following).view(offsets[-1]) == bytes([19]) * 100_000
        with pytest.raises(emmap.CorruptFileError, match="open it with reserve= to follow"):
            reader.check()


def test_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = """
import emmap, errno
arena = emmap.Arena(emmap.open("arena", "a+", reserve=1 << 30))
offsets = []
try:
    while True:
        offsets.append(arena.allocate(5000))
except OSError as error:
    assert error.errno == errno.ENOSPC, error
before = arena.statistics()
assert before.blocks == len(offsets)
# All but what is less than a page, a block and the arena's own was handed out.
assert before.used > (1 << 20) - 15_000 - 10 * len(offsets), before
arena.check()
for n in (5000, 100_000):
    try:
        arena.allocate(n)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise AssertionError("the disk is full")
assert arena.statistics() == before
arena.free(offsets[3])
assert arena.allocate(5000) == offsets[3]
"""
    run_on_small_disk(script, folder, str(1 << 20))
