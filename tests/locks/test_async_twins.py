"""The awaitable twins of `Semaphore` and `RWLock`, and what all that acquire have in common."""

import asyncio
import os
import signal
import struct
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import emmap
from locks.tasks import begin, borrow_id, forget, run_script, soon, until, waiters
from mapping.peer import Peer


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "shared").write_bytes(bytes(16384))
    return str(tmp_path / "shared")


@pytest.fixture
def m(path: str) -> emmap.MemoryMap:
    return emmap.open(path, "r+")


@pytest.fixture
def peer(path: str) -> Iterator[Peer]:
    """Another process, which has the same bytes."""
    with Peer() as peer:
        peer(f"m = emmap.open({path!r}, 'r+')")
        yield peer


def word(m: emmap.MemoryMap, offset: int) -> int:
    return int(struct.unpack_from("=Q", m, offset)[0])


class Kind(NamedTuple):
    """What tasks wait for: how others keep it from them, and how it is taken."""

    make: str
    hold: str
    free: str
    take: Callable[[Any], Callable[..., Coroutine[Any, Any, bool]]]
    give: str
    block: Callable[[Any], AbstractAsyncContextManager[Any]]
    is_got: Callable[[Any], object]

    def made(self, m: emmap.MemoryMap) -> Any:
        return eval(self.make, {"emmap": emmap, "m": m})


