"""The awaitable twins of `Event`, `Condition` and `Barrier`."""

import asyncio
import gc
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import BrokenBarrierError

import pytest

import emmap
from locks.company import waiting
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


# Event


def test_an_event_is_awaited(m: emmap.MemoryMap, peer: Peer) -> None:
    event = emmap.Event(m)
    peer("event = emmap.Event(m)")

    async def main() -> None:
        assert await event.wait_async(timeout=0) is False
        assert await event.wait_async(timeout=0.02) is False
        tasks = [await begin(event.wait_async()) for _ in range(1_000)]
        assert waiters() == 1
        peer("event.set(); event.clear()")
        assert await asyncio.gather(*tasks) == [True] * 1_000
        assert not event.is_set()
        event.set()
        assert await event.wait_async(timeout=0) is True

    asyncio.run(main())


def test_an_awaited_event_is_let_go_of(m: emmap.MemoryMap) -> None:
    async def main() -> None:
        event = emmap.Event(m, offset=8192)
        task = await begin(event.wait_async())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del event, task
        gc.collect()
        m.resize(8192)

    asyncio.run(main())


def test_a_closed_loop_waits_for_no_event(m: emmap.MemoryMap) -> None:
    loop = asyncio.new_event_loop()
    event = emmap.Event(m, offset=8192)
    task = loop.run_until_complete(begin(event.wait_async()))
    loop.close()
    forget(task)
    del task, loop, event

    def can_be_shrunk() -> bool:
        try:
            m.resize(8192)
        except BufferError:
            return False
        return True

    until(lambda: gc.collect() or can_be_shrunk())


# Condition


@pytest.fixture
def condition(m: emmap.MemoryMap) -> emmap.Condition:
    return emmap.Condition(m, emmap.Lock(m, offset=4096))


async def enter(condition: emmap.Condition, ways: list[str] | None = None) -> bool:
    """Waits in it, and says that it has the lock in the end."""
    async with condition:
        try:
            return await condition.wait_async()
        finally:
            assert word(condition.mapping, 4096 + 8)
            if ways is not None:
                ways.append("locked")


def test_a_condition_is_awaited(m: emmap.MemoryMap, condition: emmap.Condition, peer: Peer) -> None:
    peer("condition = emmap.Condition(m, emmap.Lock(m, offset=4096))")

    async def main() -> None:
        async with condition as entered:
            assert entered is True
            assert await condition.wait_async(timeout=0) is False
            assert await condition.wait_async(timeout=0.02) is False
            assert condition.lock.locked()
        assert not condition.lock.locked()
        tasks = [await begin(enter(condition)) for _ in range(200)]
        assert waiters() == 1
        peer("with condition: condition.notify(3)")
        await soon(lambda: sum(task.done() for task in tasks) == 3)
        assert all(task.result() for task in tasks[:3])
        peer("with condition: condition.notify_all()")
        assert all(await asyncio.gather(*tasks))

    asyncio.run(main())
    assert waiting(m) == 0
    assert not condition.lock.locked()


def test_a_condition_waits_for_a_predicate(condition: emmap.Condition, peer: Peer) -> None:
    peer("condition = emmap.Condition(m, emmap.Lock(m, offset=4096))")
    asked: list[int] = []

    def third_time() -> bool:
        asked.append(1)
        return len(asked) == 3

    async def main() -> None:
        async with condition:
            assert await condition.wait_for_async(lambda: 5) == 5
            assert await condition.wait_for_async(lambda: 0, timeout=0.02) == 0
            with pytest.raises(ZeroDivisionError):
                await condition.wait_for_async(lambda: 1 // 0)

        async def wait() -> bool:
            async with condition:
                return await condition.wait_for_async(third_time)

        task = await begin(wait())
        while not task.done():
            n = len(asked)
            async with condition:
                condition.notify()
            await soon(lambda n=n: task.done() or len(asked) > n)  # type: ignore[misc]
        assert await task is True

    asyncio.run(main())


def test_a_condition_is_misused(m: emmap.MemoryMap, condition: emmap.Condition) -> None:
    own = emmap.Condition(m, offset=8192)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="un-acquired lock"):
            await condition.wait_async()
        with own, pytest.raises(TypeError, match="RLock belongs to a thread"):
            await own.wait_async()
        with pytest.raises(TypeError, match="RLock belongs to a thread"):
            async with own:
                pass

    asyncio.run(main())
    assert waiting(m) == 0


@pytest.mark.parametrize("notified", [0, 1])
def test_a_cancelled_wait_has_the_lock_and_passes_the_notify_on(
    m: emmap.MemoryMap, condition: emmap.Condition, notified: int
) -> None:
    ways: list[str] = []

    async def main() -> None:
        first = await begin(enter(condition, ways))
        second = await begin(enter(condition))
        if notified:
            with condition:
                condition.notify()
                first.cancel()
        else:
            first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert ways == ["locked"]
        if not notified:
            assert not second.done()
            with condition:
                condition.notify()
        assert await second is True

    asyncio.run(main())
    assert waiting(m) == 0
    assert not condition.lock.locked()


