"""The awaitable twins: tasks wait as threads do, block no loop, and leave nothing behind."""

import asyncio
import gc
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.tasks import forget, run_script, soon, until, waiters
from mapping.peer import Peer


@pytest.fixture
def place() -> emmap.MemoryMap:
    return emmap.anonymous(8192, shared=True)


@pytest.fixture
def lock(place: emmap.MemoryMap) -> emmap.Lock:
    return emmap.Lock(place)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "job.lock")


@pytest.fixture
def peer(path: str) -> Iterator[Peer]:
    """Another process, which has the same lock by its path."""
    with Peer() as peer:
        peer(f"lock = emmap.Lock({path!r})")
        yield peer


def is_awaited(lock: emmap.Lock) -> bool:
    """Has somebody announced that he is going to sleep?"""
    return bool(lock.mapping[lock.offset + 8] & 1)


async def begin(lock: emmap.Lock, **options: float) -> "asyncio.Task[bool]":
    """A task that waits for a lock, which is held."""
    task = asyncio.create_task(lock.acquire_async(**options))
    await soon(lambda: is_awaited(lock))
    return task


# What it does


def test_it_acquires_and_releases(lock: emmap.Lock) -> None:
    async def main() -> None:
        assert await lock.acquire_async() is True
        assert lock.locked()
        assert await lock.acquire_async(timeout=0) is False
        lock.release()
        async with lock as entered:
            assert entered is True
            assert lock.locked()
        assert not lock.locked()
        with pytest.raises(ZeroDivisionError):
            async with lock:
                raise ZeroDivisionError
        assert not lock.locked()

    asyncio.run(main())


def test_time_is_up(lock: emmap.Lock) -> None:
    async def main() -> None:
        for timeout in (0.02, 0.12):
            begun = time.monotonic()
            assert await lock.acquire_async(timeout=timeout) is False
            assert time.monotonic() - begun >= timeout
        assert lock.locked()

    with lock:
        asyncio.run(main())


@pytest.mark.parametrize("timeout", [-2, -0.5, 1e10, float("nan"), "x", None])
def test_bad_timeouts_are_refused_as_acquire_refuses_them(lock: emmap.Lock, timeout: Any) -> None:
    with pytest.raises(Exception) as expected:  # noqa: PT011
        lock.acquire(timeout=timeout)

    async def main() -> None:
        with pytest.raises(expected.type, match=re.escape(str(expected.value))):
            await lock.acquire_async(timeout=timeout)

    asyncio.run(main())
    assert not lock.locked()


def test_there_is_no_thread_when_the_lock_is_free() -> None:
    script = """
        import emmap, sys
        lock = emmap.Lock(emmap.anonymous(64, shared=True))
        lock.acquire()
        lock.release()
        assert "asyncio" not in sys.modules
        import asyncio, threading
        async def main():
            async with lock:
                assert not await lock.acquire_async(timeout=0)
        asyncio.run(main())
        print(threading.active_count())
    """
    assert run_script(script) == "1\n"


def test_it_needs_a_running_loop(lock: emmap.Lock) -> None:
    with lock:
        waiting = lock.acquire_async()
        with pytest.raises(RuntimeError, match="no running event loop"):
            waiting.send(None)


def test_the_loop_goes_on_while_another_process_holds_it(path: str, peer: Peer) -> None:
    async def main() -> None:
        lock = emmap.Lock(path)
        waiting = await begin(lock)
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert not waiting.done()
        peer("lock.release()")
        assert await waiting
        lock.release()

    peer("lock.acquire()")
    asyncio.run(main())


WORKER = """
import asyncio, emmap, struct, sys, threading

def in_thread(m, lock, turns):
    for _ in range(turns):
        with lock:
            n, = struct.unpack_from("q", m, 16)
            struct.pack_into("q", m, 16, n + 1)

async def in_task(m, lock, turns):
    for _ in range(turns):
        async with lock:
            n, = struct.unpack_from("q", m, 16)
            await asyncio.sleep(0)
            struct.pack_into("q", m, 16, n + 1)

async def in_loop(m, lock, tasks, turns):
    await asyncio.gather(*(in_task(m, lock, turns) for _ in range(tasks)))

def work(m):
    threads = [threading.Thread(target=in_thread, args=(m, emmap.Lock(m), 50)) for _ in range(4)]
    loops = [in_loop(m, emmap.Lock(m), 50, 4) for _ in range(2)]
    threads += [threading.Thread(target=asyncio.run, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 4 * 50 + 2 * 50 * 4
"""


