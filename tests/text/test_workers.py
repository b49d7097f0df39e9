"""Who does the work: in order, a bounded number ahead, nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap.text import workers as room
from emmap.text.workers import in_order


def numbers(asked: list[int], n: int = 1000) -> Iterator[tuple[int]]:
    for i in range(n):
        asked.append(i)
        yield (i,)


class Lazy(Executor):
    """It works only when a result is waited for, as late as an executor may."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self.closed = False

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        class Work(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                if not self.done():
                    self.set_result(function(*arguments))
                return super().result(timeout)

        self.futures.append(Work())
        return self.futures[-1]

    def shutdown(self, *arguments: Any, **_: Any) -> None:
        self.closed = True


def test_in_order(workers: int | Executor | None) -> None:
    asked: list[int] = []
    assert list(in_order(abs, numbers(asked), workers)) == [((i,), i) for i in range(1000)]


def test_bounded_ahead() -> None:
    asked: list[int] = []
    executor = Lazy()
    results = in_order(abs, numbers(asked), executor)
    assert asked == []
    for i in range(20):
        assert next(results) == ((i,), i)
        assert len(asked) == i + 2 * room.UNKNOWN
    results.close()  # type: ignore[attr-defined]
    assert sum(future.cancelled() for future in executor.futures) == 2 * room.UNKNOWN - 1
    assert not executor.closed


def test_threads_are_bounded_and_end() -> None:
    asked: list[int] = []
    before = set(threading.enumerate())
    results = in_order(abs, numbers(asked), 2)
    next(results)
    assert len(asked) == 4
    ours = set(threading.enumerate()) - before
    assert 1 <= len(ours) <= 2
    del results
    assert not any(thread.is_alive() for thread in ours)


def test_what_began_is_waited_for(threads: ThreadPoolExecutor) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work(i: int) -> int:
        if i == 1:
            begun.set()
            go_on.wait()
            sum(range(3_000_000))  # more than one turn of a thread
            ended.set()
        return i

    results = in_order(work, numbers([]), threads)
    next(results)
    begun.wait()
    go_on.set()
    results.close()  # type: ignore[attr-defined]
    assert ended.is_set()
    assert threads.submit(abs, -1).result() == 1


def test_an_error_comes_in_its_turn(workers: int | Executor | None) -> None:
    tasks = [(b"1",), (b"2",), (b"x",), (b"3",)]
    results = in_order(int, tasks, workers)
    assert [next(results)[1] for _ in range(2)] == [1, 2]
    with pytest.raises(ValueError, match="x"):
        next(results)
    assert list(results) == []


def test_so_does_an_error_of_the_tasks(workers: int | Executor | None) -> None:
    def tasks() -> Iterator[tuple[bytes]]:
        yield (b"1",)
        yield (b"2",)
        raise OSError("no more")

    results = in_order(int, tasks(), workers)
    assert [next(results)[1] for _ in range(2)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(results)


def test_wrong_workers() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="from 1 on"):
            emmap.count(b"", workers=wrong)
    with pytest.raises(TypeError, match="number of threads, an executor"):
        emmap.grep("a", b"", workers="2")  # type: ignore[arg-type]


def test_a_killed_process(path: Path, small_windows: int) -> None:
    path.write_bytes(b"one\n" * 100_000)
    with ProcessPoolExecutor(1) as executor:
        worker = executor.submit(os.getpid).result()

        def kill(done: int) -> None:
            os.kill(worker, signal.SIGKILL)

        with pytest.raises(BrokenProcessPool):
            emmap.count(path, workers=executor, progress=kill)


class Flaky(Executor):
    """Loses the results of some tasks after it has done them."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.asked = 0

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.asked += 1
        result = function(*arguments, **named)
        if self.losses:
            self.losses -= 1
            future.set_exception(TypeError("cannot unpack"))
        else:
            future.set_result(result)
        return future


def test_an_executor_that_loses_a_task_is_asked_again() -> None:
    executor = Flaky(2)
    assert emmap.count(b"two words", workers=executor).words == 2
    assert executor.asked == 3
    with pytest.raises(TypeError, match="unpack"):
        emmap.count(b"two words", workers=Flaky(3))


def test_a_task_that_fails_is_not_asked_again(path: Path) -> None:
    executor = Flaky(0)
    with pytest.raises(FileNotFoundError):
        list(emmap.count_each([path, "/nowhere"], workers=executor))
    assert executor.asked <= 2


def test_translation_is_never_done_twice() -> None:
    data = bytearray(b"abc")
    with pytest.raises(TypeError, match="unpack"):
        emmap.translate(data, bytes.maketrans(b"abc", b"bcd"), workers=Flaky(1))
    assert data == b"bcd"