def test_a_wait_is_cancelled_again_and_again_while_it_has_not_the_lock(
    m: emmap.MemoryMap, condition: emmap.Condition
) -> None:
    ways: list[str] = []

    async def main() -> None:
        task = await begin(enter(condition, ways))
        condition.acquire()
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
        condition.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ways == ["locked"]

    asyncio.run(main())
    assert waiting(m) == 0
    assert not condition.lock.locked()


@pytest.mark.parametrize("stage", ["waiting", "locking"])
@pytest.mark.parametrize("held", [0, 1])
def test_a_closed_coroutine_in_a_condition(
    m: emmap.MemoryMap, condition: emmap.Condition, stage: str, held: int
) -> None:
    ways: list[str] = []

    async def main() -> None:
        task = enter(condition, ways)
        task.send(None)
        if stage == "locking" or held:
            condition.acquire()
        if stage == "locking":
            task.throw(asyncio.CancelledError())
            if not held:
                condition.release()
        if held:
            with pytest.raises(RuntimeError, match="somebody holds the lock"):
                task.close()
            assert condition.lock.locked()
            condition.release()
        else:
            task.close()
        assert not condition.lock.locked()

    asyncio.run(main())
    assert waiting(m) == 0


def test_a_forked_child_leaves_its_parents_wait_alone(path: str) -> None:
    script = f"""
        import asyncio, emmap, os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        m = emmap.open({path!r}, "r+")
        condition = emmap.Condition(m, emmap.Lock(m, offset=4096))
        async def main():
            async def wait():
                async with condition:
                    return await condition.wait_async()
            waiting = wait()
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            child = os.fork()
            if child == 0:
                try:
                    waiting.close()
                except RuntimeError:
                    os._exit(7)
                os._exit(1)
            _, status = os.waitpid(child, 0)
            assert "1 waiting" in repr(condition)
            async with condition:
                condition.notify()
            print(os.waitstatus_to_exitcode(status), await task, condition.lock.locked())
        asyncio.run(main())
    """
    assert run_script(script) == "7 True False\n"


@pytest.mark.parametrize("strict", [0, 1])
def test_the_holder_of_the_lock_is_killed_while_a_task_waits(
    m: emmap.MemoryMap, condition: emmap.Condition, peer: Peer, strict: int
) -> None:
    peer("condition = emmap.Condition(m, emmap.Lock(m, offset=4096))")
    ways: list[str] = []

    async def main() -> None:
        task = await begin(enter(condition, ways))
        peer("condition.acquire(); condition.notify()")
        peer.kill()
        with warnings.catch_warnings():
            warnings.simplefilter("error" if strict else "ignore")
            if strict:
                with pytest.raises(emmap.OwnerDiedWarning):
                    await task
            else:
                assert await task is True
        assert ways == ["locked"]
        assert not condition.lock.locked()
        assert condition.lock.owner_died

    asyncio.run(main())
    assert waiting(m) == 0


def test_who_is_killed_after_it_was_notified_passes_it_on(
    condition: emmap.Condition, m: emmap.MemoryMap, peer: Peer
) -> None:
    peer("condition = emmap.Condition(m, emmap.Lock(m, offset=4096))")
    peer("import threading")
    peer("def wait():\n with condition: condition.wait()")
    peer("threading.Thread(target=wait, daemon=True).start()")
    until(lambda: waiting(m) == 1 and not condition.lock.locked())

    async def main() -> None:
        task = await begin(enter(condition))
        async with condition:
            condition.notify()
            peer.kill()
        assert await task is True

    asyncio.run(main())


# Barrier


def test_parties_meet_at_a_barrier(m: emmap.MemoryMap, peer: Peer) -> None:
    ran = []
    barrier = emmap.Barrier(m, 100, lambda: ran.append(threading.get_ident()))
    peer("barrier = emmap.Barrier(m, 100)")

    async def main() -> None:
        for i in range(3):
            tasks = [await begin(barrier.wait_async()) for _ in range(98)]
            assert waiters() == 1
            peer.begin("barrier.wait()")
            until(lambda: barrier.n_waiting == 99)
            tasks.append(asyncio.create_task(barrier.wait_async()))
            assert sorted([*await asyncio.gather(*tasks), peer.end()]) == list(range(100))
            assert ran == [threading.get_ident()] * (i + 1)

    asyncio.run(main())
    assert waiting(m) == 0


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_the_time_of_a_barrier_is_up(m: emmap.MemoryMap, timeout: float) -> None:
    barrier = emmap.Barrier(m, 3)

    async def main() -> None:
        other = await begin(barrier.wait_async())
        with pytest.raises(BrokenBarrierError):
            await barrier.wait_async(timeout=timeout)
        with pytest.raises(BrokenBarrierError):
            await other
        with pytest.raises(BrokenBarrierError):
            await barrier.wait_async()
        assert barrier.broken
        barrier.reset()
        other = await begin(barrier.wait_async())
        barrier.reset()
        with pytest.raises(BrokenBarrierError):
            await other

    asyncio.run(main())
    assert waiting(m) == 0
    assert not barrier.broken


