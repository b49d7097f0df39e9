"""`RangeLock`: what excludes what, as threading's locks do it, in event loops and in pickles."""

import asyncio
import fcntl
import multiprocessing
import os
import pickle
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap import RangeLock
from locks.ranges import (
    free,
    wait_for_gate,
    wait_for_kernel,
    write_lock,
)
from mapping.growth_lock import GrowthLock
from mapping.peer import Peer

END = 1 << 62


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


# What excludes what


@pytest.mark.parametrize("held_shared", [False, True])
@pytest.mark.parametrize("wanted_shared", [False, True])
@pytest.mark.parametrize(
    ("offset", "length", "overlaps"),
    [(0, 100, False), (0, 101, True), (120, 5, True), (149, 1, True), (150, 1, False)],
)
def test_overlapping_ranges_exclude_each_other(
    path: Path,
    peer: Peer,
    *,
    offset: int,
    length: int,
    overlaps: bool,
    wanted_shared: bool,
    held_shared: bool,
) -> None:
    excluded = overlaps and not (held_shared and wanted_shared)
    other = RangeLock(path, offset, length, shared=wanted_shared)
    with RangeLock(path, 100, 50, shared=held_shared):
        assert free(other) == (not excluded)
        assert other.locked() == excluded
    peer(f"lock = emmap.RangeLock({str(path)!r}, 100, 50, shared={held_shared})")
    assert peer("lock.acquire()") is True
    assert free(other) == (not excluded)
    assert other.locked() == excluded
    peer("lock.release()")
    assert free(other)
    assert path.read_bytes() == b"precious" * 100


@pytest.mark.parametrize("shared", [False, True])
def test_one_object_has_one_holder(path: Path, *, shared: bool) -> None:
    lock = RangeLock(path, shared=shared)
    with lock:
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.01)
        assert lock.locked()
    assert not lock.locked()


def test_the_whole_file_leaves_what_lies_behind(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    with RangeLock(path) as acquired:
        assert acquired is True
        with GrowthLock(path):
            write_lock(fd, END, 1)
        with pytest.raises(BlockingIOError):
            write_lock(fd, END - 1, 1)
    os.close(fd)


def test_strangers(path: Path) -> None:
    """fcntl.lockf here and there: its locks belong to processes, ours to objects."""
    lock = RangeLock(path, 10, 5)
    with open(path, "r+b") as file, Peer() as peer:
        peer(f"import fcntl; file = open({str(path)!r}, 'r+b')")
        take = "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, {})"
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 14)
        assert not lock.acquire(blocking=False)
        assert lock.locked()
        fcntl.lockf(file, fcntl.LOCK_UN, 1, 14)
        peer(take.format(10))
        assert not lock.acquire(timeout=0.01)
        peer("fcntl.lockf(file, fcntl.LOCK_UN, 1, 10)")
        with lock:
            with pytest.raises(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)
            with pytest.raises(BlockingIOError):
                peer(take.format(10))
            peer(take.format(9))
        # One that waits gets it.
        lock.acquire()
        peer.begin("fcntl.lockf(file, fcntl.LOCK_EX, 1, 10)")
        lock.release()
        peer.end()


# As threading's


def judged(lock: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return lock.acquire(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {"blocking": False}),
        ((0,), {}),
        ((False, -1), {}),
        ((False, -1.0), {}),
        ((False, 1), {}),
        ((False, 0), {}),
        ((True, 0), {}),
        ((), {"timeout": 0.0}),
        ((), {"timeout": 1e-9}),
        ((True, 0.01), {}),
        ((1, 0.01), {}),
        ((), {"timeout": -2}),
        ((), {"timeout": -0.5}),
        ((), {"timeout": -1.0000001}),
        ((), {"timeout": float("nan")}),
        ((), {"timeout": float("inf")}),
        ((), {"timeout": 1e10}),
        ((), {"timeout": 1 << 70}),
        ((), {"timeout": "1"}),
        ((), {"timeout": None}),
        (("yes", 0.01), {}),
    ],
)
def test_arguments_as_threading_takes_them(
    path: Path, *, args: Any, kwargs: Any, held: bool
) -> None:
    lock, standard = RangeLock(path), threading.Lock()
    if held:
        lock.acquire()
        standard.acquire()
    assert judged(lock, *args, **kwargs) == judged(standard, *args, **kwargs)
    assert lock.locked() == standard.locked()


def test_longest_timeout(path: Path) -> None:
    assert RangeLock(path).acquire(timeout=threading.TIMEOUT_MAX)


def test_a_number_with_two_values(path: Path) -> None:
    values = [1, -5]

    class Odd:
        def __index__(self) -> int:
            return values.pop(0)

    assert RangeLock(path).acquire(timeout=Odd())  # type: ignore[arg-type]