def test_tasks_and_threads_and_processes_count_exactly(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(WORKER, names)
    m = emmap.open(tmp_path / "count", "w+", size=64)
    with Peer() as one, Peer() as other:
        for peer in (one, other):
            peer(f"m = emmap.open({str(tmp_path / 'count')!r}, 'r+')")
            peer(f"exec({WORKER!r}, globals())")
            peer.begin("work(m)")
        turns = names["work"](m)
        turns += one.end() + other.end()
    assert int.from_bytes(m[16:24], sys.byteorder) == turns == 1_800


def test_one_thread_waits_for_a_thousand(place: emmap.MemoryMap) -> None:
    locks = [emmap.Lock(place, offset=16 * i) for i in range(250)]

    async def take(lock: emmap.Lock) -> None:
        async with lock:
            pass

    async def main() -> None:
        tasks = [asyncio.create_task(take(lock)) for lock in locks for _ in range(4)]
        await soon(lambda: all(is_awaited(lock) for lock in locks))
        assert waiters() == 1
        for lock in locks:
            lock.release()
        await asyncio.gather(*tasks)
        assert waiters() == 1

    for lock in locks:
        lock.acquire()
    asyncio.run(main())
    assert not any(lock.locked() for lock in locks)


def test_the_thread_ends_when_nothing_is_awaited(lock: emmap.Lock) -> None:
    async def main() -> None:
        waiting = await begin(lock)
        lock.release()
        await waiting
        lock.release()

    for _ in range(2):
        lock.acquire()
        asyncio.run(main())
        assert waiters() == 1
        until(lambda: waiters() == 0)


def test_two_loops_in_two_threads(lock: emmap.Lock) -> None:
    count = 0

    async def take() -> None:
        nonlocal count
        for _ in range(5):
            async with lock:
                before = count
                await asyncio.sleep(0)
                count = before + 1

    async def main() -> None:
        await asyncio.gather(*(take() for _ in range(30)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 2 * 30 * 5


def test_where_the_kernel_cannot_sleep_at_many_words() -> None:
    # Loads the number of the system call, and answers ENOSYS when it is futex_waitv's.
    script = """
        import asyncio, ctypes, emmap, struct
        program = ctypes.create_string_buffer(struct.pack("HBBIHBBIHBBIHBBI",
            0x20, 0, 0, 0,  0x15, 0, 1, 449,  0x06, 0, 0, 0x50000 | 38,  0x06, 0, 0, 0x7FFF0000))
        filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(program)))
        libc = ctypes.CDLL(None)
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, filter, 0, 0) == 0
        assert libc.syscall(449, 0, 0, 0, 0, 0) == -1
        m = emmap.anonymous(8192, shared=True)
        locks = [emmap.Lock(m, offset=16 * i) for i in range(200)]
        for lock in locks:
            lock.acquire()
        async def main():
            tasks = [asyncio.create_task(lock.acquire_async()) for lock in locks]
            while not all(m[lock.offset + 8] & 1 for lock in locks):
                await asyncio.sleep(0)
            for lock in locks:
                lock.release()
            print(all(await asyncio.gather(*tasks)), await locks[0].acquire_async(timeout=0.01))
        asyncio.run(main())
    """
    assert run_script(script) == "True False\n"


# Cancellation


def test_a_wait_is_cancelled(lock: emmap.Lock) -> None:
    async def main() -> None:
        waiting = await begin(lock)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        lock.release()
        assert await lock.acquire_async()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire_async(), 0.02)
        lock.release()

    lock.acquire()
    asyncio.run(main())
    assert not lock.locked()


@pytest.mark.parametrize(
    ("way", "told"),
    [("plain", 0), ("plain", 1), ("with", 0), ("with", 1), ("wait_for", 0)],
)
def test_what_was_acquired_for_a_cancelled_task_is_released(
    lock: emmap.Lock, way: str, told: int
) -> None:
    entered = False

    async def block() -> None:
        nonlocal entered
        async with lock:
            entered = True

    async def main() -> None:
        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "plain": lock.acquire_async,
            "wait_for": lambda: asyncio.wait_for(lock.acquire_async(), 60),
            "with": block,
        }
        waiting = asyncio.ensure_future(ways[way]())
        await soon(lambda: is_awaited(lock))
        lock.release()
        until(lock.locked)  # the thread has got it, and the loop stood still
        if told:
            await asyncio.sleep(0)  # the future has its result, and the task has not gone on
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not lock.locked()
        assert not entered

    lock.acquire()
    asyncio.run(main())


def test_a_storm_of_cancellations(path: str, peer: Peer) -> None:
    peer("import threading, time, random")
    peer("def work():\n while go:\n  with lock: pass\n  time.sleep(random.random() / 500)")
    peer("go = True; thread = threading.Thread(target=work); thread.start()")
    lock = emmap.Lock(path)
    inside = 0
    done = 0

    async def work() -> None:
        nonlocal inside, done
        while True:
            async with lock:
                assert inside == 0
                inside += 1
                try:
                    await asyncio.sleep(0)
                finally:
                    inside -= 1
            done += 1
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(20)]
        for i in range(1_500):
            await asyncio.sleep(0.0002 * (i % 4))
            tasks[i % 20].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[i % 20]
            tasks[i % 20] = asyncio.create_task(work())
        before = done
        await soon(lambda: done > before + 50)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    peer("go = False; thread.join()")
    assert not lock.locked()
    assert peer("lock.acquire(timeout=0)")
    assert not peer("lock.owner_died")


