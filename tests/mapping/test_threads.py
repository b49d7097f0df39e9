"""Threads: who gives the GIL away, and what others do to the mapping meanwhile."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import emmap
from emmap import Protection
from mapping.proc import PAGE


def test_copies_give_the_gil_away() -> None:
    """Another thread runs on while large ranges are read, searched and moved."""
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0)  # gives the GIL back

    previous = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # nobody else is made to give it away
    thread = threading.Thread(target=tick)
    try:
        with emmap.anonymous(1 << 24) as m:
            m.populate(write=True)
            thread.start()
            ran_on = []
            for call in (lambda: m[:], lambda: m.find(b"x", 0), lambda: m.move(0, 9, 1 << 23)):
                before = ticks
                # On a busy machine the other thread may not get a processor at once.
                ran_on.append(any((call(), ticks > before)[1] for _ in range(500)))
    finally:
        done.set()
        sys.setswitchinterval(previous)
        thread.join()
    assert all(ran_on), ran_on


def test_close_in_another_thread() -> None:
    """A mapping is closed while a copy without the GIL reads it: the copy is whole."""
    for _ in range(50):
        m = emmap.anonymous(1 << 22)
        m[:] = b"x" * (1 << 22)
        started = threading.Event()
        results: list[bytes] = []

        def read(
            m: emmap.MemoryMap = m,
            results: list[bytes] = results,
            started: threading.Event = started,
        ) -> None:
            started.set()
            try:
                results.append(m[:])
            except emmap.ClosedError:
                results.append(b"x" * (1 << 22))

        thread = threading.Thread(target=read)
        thread.start()
        started.wait()
        m.close()
        thread.join()
        assert results == [b"x" * (1 << 22)]


def in_another_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_protect_while_another_thread_writes() -> None:
    data = bytes(1 << 25)
    refused = 0
    with emmap.anonymous(len(data)) as m:

        def write() -> None:
            while refused < 3:
                with contextlib.suppress(emmap.ProtectionError):
                    m[:] = data

        thread = in_another_thread(write)
        while refused < 3:
            try:
                m.protect(Protection.READ)
            except emmap.InUseError:
                refused += 1
            else:
                m.protect(Protection.READ | Protection.WRITE)
        thread.join()


@pytest.mark.usefixtures("hasty")
def test_close_while_another_thread_repairs(path: Path) -> None:
    for _ in range(500):
        m = emmap.open(path)  # no descriptor is kept: repair opens the file again
        os.truncate(path, 0)
        with pytest.raises(emmap.PageLostError):
            m[5000]
        os.truncate(path, 16384)

        def repair(m: emmap.MemoryMap = m) -> None:
            with contextlib.suppress(emmap.ClosedError):
                m.repair()

        thread = in_another_thread(repair)
        m.close()
        thread.join()


@pytest.mark.usefixtures("hasty")
def test_resize_while_other_threads_read(path: Path) -> None:
    size = 4 << 20
    done = threading.Event()
    with emmap.open(path, "r+", size=size) as m:

        def read() -> None:
            while not done.is_set():
                assert len(m[:size]) in (PAGE, size)
                time.sleep(0.00005)  # leaves room for the resize between two reads

        threads = [in_another_thread(read) for _ in range(2)]
        shrunk = 0
        for _ in range(3000):
            for length in (PAGE, size):
                try:
                    m.resize(length)
                except emmap.InUseError:
                    continue
                shrunk += length == PAGE
        done.set()
        for thread in threads:
            thread.join()
    assert shrunk


def test_repair_while_another_thread_reads(path: Path) -> None:
    """Zeros that were copied before repair took their marks away are told all the same."""
    size = 16 << 20
    told = 0
    with emmap.open(path, "r+", size=size) as m, path.open("r+b", buffering=0) as f:
        for _ in range(30):
            m[:] = b"x" * size
            results: list[bytes] = []

            def read(results: list[bytes] = results) -> None:
                try:
                    results.append(m[:])
                except emmap.PageLostError:
                    results.append(b"")

            os.truncate(path, PAGE)
            thread = in_another_thread(read)
            while not m.lost and thread.is_alive():
                pass
            # The file never has a zero: each page comes back with its bytes.
            os.pwrite(f.fileno(), b"y" * size, 0)
            m.repair()
            thread.join()
            told += results == [b""]
            assert b"\0" not in results[0]
    assert told
