"""The store beside LMDB, sqlite3, RocksDB, LevelDB, diskcache and others: time, files and memory.

`python -m benchmarks.store --keys 1e7` asks emmap and LMDB the same at 1e5 keys and at more, and
tells how the ratios hold. Keys have 16 bytes, values 100; the keys come in random order.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Contestant, Question, timed
from benchmarks.store_peers import (
    FEW_PEERS,
    LMDB,
    PEERS,
    DiskCache,
    Emmap,
    LevelDB,
    LMDBWriteMap,
    Manager,
    Peer,
    PlainDict,
    RocksDB,
    Shelve,
    SQLite,
    Ultra,
    in_type,
    installed,
    make_keys,
)
from benchmarks.store_processes import Together
from benchmarks.store_space import space_questions

KEYS = BATCH = 100_000
ROUND = 20_000_000  # nanoseconds
HELD = 0.8  # of its ratio at 1e5 keys: what emmap keeps of it at more
# Asked of the command line, for the harness gives its questions no arguments.
IS_QUICK = "--quick" in sys.argv


def questions() -> Iterator[Question]:
    """All questions."""
    peers = installed(FEW_PEERS if IS_QUICK else PEERS)
    with Stores(peers, KEYS) as stores:
        yield from timings(stores)
        yield from others(stores)
    yield from space_questions(peers, is_quick=IS_QUICK)


class Stores:
    """The same pairs in a store of each kind, open until the block ends."""

    def __init__(self, kinds: Sequence[type[Peer]], count: int) -> None:
        self.count = count
        self.folder = tempfile.TemporaryDirectory(prefix="emmap-bench-")
        self.peers = {kind: kind(self.new_folder(kind)) for kind in kinds}
        keys = make_keys(count)
        for kind, peer in self.peers.items():
            for start in range(0, count, BATCH):
                peer.put_together(in_type(kind, keys[start : start + BATCH]))
        # In a large store a million of them are enough to be cold when their turn comes again.
        chosen = random.Random(2).sample(keys, min(count, 10 * KEYS))
        self.keys = {kind: in_type(kind, chosen) for kind in kinds}
        for kind, peer in self.peers.items():
            found = peer.get(self.keys[kind][:1])
            assert isinstance(found, bytes), kind
            assert len(found) == 100, kind

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *exception: object) -> None:
        for peer in self.peers.values():
            peer.close()
        self.folder.cleanup()

    def new_folder(self, kind: type[Peer]) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{kind.__name__}-", dir=self.folder.name))

    def those(self, *kinds: type[Peer]) -> list[type[Peer]]:
        """Those of some kinds that are there."""
        return [kind for kind in kinds if kind in self.peers]

    def calling(
        self, kind: type[Peer], method: str, note: str = "", *, hot: bool = False
    ) -> list[Contestant]:
        """A contestant that calls the method with a thousand keys at a time, round and round.

        There is none where the peer is not there.
        """
        if kind not in self.peers:
            return []
        keys, work = self.keys[kind], getattr(self.peers[kind], method)
        chunks = [keys[start : start + 1000] for start in range(0, len(keys), 1000)]
        return [round_and_round(kind.name + note, work, chunks[:1] if hot else chunks)]


def round_and_round(
    name: str, work: Callable[[Sequence[Any]], object], chunks: Sequence[Sequence[Any]]
) -> Contestant:
    """Work with the next chunks until a short time is over: nanoseconds for each key."""
    endless = itertools.cycle(chunks)

    def sample() -> float:
        done, start = 0, time.perf_counter_ns()
        while (took := time.perf_counter_ns() - start) < ROUND:
            chunk = next(endless)
            work(chunk)
            done += len(chunk)
        return took / done

    return Contestant(name, sample)


def beside(
    title: str, contestants: list[Contestant], peer: type[Peer] | str, at_most: float | None = None
) -> Question:
    """A question with a promise, or with another peer and none where its peer is not there."""
    name = peer if isinstance(peer, str) else peer.name
    if name in {contestant.name for contestant in contestants}:
        return Question(title, contestants, name, at_most)
    return Question(title, contestants, contestants[-1].name)


def timings(stores: Stores) -> Iterator[Question]:
    """What is asked of stores of any size."""
    each, together = ", each", ", in one transaction"
    yield beside(
        "get, each for itself",
        [
            *stores.calling(Emmap, "get"),
            *stores.calling(LMDB, "get"),
            *(
                contestant
                for kind in (SQLite, DiskCache, RocksDB, LevelDB, Ultra, Shelve, PlainDict)
                for contestant in stores.calling(kind, "get")
            ),
        ],
        LMDB,
        at_most=1 / 2,
    )
    yield beside(
        "get, beside one read transaction",
        [
            *stores.calling(Emmap, "get", each),
            *stores.calling(Emmap, "get_together", ", in a snapshot"),
            *stores.calling(Emmap, "get_many", ", get_many"),
            *(
                contestant
                for kind in (LMDB, SQLite, LevelDB)
                for contestant in stores.calling(kind, "get_together", together)
            ),
        ],
        LMDB.name + together,
        at_most=1 / 1.4,
    )
    yield beside(
        "get of 1,000 hot keys",
        [
            *stores.calling(Emmap, "get", each, hot=True),
            *stores.calling(Emmap, "get_together", ", in a snapshot", hot=True),
            *stores.calling(LMDB, "get", each, hot=True),
            *stores.calling(LMDB, "get_together", together, hot=True),
            *stores.calling(Ultra, "get", hot=True),
            *stores.calling(PlainDict, "get", hot=True),
        ],
        LMDB.name + together,
        at_most=1 / 2.5,
    )
    yield beside(
        "set, each for itself",
        [
            contestant
            for kind in stores.peers
            if kind is not Manager
            for contestant in stores.calling(kind, "put")
        ],
        LMDBWriteMap,
        at_most=1 / 3,
    )
    yield from by_two(stores, "put", "set, by two processes", at_most=1 / 6)
    yield from by_two(stores, "mix", "90 % get and 10 % set, by two processes", at_most=1 / 2.5)
    yield beside(
        "set 1e5 in one transaction",
        at_once(stores, "put_together", (Emmap, LMDBWriteMap, LMDB, SQLite, RocksDB, LevelDB)),
        LMDBWriteMap,
        at_most=1,
    )
    yield beside(
        "set 1e5 by one call",
        at_once(stores, "update", (Emmap, LMDBWriteMap, LMDB)),
        LMDBWriteMap,
    )
    yield beside("iterate over all pairs", iterating(stores), LMDB, at_most=1 / 1.5)


def by_two(stores: Stores, method: str, title: str, at_most: float) -> Iterator[Question]:
    """Two processes, and the time for each of the operations of both."""
    kinds = (Emmap, LMDBWriteMap, LMDB, SQLite, DiskCache, Ultra)
    pairs = [
        Together(peer, stores.keys[kind], stores.count, method)
        for kind, peer in stores.peers.items()
        if kind in kinds
    ]
    contestants = [Contestant(pair.name, pair.sample) for pair in pairs]
    yield beside(title, contestants, LMDBWriteMap, at_most)
    for pair in pairs:
        pair.close()


def at_once(stores: Stores, method: str, kinds: Sequence[type[Peer]]) -> list[Contestant]:
    """All of 1e5 keys by one call of the method."""

    def contestant(kind: type[Peer], peer: Peer) -> Contestant:
        keys, work = stores.keys[kind][:BATCH], getattr(peer, method)
        return Contestant(kind.name, lambda: timed(lambda: work(keys), BATCH))

    return [contestant(kind, peer) for kind, peer in stores.peers.items() if kind in kinds]


def iterating(stores: Stores) -> list[Contestant]:
    """All pairs of those that do it in less than a second."""

    def contestant(kind: type[Peer], peer: Peer) -> Contestant:
        return Contestant(kind.name, lambda: timed(peer.iterate, stores.count))

    kinds = (Emmap, LMDB, SQLite, RocksDB, LevelDB, PlainDict)
    return [contestant(kind, peer) for kind, peer in stores.peers.items() if kind in kinds]


def others(stores: Stores) -> Iterator[Question]:
    """What is asked once, whatever the size of the store."""
    yield beside(
        "get, beside Manager().dict",
        [*stores.calling(Emmap, "get"), *stores.calling(Manager, "get")],
        Manager,
        at_most=1 / 50,
    )

    def filling(kind: type[Peer]) -> Contestant:
        keys = make_keys(BATCH)

        def sample() -> float:
            with tempfile.TemporaryDirectory() as folder:
                peer = kind(Path(folder))
                took = timed(lambda: peer.put_together(keys), BATCH)
                peer.close()
            return took

        return Contestant(kind.name, sample)

    def opening(kind: type[Peer]) -> Contestant:
        folder, keys = stores.new_folder(kind), in_type(kind, make_keys(KEYS))
        peer = kind(folder)
        peer.put_together(keys)
        peer.close()

        def work() -> None:
            peer = kind(folder, read_only=True)
            peer.get(keys[:1])
            peer.close()

        return Contestant(kind.name, lambda: timed(work))

    yield beside(
        "set 1e5 in one transaction, an empty store",
        [filling(kind) for kind in stores.those(Emmap, LMDBWriteMap, LMDB, SQLite)],
        LMDBWriteMap,
    )
    in_files = stores.those(Emmap, LMDB, SQLite, DiskCache, RocksDB, LevelDB)
    yield beside("open a file, get one, close", [opening(kind) for kind in in_files], LMDB)


def main() -> None:
    """Print how the ratios of a large store compare with those at 1e5 keys."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store")
    parser.add_argument("--keys", type=float, default=1e7, help="of the large store (%(default)s)")
    large = int(parser.parse_args().keys)
    gains: dict[str, list[float]] = {}
    for count in (KEYS, large):
        with Stores(installed([Emmap, LMDB, LMDBWriteMap]), count) as stores:
            for question in timings(stores):
                result = harness.ask(question, seconds=4)
                print(f"\n{count:,} keys: {harness.table(result)}", flush=True)
                gain = 1 / result.ratio(question.contestants[0].name)
                gains.setdefault(question.title, []).append(gain)
    print(f"\nTimes as fast as LMDB at {KEYS:,} keys, and at {large:,}:")
    for title, (small_gain, large_gain) in gains.items():
        kept = large_gain / small_gain
        word = "pass" if kept >= HELD else "MISS"
        print(f"  {word}  {title}: {small_gain:.2f}, {large_gain:.2f}: {kept:.2f} of it is kept")


if __name__ == "__main__":
    main()