def test_a_closed_coroutine(lock: emmap.Lock) -> None:
    async def main() -> None:
        async def wait() -> None:
            await waiting

        waiting = lock.acquire_async()
        task = asyncio.create_task(wait())
        await soon(lambda: is_awaited(lock))
        lock.release()
        until(lock.locked)
        waiting.close()
        assert not lock.locked()
        task.cancel()
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await task

    lock.acquire()
    asyncio.run(main())


def test_a_cancelled_wait_takes_nothing_from_a_thread(lock: emmap.Lock) -> None:
    async def main() -> None:
        waiting = await begin(lock)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert lock.locked()

    with lock:
        asyncio.run(main())


@pytest.mark.parametrize("told", [0, 1])
def test_a_closed_loop_gives_back_what_was_acquired_for_it(lock: emmap.Lock, told: int) -> None:
    loop = asyncio.new_event_loop()
    lock.acquire()
    task = loop.run_until_complete(begin(lock))
    lock.release()
    until(lock.locked)
    if told:
        loop.call_soon(loop.stop)
        loop.run_forever()  # one turn, which gives the future its result
    assert not task.done()
    loop.close()
    until(lambda: not lock.locked())
    forget(task)


def test_a_closed_loop_waits_for_nothing(place: emmap.MemoryMap) -> None:
    lock = emmap.Lock(place)
    loop = asyncio.new_event_loop()
    lock.acquire()
    task = loop.run_until_complete(begin(lock))
    loop.close()
    forget(task)
    del task, loop, lock
    until(lambda: gc.collect() or can_be_shrunk(place))


def can_be_shrunk(place: emmap.MemoryMap) -> bool:
    try:
        place.resize(4096)
    except BufferError:
        return False
    return True


def test_a_cancelled_wait_lets_go_of_the_place_at_once(place: emmap.MemoryMap) -> None:
    async def main() -> None:
        lock = emmap.Lock(place)
        lock.acquire()
        waiting = lock.acquire_async()
        waiting.send(None)
        await soon(lambda: place[8] & 1)
        waiting.close()  # from here on the thread does not get the GIL
        lock.release()
        del waiting, lock
        place.resize(4096)

    asyncio.run(main())


# Deaths, and what else may happen in a wait


def test_a_killed_holder_is_told_in_the_loops_thread(path: str, peer: Peer) -> None:
    told = []
    mended = emmap.Lock(path, on_owner_death=lambda _: told.append(threading.get_ident()))
    peer("lock.acquire()")

    async def main() -> None:
        waiting = await begin(mended)
        peer.kill()
        assert await waiting
        assert told == [threading.get_ident()]
        assert not mended.owner_died
        mended.release()

    asyncio.run(main())