KINDS = {
    "permit": Kind(
        "emmap.Semaphore(m)",
        "acquire",
        "release",
        lambda it: it.acquire_async,
        "release",
        lambda it: it,
        lambda it: word(it.mapping, 64 + 8) == 1,
    ),
    "read": Kind(
        "emmap.RWLock(m)",
        "acquire_write",
        "release_write",
        lambda it: it.acquire_read_async,
        "release_read",
        lambda it: it.read(),
        lambda it: it.readers > 0,
    ),
    "write": Kind(
        "emmap.RWLock(m)",
        "acquire_read",
        "release_read",
        lambda it: it.acquire_write_async,
        "release_write",
        lambda it: it.write(),
        lambda it: word(it.mapping, 16) != 0,
    ),
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    assert isinstance(request.param, Kind)
    return request.param


def is_whole(it: Any) -> bool:
    """Is it as if nobody had ever used it?"""
    if isinstance(it, emmap.Semaphore):
        return it.value == 1
    if it.locked() or not it.acquire_write(blocking=False):
        return False
    it.release_write()
    return True


# What is acquired


def test_it_acquires_and_releases(m: emmap.MemoryMap, kind: Kind) -> None:
    it = kind.made(m)

    async def main() -> None:
        assert await kind.take(it)() is True
        assert kind.is_got(it)
        getattr(it, kind.give)()
        async with kind.block(it) as entered:
            assert entered is True
            assert kind.is_got(it)
        with pytest.raises(ZeroDivisionError):
            async with kind.block(it):
                raise ZeroDivisionError
        assert is_whole(it)

    asyncio.run(main())


def test_time_is_up(m: emmap.MemoryMap, kind: Kind) -> None:
    it = kind.made(m)

    async def main() -> None:
        for timeout in (0, 0.02, 0.12):
            begun = time.monotonic()
            assert await kind.take(it)(timeout=timeout) is False
            assert time.monotonic() - begun >= timeout
        getattr(it, kind.free)()
        assert is_whole(it)

    getattr(it, kind.hold)()
    asyncio.run(main())


@pytest.mark.parametrize("timeout", [float("nan"), "x", 1e10])
def test_bad_timeouts_are_refused(m: emmap.MemoryMap, kind: Kind, timeout: Any) -> None:
    it = kind.made(m)
    with pytest.raises((ValueError, TypeError, OverflowError)):
        asyncio.run(kind.take(it)(timeout=timeout))
    assert is_whole(it)


def test_the_loop_goes_on_while_another_process_holds_it(
    m: emmap.MemoryMap, peer: Peer, kind: Kind
) -> None:
    it = kind.made(m)
    peer(f"it = {kind.make}; it.{kind.hold}()")

    async def main() -> None:
        task = await begin(kind.take(it)())
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert not task.done()
        assert waiters() == 1
        peer(f"it.{kind.free}()")
        assert await task is True
        getattr(it, kind.give)()
        assert is_whole(it)

    asyncio.run(main())


def test_a_wait_is_cancelled(m: emmap.MemoryMap, kind: Kind) -> None:
    it = kind.made(m)

    async def main() -> None:
        task = await begin(kind.take(it)())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(kind.take(it)(), 0.02)
        getattr(it, kind.free)()
        assert is_whole(it)

    getattr(it, kind.hold)()
    asyncio.run(main())


@pytest.mark.parametrize("told", [0, 1])
@pytest.mark.parametrize("way", ["plain", "with", "wait_for"])
def test_what_was_acquired_for_a_cancelled_task_is_given_back(
    m: emmap.MemoryMap, kind: Kind, way: str, told: int
) -> None:
    it = kind.made(m)
    entered = False

    async def block() -> None:
        nonlocal entered
        async with kind.block(it):
            entered = True

    async def main() -> None:
        if way == "wait_for":
            task = await begin(asyncio.wait_for(kind.take(it)(), 60))
            await asyncio.sleep(0)
        else:
            task = await begin(block() if way == "with" else kind.take(it)())
        getattr(it, kind.free)()
        until(lambda: kind.is_got(it))  # the thread has got it, and the loop stood still
        if told and way != "wait_for":
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_whole(it)
        assert not entered

    getattr(it, kind.hold)()
    asyncio.run(main())


@pytest.mark.parametrize("got", [0, 1])
def test_a_closed_coroutine(m: emmap.MemoryMap, kind: Kind, got: int) -> None:
    it = kind.made(m)

    async def main() -> None:
        waiting = kind.take(it)()
        waiting.send(None)
        if got:
            getattr(it, kind.free)()
            until(lambda: kind.is_got(it))
        waiting.close()
        if not got:
            getattr(it, kind.free)()
        assert is_whole(it)

    getattr(it, kind.hold)()
    asyncio.run(main())


@pytest.mark.parametrize("got", [0, 1])
def test_a_closed_loop(m: emmap.MemoryMap, kind: Kind, got: int) -> None:
    it = kind.made(m)
    loop = asyncio.new_event_loop()
    getattr(it, kind.hold)()
    task = loop.run_until_complete(begin(kind.take(it)()))
    if got:
        getattr(it, kind.free)()
        until(lambda: kind.is_got(it))
    loop.close()
    if not got:
        getattr(it, kind.free)()
    until(lambda: is_whole(it))
    forget(task)


def test_a_killed_holder(m: emmap.MemoryMap, peer: Peer, kind: Kind) -> None:
    it = kind.made(m)
    peer(f"it = {kind.make}; it.{kind.hold}()")

    async def take() -> None:
        async with kind.block(it):
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [await begin(take()) for _ in range(10)]
        peer.kill()
        await asyncio.gather(*tasks)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", emmap.OwnerDiedWarning)
        asyncio.run(main())
    assert len(caught) == (kind.hold == "acquire_write")
    assert not isinstance(it, emmap.Semaphore) or it.value == 1
    assert isinstance(it, emmap.Semaphore) or not it.locked()


def test_a_stopped_holder_is_not_robbed(m: emmap.MemoryMap, peer: Peer, kind: Kind) -> None:
    it = kind.made(m)
    peer(f"it = {kind.make}; it.{kind.hold}()")
    peer.process.send_signal(signal.SIGSTOP)
    try:
        assert asyncio.run(kind.take(it)(timeout=0.2)) is False
    finally:
        peer.process.send_signal(signal.SIGCONT)


def test_a_lost_page_is_noticed(path: str, m: emmap.MemoryMap, peer: Peer, kind: Kind) -> None:
    it = kind.made(m)
    peer(f"it = {kind.make}; it.{kind.hold}()")

    async def main() -> None:
        task = await begin(kind.take(it)())
        os.truncate(path, 0)
        with pytest.raises(emmap.PageLostError):
            await task

    asyncio.run(main())


def test_a_forked_child_gives_back_nothing_of_its_parents(path: str, kind: Kind) -> None:
    script = f"""
        import asyncio, emmap, os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        m = emmap.open({path!r}, "r+")
        it = {kind.make}
        it.{kind.hold}()
        loop = asyncio.new_event_loop()
        async def main():
            waiting = it.{kind.give.replace("release", "acquire")}_async()
            waiting.send(None)
            return waiting
        waiting = loop.run_until_complete(main())
        it.{kind.free}()
        def is_got():
            return m[16] or m[17] if "{kind.give}" == "release_write" else m[72]
        while not is_got(): pass
        child = os.fork()
        if child == 0:
            waiting.close()
            os._exit(0)
        os.waitpid(child, 0)
        print(bool(is_got()))
        it.{kind.give}()
        print(bool(is_got()))
        os._exit(0)
    """
    assert run_script(script) == "True\nFalse\n"


def test_a_thousand_tasks_and_one_thread(m: emmap.MemoryMap) -> None:
    pool, lock = emmap.Semaphore(m, 3), emmap.RWLock(m, offset=4096)
    inside = readers = writers = 0

    async def use_permit() -> None:
        nonlocal inside
        async with pool:
            inside += 1
            assert inside <= 3
            await asyncio.sleep(0)
            inside -= 1

    async def read() -> None:
        nonlocal readers
        async with lock.read():
            readers += 1
            await asyncio.sleep(0)
            assert writers == 0
            readers -= 1

    async def write() -> None:
        nonlocal writers
        async with lock.write():
            writers += 1
            await asyncio.sleep(0)
            assert (writers, readers) == (1, 0)
            writers -= 1

    async def main() -> None:
        tasks = [use_permit() for _ in range(400)]
        tasks += [read() if i % 6 else write() for i in range(600)]
        whole = asyncio.gather(*tasks)
        await asyncio.sleep(0)
        assert waiters() == 1
        await whole
        assert waiters() == 1

    asyncio.run(main())
    assert pool.value == 3
    assert not lock.locked()


def test_a_storm_of_cancellations(m: emmap.MemoryMap, peer: Peer, kind: Kind) -> None:
    it = kind.made(m)
    peer(f"it = {kind.make}; go = True")
    peer("import threading, time, random")
    peer(
        f"def work():\n while go:\n  it.{kind.hold}()\n  it.{kind.free}()\n"
        "  time.sleep(random.random() / 500)"
    )
    peer("thread = threading.Thread(target=work); thread.start()")
    done = 0

    async def work() -> None:
        nonlocal done
        while True:
            async with kind.block(it):
                await asyncio.sleep(0)
            done += 1
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(20)]
        for i in range(600):
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
    until(lambda: is_whole(it))


