"""Arena beside Python's own memory: allocate and free, beside other blocks, and a look at one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import emmap
from benchmarks.harness import Contestant, Question, statement, timed

MiB = 1 << 20
BLOCKS = 20_000


def questions() -> Iterator[Question]:
    """All questions."""
    arena = emmap.Arena(emmap.anonymous(64 * MiB))
    yield allocating("64 bytes and back, in an empty arena", arena)
    offsets = fill(arena)
    yield allocating(f"64 bytes and back, among {BLOCKS:,} holes", arena)
    yield churning()
    yield Question(
        "a memoryview of a block of 64 bytes",
        [
            statement("arena.view(offset)", "view(n)", view=arena.view, n=offsets[0]),
            statement("memoryview(m)[a:b]", "memoryview(m)[3000:3064]", m=arena.mapping),
        ],
        "memoryview(m)[a:b]",
    )


def allocating(title: str, arena: emmap.Arena) -> Question:
    """A block that is handed out, zero, and taken back at once."""
    return Question(
        title,
        [
            statement(
                "arena.free(arena.allocate(64))", "arena.free(arena.allocate(64))", arena=arena
            ),
            statement("bytearray(64)", "bytearray(64)"),
        ],
        "bytearray(64)",
        at_most=2.0,
    )


def fill(arena: emmap.Arena) -> list[int]:
    """Leaves as many blocks of mixed sizes as holes between them."""
    chance = random.Random(1)
    offsets = [arena.allocate(chance.randrange(300)) for _ in range(2 * BLOCKS)]
    for offset in offsets[::2]:
        arena.free(offset)
    return offsets[1::2]


def churning() -> Question:
    """Blocks of mixed sizes that live for a while: each is replaced in random order."""
    chance = random.Random(2)
    steps = [(chance.randrange(BLOCKS), chance.randrange(300)) for _ in range(BLOCKS)]
    arena = emmap.Arena(emmap.anonymous(64 * MiB))
    offsets = [arena.allocate(n) for _, n in steps]
    arrays = [bytearray(n) for _, n in steps]

    def by_arena() -> None:
        free, allocate = arena.free, arena.allocate
        for i, n in steps:
            free(offsets[i])
            offsets[i] = allocate(n)

    def by_bytearray() -> None:
        for i, n in steps:
            arrays[i] = bytearray(n)

    return Question(
        f"replace one of {BLOCKS:,} blocks of up to 300 bytes",
        [
            Contestant("arena", lambda: timed(by_arena, BLOCKS)),
            Contestant("bytearray", lambda: timed(by_bytearray, BLOCKS)),
        ],
        "bytearray",
    )
