"""What the tests of Event, Condition and Barrier share: threads that answer, and who waits."""

import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import emmap

# A row of cells, as waiters.h has it.
HEAD, CELLS = 64, 252


class Worker:
    """A thread that runs one function."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.answer: Any = None
        self.thread = threading.Thread(target=self.run, args=(work,), daemon=True)
        self.thread.start()

    def run(self, work: Callable[[], Any]) -> None:
        try:
            self.answer = work()
        except Exception as error:
            self.answer = error

    def is_done(self) -> bool:
        return not self.thread.is_alive()

    def end(self) -> Any:
        """What the function returned or raised."""
        self.thread.join(30)
        assert self.is_done(), "it hangs"
        return self.answer


def until(condition: Callable[[], object]) -> None:
    """Waits until it is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.001)


def cells(place: emmap.MemoryMap, offset: int = 0) -> list[tuple[int, int]]:
    """The (owner, state) of all cells in use."""
    row = bytes(place[offset + HEAD : offset + HEAD + CELLS * 16])
    return [cell for cell in struct.iter_unpack("=QQ", row) if cell[0]]


def waiting(place: emmap.MemoryMap, offset: int = 0) -> int:
    """How many cells say that somebody waits, or has been notified and not gone on yet."""
    return sum(state != 0 for _, state in cells(place, offset))


def is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


class Interrupted(Exception):
    """What the handler of `signalled` raises."""


@contextmanager
def signalled(when: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Sends this process a signal when it is time; the handler acts, and raises Interrupted."""

    def handle(*_: object) -> None:
        act()
        raise Interrupted

    def send() -> None:
        until(when)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        sender = Worker(send)
        yield
        assert sender.end() is None
    finally:
        signal.signal(signal.SIGUSR1, before)
