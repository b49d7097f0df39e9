"""Several processes with one store: two that work at the same time, and what readers hold."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import emmap
from benchmarks.store_peers import Peer, in_type, make_keys

TURN = 0.1  # seconds
CHUNK = 20
GO, OVER = 1, 2
SPAWN = multiprocessing.get_context("spawn")


class Together:
    """Two processes that do the same work at the same time for a tenth of a second.

    The other one has opened the store for itself, and sleeps between the turns.
    """

    def __init__(self, peer: Peer, keys: Sequence[Any], count: int, method: str) -> None:
        self.name = peer.name
        self.work = getattr(peer, method)
        self.chunks = itertools.cycle(cut(keys))
        self.memory = emmap.anonymous(4096, shared=True)
        self.connection, theirs = SPAWN.Pipe()
        arguments = (type(peer), peer.folder, method, count, self.memory, theirs)
        self.process = SPAWN.Process(target=work_beside, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # so that the death of the other one is seen

    def sample(self) -> float:
        """Nanoseconds for each key of either process."""
        word = memoryview(self.memory).cast("q")
        word[0] = 0
        self.connection.send(TURN)
        self.connection.recv()  # It is ready, and looks at the word.
        done, start = 0, time.perf_counter_ns()
        word[0] = GO
        while (took := time.perf_counter_ns() - start) < TURN * 1e9:
            self.work(next(self.chunks))
            done += CHUNK
        word[0] = OVER
        others: int = self.connection.recv()
        return took / (done + others)

    def close(self) -> None:
        self.connection.send(None)
        self.process.join()


def cut(keys: Sequence[Any]) -> list[Sequence[Any]]:
    """Chunks of these keys."""
    return [keys[start : start + CHUNK] for start in range(0, len(keys) - CHUNK + 1, CHUNK)]


def some_keys(kind: type[Peer], count: int) -> Sequence[Any]:
    """Keys of a store with so many, in an order of this process."""
    chosen = random.Random(os.getpid()).sample(range(count), min(count, 100_000))
    return in_type(kind, make_keys(count, chosen))


def work_beside(
    kind: type[Peer], folder: Path, method: str, count: int, memory: Any, connection: Connection
) -> None:
    """In the other process: turn by turn, work and tell how many keys that were."""
    peer = kind(folder)
    work, chunks = getattr(peer, method), itertools.cycle(cut(some_keys(kind, count)))
    word = memoryview(memory).cast("q")
    while connection.recv():
        connection.send("ready")
        while word[0] != GO:
            pass
        done = 0
        while word[0] == GO:
            work(next(chunks))
            done += CHUNK
        connection.send(done)
    peer.close()


def held_by_readers(kind: type[Peer], folder: Path, count: int, readers: int) -> int:
    """Bytes that processes hold, each its part of what they share, when they have read a store."""
    connections, processes = [], []
    for _ in range(readers):
        ours, theirs = SPAWN.Pipe()
        arguments = (kind, folder, count, theirs)
        process = SPAWN.Process(target=read_and_tell, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that the death of the other one is seen
        connections.append(ours)
        processes.append(process)
    for connection in connections:
        connection.recv()
    total = 0
    for connection in connections:
        connection.send("all have read")
        total += connection.recv()
    for connection, process in zip(connections, processes, strict=True):
        connection.send("all have told")
        process.join()
    return total


def read_and_tell(kind: type[Peer], folder: Path, count: int, connection: Connection) -> None:
    """In a reader: how much more it holds when all have read."""
    keys = some_keys(kind, count)
    before = proportional()
    peer = kind(folder, read_only=True)
    if not kind.is_shared:
        peer.put_together(make_keys(count))
    peer.get(keys)
    connection.send("read")
    connection.recv()
    connection.send(proportional() - before)
    connection.recv()
    peer.close()


def proportional() -> int:
    """The bytes that this process holds: all of its own, its part of those that it shares."""
    with open("/proc/self/smaps_rollup") as lines:
        kibibytes = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kibibytes << 10
