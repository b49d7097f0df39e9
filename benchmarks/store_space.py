"""What stores take of the disk and of memory."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import emmap
from benchmarks.harness import Contestant, Question
from benchmarks.store_peers import (
    KEY_SIZE,
    LMDB,
    VALUES,
    Emmap,
    LevelDB,
    Peer,
    PlainDict,
    RocksDB,
    SQLite,
    make_keys,
)
from benchmarks.store_processes import held_by_readers

FILLED, OVERWRITTEN = 1_000_000, 100_000  # pairs
TIMES = 10
READERS = 4
PAIR = KEY_SIZE + len(VALUES[0])
DATA = "keys and values alone"
LIVE = "the live blocks of emmap's"
# diskcache and shelve take minutes.
IN_FILES: Sequence[type[Peer]] = (Emmap, LMDB, SQLite, RocksDB, LevelDB)
# LevelDB is for one process.
FOR_READERS: Sequence[type[Peer]] = (Emmap, LMDB, SQLite, RocksDB, PlainDict)


def space_questions(kinds: Sequence[type[Peer]], *, is_quick: bool) -> Iterator[Question]:
    """Files that were filled, files that were overwritten, and the memory of readers."""
    files = [kind for kind in kinds if kind in IN_FILES]
    readers = [kind for kind in kinds if kind in FOR_READERS]
    yield in_bytes("file of 1e6 pairs, set at once", files, size_at_once, FILLED, LMDB.name, 1.25)
    yield in_bytes(
        "file of 1e5 pairs, each set ten times",
        [Emmap] if is_quick else files,
        size_overwritten,
        OVERWRITTEN,
        LIVE,
        2.5,
    )
    if not is_quick:
        yield in_bytes("file of 1e6 pairs, set by 1e4", files, size_step_by_step, FILLED, LMDB.name)
        yield in_bytes("four processes have read 1e6 pairs", readers, held, FILLED, LMDB.name)


def in_bytes(
    title: str,
    kinds: Sequence[type[Peer]],
    measure: Callable[[type[Peer], Path], int],
    pairs: int,
    peer: str,
    at_most: float | None = None,
) -> Question:
    """A question for bytes. What the pairs themselves take is the last contestant."""

    def contestant(kind: type[Peer]) -> Contestant:
        def sample() -> float:
            with tempfile.TemporaryDirectory(prefix=f"{kind.__name__}-") as folder:
                return measure(kind, Path(folder))

        return Contestant(kind.name, sample)

    contestants = [*map(contestant, kinds), Contestant(DATA, lambda: pairs * PAIR)]
    if peer == LIVE:
        contestants.append(Contestant(LIVE, lambda: size_in_use(pairs)))
    if peer not in {each.name for each in contestants}:
        peer, at_most = DATA, None
    return Question(title, contestants, peer, at_most, unit="bytes")


def size_at_once(kind: type[Peer], folder: Path) -> int:
    return filled(kind, folder, FILLED, FILLED)


def size_step_by_step(kind: type[Peer], folder: Path) -> int:
    return filled(kind, folder, FILLED, 10_000)


def size_overwritten(kind: type[Peer], folder: Path) -> int:
    """Overwritten one by one, in random order."""
    filled(kind, folder, OVERWRITTEN, OVERWRITTEN)
    keys, chance = make_keys(OVERWRITTEN), random.Random(3)
    peer = kind(folder)
    for _ in range(TIMES):
        peer.put(chance.sample(keys, len(keys)))
    peer.close()
    return size_of(folder)


def size_in_use(pairs: int) -> int:
    """What a store holds of pairs: their blocks, and the tree above."""
    with emmap.Store(None) as store:
        live = store.dict("pairs")
        live.update(dict.fromkeys(make_keys(pairs), VALUES[0]))
        return store.statistics().used


def filled(kind: type[Peer], folder: Path, count: int, step: int) -> int:
    """Fill a store, so many in a transaction: the bytes that its files then have on the disk."""
    peer, keys = kind(folder), make_keys(count)
    for start in range(0, count, step):
        peer.put_together(keys[start : start + step])
    peer.close()
    return size_of(folder)


def size_of(folder: Path) -> int:
    """Bytes on the disk: holes in files, which cost nothing, do not count."""
    return sum(path.stat().st_blocks for path in folder.rglob("*")) * 512


def held(kind: type[Peer], folder: Path) -> int:
    """What four processes hold, each its part of what they share."""
    if kind.is_shared:
        filled(kind, folder, FILLED, FILLED)
    return held_by_readers(kind, folder, FILLED, READERS)