# Semaphore: its inner lock may be busy


@pytest.mark.parametrize("end", ["release", "kill"])
def test_a_permit_comes_back_though_the_inner_lock_is_busy(
    m: emmap.MemoryMap, peer: Peer, end: str
) -> None:
    pool = emmap.Semaphore(m)
    busy = borrow_id(peer, m)

    async def main() -> None:
        task = await begin(pool.acquire_async())
        pool.release()
        until(lambda: word(m, 64 + 8) == 1)
        m[8:16] = busy
        task.cancel()
        with pytest.raises(asyncio.CancelledError):  # at once
            await task
        await asyncio.sleep(0.12)
        assert word(m, 64 + 8) == 1
        if end == "release":
            m[8:16] = bytes(8)
        else:
            peer.kill()
        await soon(lambda: word(m, 64 + 8) == 0)

    pool.acquire()
    asyncio.run(main())
    assert pool.value == 1
    until(lambda: waiters() == 0)


def test_whether_there_is_a_permit_is_not_told_by_the_inner_lock(
    m: emmap.MemoryMap, peer: Peer
) -> None:
    pool = emmap.Semaphore(m)

    async def main() -> None:
        m[8:16] = borrow_id(peer, m)
        task = await begin(pool.acquire_async(timeout=0))
        m[8:16] = bytes(8)
        assert await task is True
        assert await pool.acquire_async(timeout=0) is False

    asyncio.run(main())


# RWLock: the death of a writer


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_death_that_was_told_to_a_cancelled_task_is_told_to_the_next(
    m: emmap.MemoryMap, peer: Peer, way: str
) -> None:
    lock = emmap.RWLock(m)
    kind = KINDS[way]
    peer("lock = emmap.RWLock(m); lock.acquire_write()")
    dead = word(m, 8) & ~15

    async def main() -> None:
        task = await begin(kind.take(lock)())
        peer.kill()
        until(lambda: word(m, 8) & ~15 != dead)
        until(lambda: lock.readers if way == "read" else word(m, 16) != dead)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not lock.locked()
        assert lock.owner_died
        with pytest.warns(emmap.OwnerDiedWarning) as warned:
            assert await kind.take(lock)(timeout=20)
        assert len(warned) == 1
        getattr(lock, kind.give)()

    asyncio.run(main())


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_death_is_repaired_in_the_loops_thread(m: emmap.MemoryMap, peer: Peer, way: str) -> None:
    told = []

    def repair(lock: emmap.RWLock) -> None:
        assert lock.write_locked
        told.append(threading.get_ident())

    lock = emmap.RWLock(m, on_owner_death=repair)
    kind = KINDS[way]
    peer("lock = emmap.RWLock(m); lock.acquire_write()")

    async def main() -> None:
        tasks = [await begin(kind.take(lock)()) for _ in range(3 if way == "read" else 1)]
        peer.kill()
        assert all(await asyncio.gather(*tasks))
        assert kind.is_got(lock)
        assert told == [threading.get_ident()]
        assert not lock.owner_died
        for _ in tasks:
            getattr(lock, kind.give)()
        assert is_whole(lock)

    asyncio.run(main())


def test_a_repair_that_raises_leaves_nothing_held(m: emmap.MemoryMap, peer: Peer) -> None:
    def repair(_: emmap.RWLock) -> None:
        raise ZeroDivisionError

    lock = emmap.RWLock(m, on_owner_death=repair)
    peer("lock = emmap.RWLock(m); lock.acquire_write()")
    peer.kill()
    for take in (lock.acquire_read_async, lock.acquire_write_async):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(take())
        assert not lock.locked()
    assert lock.owner_died


def test_a_reader_waits_to_repair_no_longer_than_it_was_told(
    m: emmap.MemoryMap, peer: Peer
) -> None:
    lock, plain = emmap.RWLock(m, on_owner_death=lambda _: None), emmap.RWLock(m)
    peer("lock = emmap.RWLock(m); lock.acquire_write()")
    peer.kill()
    with pytest.warns(emmap.OwnerDiedWarning):
        plain.acquire_read()

    async def main() -> None:
        for timeout in (0, 0.05):
            assert await lock.acquire_read_async(timeout=timeout) is False
        task = await begin(lock.acquire_read_async())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not lock.write_locked
        plain.release_read()
        assert await lock.acquire_read_async() is True
        lock.release_read()

    asyncio.run(main())
    assert is_whole(lock)