def test_a_killed_holder_is_told_once(path: str, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")

    async def take() -> None:
        async with lock:
            assert lock.owner_died

    async def main() -> None:
        tasks = [asyncio.create_task(take()) for _ in range(20)]
        await soon(lambda: is_awaited(lock))
        peer.kill()
        await asyncio.gather(*tasks)

    with pytest.warns(emmap.OwnerDiedWarning) as warned:
        asyncio.run(main())
    assert len(warned) == 1


def test_a_death_that_raises_leaves_the_lock_free(path: str, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")

    async def main() -> None:
        waiting = await begin(lock)
        peer.kill()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(emmap.OwnerDiedWarning):
                await waiting
        assert not lock.locked()
        assert lock.owner_died

    asyncio.run(main())


def test_a_death_that_was_told_to_a_cancelled_task_is_told_to_the_next(
    path: str, peer: Peer
) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")

    async def main() -> None:
        waiting = await begin(lock)
        peer.kill()
        until(lambda: lock.mapping[8] & 2 and lock.locked())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not lock.locked()
        assert lock.owner_died
        with pytest.warns(emmap.OwnerDiedWarning) as warned:
            await lock.acquire_async()
        assert len(warned) == 1
        lock.release()

    asyncio.run(main())


def test_a_stopped_holder_is_not_robbed(path: str, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")
    peer.process.send_signal(signal.SIGSTOP)
    try:
        assert asyncio.run(lock.acquire_async(timeout=0.2)) is False
    finally:
        peer.process.send_signal(signal.SIGCONT)
    peer("lock.release()")


def test_a_file_that_is_replaced_is_noticed(path: str, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")

    async def main() -> None:
        waiting = await begin(lock)
        os.unlink(path)
        with pytest.raises(OSError, match="removed or replaced"):
            await waiting

    asyncio.run(main())


def test_a_lost_page_is_noticed(path: str, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")

    async def main() -> None:
        waiting = await begin(lock)
        os.truncate(path, 0)
        with pytest.raises(emmap.PageLostError):
            await waiting

    asyncio.run(main())


# Processes that fork and end


def test_a_forked_child_waits_by_itself(path: str) -> None:
    script = f"""
        import asyncio, emmap, os, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        lock, other = emmap.Lock({path!r}), emmap.Lock({path + "2"!r})
        lock.acquire()
        other.acquire()
        def awaited(lock): return lock.mapping[8] & 1
        async def soon(condition):
            while not condition(): await asyncio.sleep(0)
        async def in_child():
            assert await lock.acquire_async()
            assert threading.active_count() == 2, threading.enumerate()
            lock.release()
        async def main():
            waiting = asyncio.create_task(other.acquire_async())
            await soon(lambda: awaited(other))
            child = os.fork()
            if child == 0:
                try:
                    waiting.cancel()
                    asyncio.run(in_child())
                    os._exit(7)
                finally:
                    os._exit(1)
            await soon(lambda: awaited(lock))
            lock.release()
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert not waiting.done()
            assert other.locked()
            other.release()
            print(os.waitstatus_to_exitcode(status), await waiting)
        asyncio.run(main())
    """
    assert run_script(script) == "7 True\n"


def test_a_forked_child_gives_back_nothing_of_its_parents(path: str) -> None:
    script = f"""
        import asyncio, emmap, os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        lock = emmap.Lock({path!r})
        lock.acquire()
        loop = asyncio.new_event_loop()
        waiting = lock.acquire_async()
        async def main():
            asyncio.create_task(wait())
            while not lock.mapping[8] & 1: await asyncio.sleep(0)
        async def wait():
            await waiting
        task = loop.run_until_complete(main())
        lock.release()
        while not lock.locked(): pass
        child = os.fork()
        if child == 0:
            waiting.close()
            os._exit(0)
        os.waitpid(child, 0)
        print(lock.locked())
        os._exit(0)
    """
    assert run_script(script) == "True\n"


@pytest.mark.parametrize("acquired", [0, 1])
def test_the_process_ends_with_pending_waits(path: str, acquired: int) -> None:
    script = f"""
        import asyncio, emmap, threading
        lock, other = emmap.Lock({path!r}), emmap.Lock({path + "2"!r})
        other.acquire()
        async def main():
            for lock_ in [lock] * 20 + [other]:
                asyncio.ensure_future(lock_.acquire_async())._log_destroy_pending = False
            while not (other.mapping[8] & 1): await asyncio.sleep(0)
        loop = asyncio.new_event_loop()
        if {acquired}:
            loop.run_until_complete(main())
            other.release()
            while not other.locked(): pass
        else:
            threading.Thread(target=lambda: loop.run_until_complete(main()) or loop.run_forever(),
                             daemon=True).start()
            while not (other.mapping[8] & 1): pass
            other.release()
            other.acquire()
            other.release()
    """
    with emmap.Lock(path):
        run_script(script)
    if acquired:  # nobody died with a lock that no coroutine had got
        assert emmap.Lock(path + "2").acquire(timeout=0)
