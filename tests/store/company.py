"""Others beside a test: children by fork, and how to see that somebody waits."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emmap
from locks.company import Worker, until
from mapping.peer import Peer

# What a peer runs to have the same store.
OPEN = "import emmap; store = emmap.Store(path); d = store.dict('d'); items = store.list('l')"

FUTEX = ("202", "98")  # the number of the system call, on x86-64 and on ARM


def in_child(work: Callable[[], Any]) -> Any:
    """What the function returns or raises in a child of a fork."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        signal.alarm(60)
        try:
            try:
                answer = work()
            except BaseException as error:
                answer = error
            with open(writer, "wb") as pipe:
                pickle.dump(answer, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"
    return pickle.loads(said)


def seen_by_others(store: emmap.Store, name: str = "d") -> Any:
    """What another thread reads."""
    return Worker(lambda: store[name].copy()).end()


def run(script: str, *arguments: object) -> str:
    """What a process of its own prints, which may crash."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done
    return done.stdout


def waits(task: str) -> bool:
    """Does it sleep on a futex?"""
    try:
        return Path(f"/proc/{task}/syscall").read_text().split()[0] in FUTEX
    except FileNotFoundError:
        return False


def until_waits(other: Peer | Worker) -> None:
    """Waits until the peer or thread waits for a lock.

    A thread may wait for the interpreter just as well: so it is looked at some times, while this
    one lets it run in between.
    """
    if isinstance(other, Peer):
        until(lambda: waits(f"{other.process.pid}"))
        return
    thread = other.thread
    seen = 0

    def still() -> bool:
        nonlocal seen
        seen = seen + 1 if waits(f"self/task/{thread.native_id}") else 0
        return seen > 10

    until(still)


class Holder:
    """A thread that holds something from `with` on until it is left."""

    def __init__(self, held: Any) -> None:
        self.held = held
        self.has, self.ends = threading.Event(), threading.Event()

    def hold(self) -> None:
        with self.held:
            self.has.set()
            self.ends.wait(60)

    def __enter__(self) -> Holder:
        self.worker = Worker(self.hold)
        assert self.has.wait(60)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.ends.set()
        assert self.worker.end() is None
