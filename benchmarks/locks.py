"""Locks beside those of multiprocessing, threading and files: alone, and two processes fighting."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emmap
from benchmarks.harness import Contestant, Question, statement

STANDARD = "multiprocessing.Lock"
FIGHT = 0.1  # seconds


def questions() -> Iterator[Question]:
    """All questions."""
    folder = Path(tempfile.mkdtemp(prefix="emmap-bench-"))
    lock = emmap.Lock(emmap.anonymous(64, shared=True))
    named = emmap.Lock(folder / "job.lock")
    standard = multiprocessing.Lock()
    yield Question(
        "acquire() and release(), alone",
        [
            pair("emmap.Lock", lock),
            pair("emmap.Lock, by its path", named),
            pair("emmap.RLock", emmap.RLock(emmap.anonymous(64, shared=True))),
            pair(STANDARD, standard),
            pair("threading.Lock", threading.Lock()),
        ],
        STANDARD,
        at_most=1.1,
    )
    yield Question(
        "with lock: pass",
        [
            block("emmap.Lock", lock),
            block("emmap.Lock, by its path", named),
            block(STANDARD, standard),
            block("threading.Lock", threading.Lock()),
        ],
        STANDARD,
        at_most=0.55,
    )
    yield from among_files(lock, folder)
    ours, theirs = Fight(lock), Fight(standard)
    yield Question(
        "two processes that fight for it, a turn",
        [Contestant("emmap.Lock", ours.turn), Contestant(STANDARD, theirs.turn)],
        STANDARD,
        at_most=0.5,
    )
    # 1.25 of the mean is 40 % of the turns.
    yield Question(
        "the same, a turn of the one who gets fewer",
        [
            Contestant("emmap.Lock", ours.turn_of_the_slower),
            Contestant("emmap.Lock, the mean of both", ours.turn_last_time),
            Contestant(STANDARD, theirs.turn_of_the_slower),
        ],
        "emmap.Lock, the mean of both",
        at_most=1.25,
    )


def pair(name: str, lock: Any) -> Contestant:
    return statement(name, "acquire(); release()", acquire=lock.acquire, release=lock.release)


def block(name: str, lock: Any) -> Contestant:
    return statement(name, "with lock: pass", lock=lock)


def among_files(lock: emmap.Lock, folder: Path) -> Iterator[Question]:
    """Locks by files, of which filelock's is the one that is mostly taken."""
    others = [pair("emmap.Lock", lock)]
    file = open(folder / "record", "w+")  # noqa: SIM115 - it stays open for the benchmark
    code = "lockf(file, exclusive); lockf(file, unlock)"
    others.append(
        statement(
            "fcntl.lockf",
            code,
            10,
            lockf=fcntl.lockf,
            file=file,
            exclusive=fcntl.LOCK_EX,
            unlock=fcntl.LOCK_UN,
        )
    )
    makers: dict[str, Callable[[Any], Any]] = {
        "posix_ipc": lambda m: m.Semaphore(None, m.O_CREX, initial_value=1),
        "fasteners": lambda m: m.InterProcessLock(folder / "fasteners"),
        "filelock": lambda m: m.FileLock(folder / "filelock"),
    }
    for name, make in makers.items():
        if importlib.util.find_spec(name):
            made = make(importlib.import_module(name))
            acquire, release = made.acquire, made.release
            loops = 100 if name == "posix_ipc" else 2
            others.append(
                statement(name, "acquire(); release()", loops, acquire=acquire, release=release)
            )
    known = {contestant.name for contestant in others}
    peer, promise = ("filelock", 0.01) if "filelock" in known else ("fcntl.lockf", None)
    yield Question("acquire() and release(), beside locks by files", others, peer, promise)


class Fight:
    """Two processes that do nothing but acquire a lock and release it, for a tenth of a second."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.memory = emmap.anonymous(4096, shared=True)
        self.last = (1, 1, 1.0)

    def run(self) -> tuple[int, int, float]:
        """The turns of each, and the nanoseconds that it took."""
        words = memoryview(self.memory).cast("q")
        words[0] = words[8] = words[16] = 0
        child = os.fork()
        if child == 0:
            try:
                words[16] = 1
                while words[0] == 0:
                    pass
                words[8] = self.take_turns(lambda: words[0] == 2)
            finally:
                os._exit(0)
        while words[16] == 0:
            pass
        start = time.perf_counter_ns()
        words[0] = 1
        mine = self.take_turns(lambda: time.perf_counter_ns() - start > FIGHT * 1e9)
        took = time.perf_counter_ns() - start
        words[0] = 2
        os.waitpid(child, 0)
        return mine, words[8], took

    def take_turns(self, over: Callable[[], bool]) -> int:
        turns, acquire, release = 0, self.lock.acquire, self.lock.release
        while not over():
            for _ in range(200):
                acquire()
                release()
            turns += 200
        return turns

    def turn(self) -> float:
        """Nanoseconds for each turn of anybody."""
        self.last = self.run()
        return self.turn_last_time()

    def turn_last_time(self) -> float:
        mine, other, took = self.last
        return took / (mine + other)

    def turn_of_the_slower(self) -> float:
        """The same, if both had as few turns as the one who had fewer."""
        mine, other, took = self.last = self.run()
        return took / (2 * max(min(mine, other), 1))
