"""The arena between processes and threads, after their death, and damaged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import emmap
from mapping.arenas import BUSY, FIRST, ROOT, SIZE, VERSION, arena_in, methods, partner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arena"


@pytest.fixture
def arena() -> emmap.Arena:
    return emmap.Arena(emmap.anonymous(1 << 16))


def test_two_processes_in_turns(path: Path) -> None:
    """Both see the same blocks, wherever the arena is mapped, and each may free the other's."""
    chance = random.Random(7)
    arena = emmap.Arena(emmap.open(path, "a+", reserve=1 << 30))
    model: dict[int, tuple[int, int]] = {}
    with partner(arena) as ask:
        for turn in range(3000):
            if not model or chance.random() < 0.55:
                n, value = chance.randrange(200), chance.randrange(1, 256)
                if chance.random() < 0.5:
                    offset = ask("allocate", n, value)
                else:
                    offset = arena.allocate(n)
                    arena.view(offset)[:] = bytes([value]) * n
                assert offset not in model
                model[offset] = n, value
            else:
                offset = chance.choice(list(model))
                n, value = model.pop(offset)
                assert ask("view", offset) == [value] * n
                assert arena.view(offset) == bytes([value]) * n
                if chance.random() < 0.5:
                    ask("free", offset)
                else:
                    arena.free(offset)
            if turn % 300 == 0:
                arena.check()
                assert ask("statistics") == list(arena.statistics())
        no_overlap({offset: n for offset, (n, _) in model.items()})
        for offset, (n, value) in model.items():
            assert arena.view(offset) == bytes([value]) * n


def no_overlap(blocks: dict[int, int]) -> None:
    end = 0
    for offset in sorted(blocks):
        assert offset >= end + 8, "a header lies between two blocks"
        end = offset + blocks[offset]


def test_a_million_random_operations() -> None:
    """No overlap, no leak; and what is free is never more than what nobody has."""
    chance = random.Random(5)
    arena = emmap.Arena(emmap.anonymous(1 << 22))
    allocate, free, mapping = arena.allocate, arena.free, arena.mapping
    whole = arena.statistics()
    offsets: list[int] = []
    lengths: dict[int, int] = {}
    for operation in range(1_000_000):
        n = int(chance.expovariate(0.01))
        if len(offsets) < 2000 or (len(offsets) < 8000 and n & 1):
            offset = allocate(n)
            offsets.append(offset)
            assert offset not in lengths
            lengths[offset] = n
            if n:  # whoever else has this byte would see it
                assert mapping[offset] == mapping[offset + n - 1] == 0
                mapping[offset] = mapping[offset + n - 1] = 1 + offset % 251
        else:
            i = int(chance.random() * len(offsets))
            offsets[i], offsets[-1] = offsets[-1], offsets[i]
            offset = offsets.pop()
            n = lengths.pop(offset)
            if n:
                assert mapping[offset] == mapping[offset + n - 1] == 1 + offset % 251
            free(offset)
        if operation % 100_000 == 0:
            arena.check()
            no_overlap(lengths)
            found = arena.statistics()
            assert (found.blocks, found.used) == (len(lengths), sum(lengths.values()))
    for offset in offsets:
        free(offset)
    assert arena.statistics() == whole


def test_threads() -> None:
    """Threads need no lock, also where large blocks are zeroed without the GIL."""
    arena = emmap.Arena(emmap.anonymous(1 << 23))
    whole = arena.statistics()
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(300):
                n = chance.choice((10, 100, 40_000, 200_000))
                offset = arena.allocate(n)
                view = arena.view(offset)
                assert view == bytes(n)
                view[:] = bytes([seed]) * n
                other = arena.allocate(10)
                assert view == bytes([seed]) * n
                arena.free(other)
                view.release()
                arena.free(offset)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    arena.check()
    assert arena.statistics() == whole


def test_reading_needs_no_lock(path: Path) -> None:
    """`root` and `view` are right beside another process that allocates and frees."""
    arena = emmap.Arena(emmap.open(path, "a+", reserve=1 << 30))
    before, block, _ = (arena.allocate(50) for _ in range(3))
    view = arena.view(block)
    view[:2] = b"\x01\x05"
    arena.root = block
    with partner(arena) as ask:
        ask.send("watch")
        chance = random.Random(1)
        others = [before]
        for _ in range(50_000):
            if others and chance.random() < 0.5:
                arena.free(others.pop(chance.randrange(len(others))))
            else:
                others.append(arena.allocate(chance.randrange(150)))
        view[0] = 0
        assert ask.receive() in ([5], [])


# Death and damage