def test_the_action_of_a_barrier_raises(m: emmap.MemoryMap) -> None:
    barrier = emmap.Barrier(m, 2, lambda: 1 // 0)

    async def main() -> None:
        other = await begin(barrier.wait_async())
        with pytest.raises(ZeroDivisionError):
            await barrier.wait_async()
        with pytest.raises(BrokenBarrierError):
            await other

    asyncio.run(main())
    assert waiting(m) == 0


@pytest.mark.parametrize("way", ["cancel", "close", "loop"])
def test_who_leaves_a_barrier_lets_the_others_wait_on(m: emmap.MemoryMap, way: str) -> None:
    barrier = emmap.Barrier(m, 2)

    async def main() -> None:
        if way == "close":
            coroutine = barrier.wait_async()
            coroutine.send(None)
            coroutine.close()
        elif way == "cancel":
            task = await begin(barrier.wait_async())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert waiting(m) == 0
        both = [await begin(barrier.wait_async()), asyncio.create_task(barrier.wait_async())]
        assert sorted(await asyncio.gather(*both)) == [0, 1]

    if way == "loop":
        loop = asyncio.new_event_loop()
        task = loop.run_until_complete(begin(barrier.wait_async()))
        loop.close()
        until(lambda: waiting(m) == 0)
        forget(task)
        del task
        gc.collect()
    asyncio.run(main())
    assert not barrier.broken


async def be_chosen(barrier: emmap.Barrier, m: emmap.MemoryMap) -> "asyncio.Task[int]":
    """A task that is to run the action, and does not know it yet."""
    m[8:16] = m[12288 + 8 : 12288 + 16]  # the inner lock is busy
    task = await begin(barrier.wait_async())
    m[8:16] = bytes(8)
    until(lambda: word(m, 16) & 8)
    return task


@pytest.mark.parametrize("way", ["cancel", "close", "loop"])
@pytest.mark.parametrize("busy", [0, 1])
def test_who_was_to_run_the_action_breaks_the_barrier(
    m: emmap.MemoryMap, peer: Peer, way: str, busy: int
) -> None:
    barrier = emmap.Barrier(m, 2, lambda: pytest.fail("it ran"))
    inner = borrow_id(peer, m)
    peer("import threading; barrier = emmap.Barrier(m, 2)")
    peer.begin("barrier.wait()")
    until(lambda: waiting(m) == 1)
    loop = asyncio.new_event_loop()

    async def main() -> None:
        m[8:16] = inner
        coroutine = barrier.wait_async()
        coroutine.send(None)
        m[8:16] = bytes(8)
        until(lambda: word(m, 16) & 8)
        m[8:16] = inner if busy else bytes(8)
        coroutine.close()
        m[8:16] = bytes(8)

    if way == "close":
        loop.run_until_complete(main())
        loop.close()
    else:
        task = loop.run_until_complete(be_chosen(barrier, m))
        m[8:16] = inner if busy else bytes(8)
        if way == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.close()
        forget(task)
        m[8:16] = bytes(8)
    with pytest.raises(BrokenBarrierError):
        peer.end()
    assert barrier.broken
    until(lambda: waiting(m) == 0)


def test_a_killed_party_breaks_the_barrier(m: emmap.MemoryMap, peer: Peer) -> None:
    barrier = emmap.Barrier(m, 3)
    peer("barrier = emmap.Barrier(m, 3)")
    peer.begin("barrier.wait()")
    until(lambda: waiting(m) == 1)

    async def main() -> None:
        task = await begin(barrier.wait_async())
        peer.kill()
        with pytest.raises(BrokenBarrierError):
            await task

    asyncio.run(main())


def test_a_forked_child_leaves_its_parents_party_alone(path: str) -> None:
    script = f"""
        import asyncio, emmap, os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        m = emmap.open({path!r}, "r+")
        barrier = emmap.Barrier(m, 2)
        async def main():
            waiting = barrier.wait_async()
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            child = os.fork()
            if child == 0:
                waiting.close()
                os._exit(0)
            os.waitpid(child, 0)
            print(barrier.n_waiting, await barrier.wait_async(), await task)
        asyncio.run(main())
    """
    assert run_script(script) == "1 1 0\n"