def test_release_of_what_is_not_held(path: Path) -> None:
    lock = RangeLock(path)
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()
    with lock:
        pass
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()
    assert free(lock)


def test_another_thread_may_release(path: Path) -> None:
    lock = RangeLock(path)
    lock.acquire()
    assert weakref.ref(lock)() is lock
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert free(RangeLock(path))


@pytest.mark.parametrize("timeout", [-1, 100])
def test_threads_wait_for_one_object(path: Path, timeout: float) -> None:
    lock = RangeLock(path, shared=True)
    lock.acquire()
    got: list[bool] = []

    def work() -> None:
        got.append(lock.acquire(timeout=timeout))
        lock.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        wait_for_gate(thread)
    assert got == []
    lock.release()
    for thread in threads:
        thread.join()
    assert got == [True] * 3


def test_timeout_at_the_gate(path: Path) -> None:
    lock = RangeLock(path)
    got: list[bool] = []
    with lock:
        thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=0.01)))
        thread.start()
        thread.join()
    assert got == [False]
    assert free(lock)


def test_a_waiter_gets_it(path: Path) -> None:
    lock, other = RangeLock(path), RangeLock(path, 5, 5)
    lock.acquire()
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(other.acquire()))
    thread.start()
    wait_for_kernel(thread)
    lock.release()
    thread.join()
    assert got == [True]


# Event loops


def test_tasks_wait_without_blocking_the_loop(path: Path) -> None:
    async def main() -> list[int]:
        order: list[int] = []
        other = RangeLock(path)
        other.acquire()

        async def work() -> None:
            async with RangeLock(path) as got:
                assert got is True
                order.append(2)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        order.append(1)
        assert not await RangeLock(path).acquire_async(timeout=0.01)
        other.release()
        await task
        return order

    assert asyncio.run(main()) == [1, 2]
    assert free(RangeLock(path))


def test_a_cancelled_task_holds_nothing(path: Path) -> None:
    async def main() -> None:
        lock = RangeLock(path)
        with RangeLock(path):
            task = asyncio.create_task(lock.acquire_async())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert free(lock)

    asyncio.run(main())


def test_timeouts_of_tasks_as_threading_takes_them(path: Path) -> None:
    lock = RangeLock(path)
    for timeout, error in ((-2, ValueError), (float("nan"), ValueError), (1e10, OverflowError)):
        with pytest.raises(error):
            asyncio.run(lock.acquire_async(timeout))
    assert asyncio.run(lock.acquire_async(0))


# References


def hold(lock: RangeLock, taken: Any, go: Any) -> None:
    with lock:
        taken.set()
        go.wait()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("kind", ["path", "memory", "descriptor"])
def test_a_process_that_starts_gets_it(path: Path, kind: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    memory = emmap.anonymous(100, shared=True)
    with open(path) as file:
        place: Any = {"path": path, "memory": memory, "descriptor": file.fileno()}[kind]
        lock, other = RangeLock(place, 3, 4), RangeLock(place, 6)
    taken, go = context.Event(), context.Event()
    child = context.Process(target=hold, args=(lock, taken, go))
    child.start()
    assert taken.wait(60)
    assert not free(other)
    go.set()
    child.join(60)
    assert child.exitcode == 0
    assert free(other)


def test_pickles_by_reference(path: Path) -> None:
    class Special(RangeLock):
        pass

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        lock = RangeLock(path, 7, 9, shared=True)
        twin = pickle.loads(pickle.dumps(lock, protocol))
        assert (twin.name, twin.offset, twin.length, twin.shared) == (str(path), 7, 9, True)
    with RangeLock(path) as _:
        assert not pickle.loads(pickle.dumps(RangeLock(path))).acquire(blocking=False)
    assert Special(path).__reduce__()[1][1] is Special
    assert type(pickle.loads(pickle.dumps(RangeLock(path)))) is RangeLock


def test_nothing_to_refer_to(path: Path) -> None:
    with open(path) as file:
        lock = RangeLock(file)
        os.unlink(path)
        nameless = RangeLock(file)
    for each in (lock, nameless):
        with pytest.raises(TypeError, match="without a name"):
            pickle.dumps(each)
    assert nameless.name is None
    memory = emmap.anonymous(10, shared=True)
    lock = RangeLock(memory)
    memory.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(lock)
    with lock:
        pass


def test_repr(path: Path) -> None:
    lock = RangeLock(path, 1, 2)
    what = f"{str(path)!r}, offset=1, length=2, shared=False>"
    assert repr(lock) == f"<emmap.RangeLock held=False, {what}"
    with lock:
        assert repr(lock) == f"<emmap.RangeLock held=True, {what}"