CHILD = """
import emmap, random, sys
arena = emmap.Arena(emmap.open(sys.argv[1], "r+", reserve=1 << 30))
chance = random.Random(int(sys.argv[2]))
blocks = [int(line.split()[0]) for line in sys.stdin]
write, flush = sys.stdout.write, sys.stdout.flush
while True:
    if len(blocks) < 50 or chance.random() < 0.5:
        n, value = int(chance.expovariate(0.01)), chance.randrange(256)
        offset = arena.allocate(n)
        arena.view(offset)[:] = bytes([value]) * n
        write(f"had {offset} {n} {value}\\n"); flush()
        blocks.append(offset)
    else:
        offset = blocks.pop(chance.randrange(len(blocks)))
        write(f"frees {offset} 0 0\\n"); flush()
        arena.free(offset)
"""


@pytest.mark.parametrize("kills", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_killed(path: Path, kills: int) -> None:
    """A process that works on the arena is killed again and again. What it had stays."""
    arena = emmap.Arena(emmap.open(path, "a+", reserve=1 << 30))
    blocks: dict[int, tuple[int, int]] = {}
    chance = random.Random(kills)
    for kill in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, path, str(kill)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("".join(f"{offset}\n" for offset in blocks))
            child.stdin.close()
            told = [child.stdout.readline() for _ in range(chance.randrange(1, 400))]
            child.send_signal(signal.SIGKILL)
            told += child.stdout.readlines()
            assert child.wait() == -signal.SIGKILL
        for line in told:
            if line.endswith("\n"):
                what, offset, n, value = line.split()
                if what == "had":
                    blocks[int(offset)] = int(n), int(value)
                else:
                    del blocks[int(offset)]
        arena.repair()
        arena.check()
        # Of one more block nobody knows whether it was handed out, or taken back.
        assert 0 <= arena.statistics().blocks - len(blocks) <= kill + 1
        for offset_, (length, byte) in blocks.items():
            assert arena.view(offset_) == bytes([byte]) * length


def test_killed_in_the_middle(path: Path) -> None:
    """What `busy` means to each method; test_c.py kills after each store that there is."""
    arena = arena_in(path)
    offset = arena.root = arena.allocate(10)
    arena.mapping[BUSY] = 1
    for name, call in methods(arena, offset).items():
        if name not in ("root", "view", "repair"):
            with pytest.raises(emmap.CorruptFileError, match=r"killed.* repair\(\)") as error:
                call()
            assert error.value.filename == str(path)
    assert len(emmap.Arena(arena.mapping).view(arena.root)) == 10
    arena.repair()
    arena.check()
    arena.free(offset)


def test_repair_restores_lists_and_counters(arena: emmap.Arena) -> None:
    offsets = [arena.allocate(n) for n in range(0, 2000, 50)]
    for offset in offsets[::3]:
        arena.free(offset)
    arena.root = offsets[1]
    before, right = arena.statistics(), arena.mapping[:]
    arena.mapping[BUSY : FIRST - 8] = b"\xa5" * (FIRST - 8 - BUSY)
    arena.repair()
    arena.check()
    assert arena.statistics() == before
    assert arena.root == offsets[1]
    arena.mapping[ROOT : ROOT + 8] = offsets[0].to_bytes(8, sys.byteorder)
    with pytest.raises(emmap.CorruptFileError) as error:
        arena.check()
    assert error.value.offset == ROOT
    arena.repair()
    assert arena.root == 0
    assert arena.mapping[FIRST - 8 : FIRST + 40] == right[FIRST - 8 : FIRST + 40]


def test_repair_refuses_a_damaged_chain(arena: emmap.Arena) -> None:
    offsets = [arena.allocate(100) for _ in range(10)]
    arena.mapping[offsets[5] - 1] ^= 1
    before = arena.mapping[:]
    with pytest.raises(emmap.CorruptFileError) as error:
        arena.repair()
    assert error.value.offset == offsets[5] - 8
    assert arena.mapping[:] == before
    for call in (arena.free, arena.view):  # it is the arena that is wrong, and not the offset
        with pytest.raises(emmap.CorruptFileError):
            call(offsets[5])
    assert len(arena.view(offsets[7])) == 100


@pytest.mark.parametrize("seed", range(5))
def test_random_damage(seed: int) -> None:
    """Whatever is flipped, every method gives a result or a clear exception."""
    chance = random.Random(seed)
    source = emmap.Arena(emmap.anonymous(1 << 14))
    offsets = [source.allocate(chance.randrange(200)) for _ in range(60)]
    for offset in offsets[::2]:
        source.free(offset)
    source.root = offsets[1]
    intact = source.mapping[:]
    kinds = set()
    for _ in range(300):
        mapping = source.mapping
        mapping[:] = intact
        for _ in range(chance.randrange(1, 5)):
            mapping[chance.choice((chance.randrange(FIRST), chance.randrange(1 << 14)))] ^= (
                1 << chance.randrange(8)
            )
        for offset in chance.sample(offsets, 4):
            for call in (lambda: emmap.Arena(source.mapping), *methods(source, offset).values()):
                try:
                    call()
                except (emmap.CorruptFileError, ValueError, MemoryError) as error:
                    kinds.add(type(error))
    assert kinds >= {emmap.CorruptFileError, ValueError}


def test_no_arena(path: Path) -> None:
    for content in (b"text, and no arena. " * 1000, bytes(500) + b"x" + bytes(9000), b"x"):
        path.write_bytes(content)
        with (
            emmap.open(path, "r+") as mapping,
            pytest.raises(emmap.CorruptFileError, match="no arena") as error,
        ):
            emmap.Arena(mapping)
        assert (error.value.offset, error.value.filename) == (0, str(path))
        assert path.read_bytes() == content


def test_other_version_and_byte_order(path: Path) -> None:
    arena_in(path).mapping.close()
    right = path.read_bytes()
    for content, message in (
        (right[:VERSION] + (9).to_bytes(8, sys.byteorder) + right[VERSION + 8 :], "version 9"),
        (right[7::-1] + right[8:], "other byte order"),
        (b"E" + right[1:], "no arena"),
        (right[:SIZE] + bytes(8) + right[SIZE + 8 :], "damaged"),
    ):
        path.write_bytes(content)
        with (
            emmap.open(path, "r+") as mapping,
            pytest.raises(emmap.CorruptFileError, match=message),
        ):
            emmap.Arena(mapping)


def test_file_cut_short(path: Path) -> None:
    arena = arena_in(path)
    arena.allocate(60_000)
    arena.mapping.close()
    for size in (60_000, 3000, 2600, 100):
        os.truncate(path, size)
        with (
            emmap.open(path, "r+") as mapping,
            pytest.raises(emmap.CorruptFileError, match="cut short"),
        ):
            emmap.Arena(mapping)
    os.truncate(path, 1 << 16)
    with emmap.open(path, "r+") as mapping, pytest.raises(emmap.CorruptFileError):
        emmap.Arena(mapping).check()


def test_lost_pages(path: Path) -> None:
    arena = arena_in(path)
    offsets = [arena.allocate(1000) for _ in range(50)]
    os.truncate(path, 8192)
    arena.view(offsets[0])  # what is there can be had
    with pytest.raises(emmap.PageLostError) as error:
        arena.check()
    assert error.value.offset == 8192
    for call in methods(arena, offsets[0]).values():
        with pytest.raises(emmap.PageLostError):
            call()
    os.truncate(path, 1 << 16)
    arena.mapping.repair()
    assert len(arena.view(offsets[0])) == 1000
    with pytest.raises(emmap.CorruptFileError):
        arena.check()


@pytest.mark.parametrize("name", ["allocate", "free", "set root", "repair", "view", "statistics"])
def test_lost_during_the_call(path: Path, name: str) -> None:
    arena = arena_in(path)
    offset = arena.allocate(1000)
    os.truncate(path, 0)
    with pytest.raises(emmap.PageLostError):
        methods(arena, offset)[name]()
    with pytest.raises(emmap.PageLostError):
        emmap.Arena(arena.mapping)


# What else happens while an arena is made


def test_an_arena_made_of_a_mapping_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    m = emmap.anonymous(1 << 20)
    real = os.urandom

    def urandom(n: int) -> bytes:
        m.close()
        return real(n)

    monkeypatch.setattr(os, "urandom", urandom)
    with pytest.raises(emmap.ClosedError):
        emmap.Arena(m)


def test_two_threads_make_one_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    m = emmap.anonymous(1 << 16)
    real = os.urandom
    first: list[int] = []

    def urandom(n: int) -> bytes:  # as if another thread came in here
        if not first:
            first.append(0)
            first.append(emmap.Arena(m).allocate(16))
        return real(n)

    monkeypatch.setattr(os, "urandom", urandom)
    assert emmap.Arena(m).allocate(16) != first[1]
    emmap.Arena(m).check()


def test_bytes_that_come_to_be_seen_may_be_protected(tmp_path: Path) -> None:
    path = tmp_path / "arena"
    path.write_bytes(bytes(4096))
    m = emmap.open(path, "r+", reserve=1 << 20)
    arena = emmap.Arena(m)
    m.resize(8192)
    m.protect(emmap.Protection.NONE, 4096, 4096)
    m.resize(4096)
    other = emmap.Arena(emmap.open(path, "r+", reserve=1 << 20))
    other.allocate(20000)
    with pytest.raises(emmap.ProtectionError):
        arena.check()


def test_what_is_no_arena_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3000) + b"precious" + bytes(10000))
    with (
        emmap.open(path, "r+") as m,
        pytest.raises(emmap.CorruptFileError, match="holds something"),
    ):
        emmap.Arena(m)
    assert path.read_bytes() == bytes(3000) + b"precious" + bytes(10000)
    with (
        emmap.open(path, "r+", offset=3, reserve=1 << 20) as m,
        pytest.raises(ValueError, match="multiple of 16"),
    ):
        emmap.Arena(m)
    empty = tmp_path / "empty"
    empty.write_bytes(b"abc")
    with (
        emmap.open(empty, "r+", offset=3, reserve=1 << 20) as m,
        pytest.raises(ValueError, match="multiple of 16"),
    ):
        emmap.Arena(m)
