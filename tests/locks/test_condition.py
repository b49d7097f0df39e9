"""`Condition`: what that of `threading` does, and what ours does besides."""

import errno
import os
import pickle
import signal
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import (
    CELLS,
    HEAD,
    Interrupted,
    Worker,
    cells,
    is_stopped,
    signalled,
    until,
    waiting,
)
from mapping.peer import Peer


def ours() -> Any:
    return emmap.Condition(emmap.anonymous(4096, shared=True))


def ours_with_a_lock() -> Any:
    m = emmap.anonymous(8192, shared=True)
    return emmap.Condition(m, emmap.Lock(m, offset=16), offset=4096)


def standard_with_a_lock() -> Any:
    return threading.Condition(threading.Lock())


@pytest.fixture(params=[threading.Condition, standard_with_a_lock, ours, ours_with_a_lock])
def condition(request: pytest.FixtureRequest) -> Any:
    """A condition of the standard library, or ours: the tests hold for both."""
    return request.param()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "condition")


@pytest.fixture
def peers(path: str) -> Iterator[Callable[[], Peer]]:
    """Makes processes that have the condition of the path."""
    with ExitStack() as stack:

        def make() -> Peer:
            peer = stack.enter_context(Peer())
            peer(f"condition = emmap.Condition({path!r})")
            peer("import warnings; warnings.simplefilter('ignore')")
            peer("def wait(timeout=30):\n    with condition: return condition.wait(timeout)")
            return peer

        yield make


def begin_wait(condition: emmap.Condition, peer: Peer, code: str = "wait()") -> None:
    """Has a process wait, and returns when it does."""
    before = waiting(condition.mapping)
    peer.begin(code)
    until(lambda: waiting(condition.mapping) == before + 1)


def queue(condition: Any, n: int) -> tuple[list[Worker], list[int]]:
    """So many threads that wait, one after the other, and the order in which they go on."""
    arrived: list[int] = []
    gone: list[int] = []

    def work(i: int) -> Any:
        with condition:
            arrived.append(i)
            answer = condition.wait(30)
            gone.append(i)
            return answer

    workers = []
    for i in range(n):
        workers.append(Worker(lambda i=i: work(i)))  # type: ignore[misc]
        until(lambda: len(arrived) == len(workers))
        condition.acquire()  # it waits, now that it has let go of the lock
        condition.release()
    return workers, gone


def went(gone: list[int], n: int) -> bool:
    """Have the first `n` gone on, and nobody else?"""
    return sorted(gone) == list(range(n))


# As that of threading


def test_it_is_its_lock(condition: Any) -> None:
    assert condition.acquire() is True
    assert Worker(lambda: condition.acquire(blocking=False)).end() is False
    assert Worker(lambda: condition.acquire(timeout=0.01)).end() is False
    condition.release()
    with pytest.raises(RuntimeError):
        condition.release()
    with condition as answer:
        assert answer is True
    with pytest.raises(ZeroDivisionError), condition:
        _ = 1 / 0
    assert Worker(lambda: condition.acquire(blocking=False)).end() is True


def test_it_must_be_acquired(condition: Any) -> None:
    for call in (condition.wait, condition.notify, condition.notify_all):
        with pytest.raises(RuntimeError, match="on un-acquired lock"):
            call()
    with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
        condition.wait_for(lambda: False, timeout=0)
    assert condition.wait_for(lambda: 7) == 7


def test_a_wait_times_out_and_has_the_lock(condition: Any) -> None:
    for timeout in (0, -1, 0.01):
        with condition:
            assert condition.wait(timeout) is False
            assert Worker(lambda: condition.acquire(blocking=False)).end() is False
            assert condition.notify() is None


@pytest.mark.parametrize("timeout", ["1", [], 1j])
def test_bad_timeouts_are_refused(condition: Any, timeout: Any) -> None:
    with condition:
        with pytest.raises(TypeError):
            condition.wait(timeout)
        with pytest.raises(OverflowError):
            condition.wait(1e300)
        assert Worker(lambda: condition.acquire(blocking=False)).end() is False


def test_who_has_waited_longest_is_notified_first(condition: Any) -> None:
    workers, gone = queue(condition, 6)
    for n, all_gone in ((1, 1), (2, 3), (0, 3), (-5, 3)):
        with condition:
            condition.notify(n)
        until(partial(went, gone, all_gone))
    with condition:
        condition.notify(100)
    assert [worker.end() for worker in workers] == [True] * 6
    with condition:
        condition.notify(5)
        condition.notify_all()
        assert condition.wait(0) is False  # none is kept for later


def test_all_are_notified(condition: Any) -> None:
    workers, gone = queue(condition, 4)
    with condition:
        condition.notify_all()
        assert gone == []  # not before the lock is released
    assert [worker.end() for worker in workers] == [True] * 4


def test_waiting_for_a_predicate(condition: Any) -> None:
    state = 0

    def work() -> Any:
        with condition:
            return condition.wait_for(lambda: state if state > 2 else 0, timeout=30)

    worker = Worker(work)
    while not worker.is_done():
        with condition:
            state += 1
            condition.notify_all()
    assert worker.end() > 2
    with condition:
        calls: list[int] = []
        assert condition.wait_for(lambda: calls.append(1), timeout=0.01) is None
        assert len(calls) >= 2
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 / 0)
        assert Worker(lambda: condition.acquire(blocking=False)).end() is False


def notify(condition: Any) -> None:
    with condition:
        condition.notify()


@pytest.mark.parametrize("make", [threading.Condition, ours])
def test_a_wait_releases_a_lock_that_was_acquired_several_times(make: Callable[[], Any]) -> None:
    condition = make()
    with condition, condition, condition:
        notifier = Worker(partial(notify, condition))
        assert condition.wait(30) is True
        assert notifier.end() is None
        condition.release()
        condition.release()
        assert Worker(lambda: condition.acquire(blocking=False)).end() is False
        condition.acquire()
        condition.acquire()


# Among processes


def test_processes_hand_things_on(path: str, peers: Callable[[], Peer]) -> None:
    m = emmap.open(path, "w+", size=8192)
    condition = emmap.Condition(m)
    consumers = [peers() for _ in range(2)]
    code = f"""
m = emmap.open({path!r}, "r+")
condition = emmap.Condition(m)
def consume():
    n = 0
    while True:
        with condition:
            condition.wait_for(lambda: m[4096] or m[4097])
            if not m[4096]:
                return n
            m[4096] -= 1
            n += 1
"""
    for peer in consumers:
        peer(code)
        peer.begin("consume()")
    for _ in range(300):
        with condition:
            m[4096] = m[4096] + 1  # never more than 255: they take as many
            condition.notify()
        if m[4096] > 100:
            until(lambda: m[4096] < 50)
    with condition:
        m[4097] = 1
        condition.notify_all()
    assert sum(peer.end() for peer in consumers) == 300


def test_a_dead_waiter_is_passed_over(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    dead, alive = peers(), peers()
    begin_wait(condition, dead)
    begin_wait(condition, alive)
    dead.kill()
    with condition:
        condition.notify()
        assert len(cells(condition.mapping)) == 1  # and its cell is free
    assert alive.end() is True


def test_the_notify_of_one_that_dies_is_passed_on(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    dead, heir, last = peers(), peers(), peers()
    for peer in (dead, heir, last):
        begin_wait(condition, peer)
    with condition:
        condition.notify()
        # It has been chosen, and cannot go on before it has the lock.
        dead.kill()
    assert heir.end() is True
    with condition:
        assert waiting(condition.mapping) == 1
        condition.notify()
    assert last.end() is True
    assert cells(condition.mapping) == []


def test_several_deaths_in_a_row(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    dead = [peers() for _ in range(4)]
    heirs = [peers() for _ in range(2)]
    for peer in (*dead, *heirs):
        begin_wait(condition, peer)
    with condition:
        condition.notify(2)
        for peer in dead:
            peer.kill()  # two that were notified, and two that would inherit
    assert [peer.end() for peer in heirs] == [True, True]


def test_who_comes_later_does_not_inherit(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    dead = peers()
    begin_wait(condition, dead)
    with condition:
        condition.notify()
        dead.kill()
        assert condition.wait(0.2) is False
        assert cells(condition.mapping) == []


def test_who_is_stopped_is_not_robbed(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    stopped = peers()
    begin_wait(condition, stopped)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(stopped.process.pid))

    def wait() -> bool:
        with condition:
            return condition.wait(0.2)

    other = Worker(wait)
    until(lambda: waiting(condition.mapping) == 2)
    with condition:
        condition.notify()
    assert other.end() is False
    os.kill(stopped.process.pid, signal.SIGCONT)
    assert stopped.end() is True


def test_a_notifier_that_dies_has_notified(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    waiter, notifier = peers(), peers()
    begin_wait(condition, waiter)
    begin_wait(condition, peer := peers())
    notifier("condition.acquire(), condition.notify()")
    notifier.kill()
    assert waiter.end() is True
    assert condition.lock.owner_died
    with pytest.warns(emmap.OwnerDiedWarning) if not told(condition) else ExitStack():
        condition.acquire()
    condition.lock.mark_consistent()
    condition.notify()
    condition.release()
    assert peer.end() is True


def told(condition: emmap.Condition) -> bool:
    """Has somebody been told of the death? The word names no dead owner then."""
    return not condition.lock.locked() and bool(condition.mapping[40] & 2)


@pytest.mark.parametrize("kind", [emmap.Lock, emmap.RLock])
def test_a_wait_tells_of_a_dead_holder_and_holds_the_lock(
    kind: Any, path: str, peers: Callable[[], Peer]
) -> None:
    lock = kind(path + "-lock")
    condition = emmap.Condition(path, lock)
    with Peer() as peer, condition:
        peer(f"lock = emmap.{kind.__name__}({path + '-lock'!r})")
        peer(f"condition = emmap.Condition({path!r}, lock)")
        peer.begin("lock.acquire()")

        def kill() -> None:
            assert peer.end()
            peer("condition.notify()")
            peer.kill()

        killer = Worker(kill)
        # Warnings are errors in these tests.
        with pytest.raises(emmap.OwnerDiedWarning):
            condition.wait(30)
        assert killer.end() is None
        assert Worker(lambda: kind(path + "-lock").acquire(blocking=False)).end() is False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert condition.wait(0) is False
        lock.mark_consistent()
    assert cells(condition.mapping) == []


def test_an_exception_in_a_wait_has_the_lock(path: str) -> None:
    condition = emmap.Condition(path)
    with signalled(lambda: waiting(condition.mapping), lambda: None), condition:
        with pytest.raises(Interrupted):
            condition.wait()
        assert Worker(lambda: condition.acquire(blocking=False)).end() is False
    assert cells(condition.mapping) == []


def test_a_notify_that_an_exception_meets_is_passed_on(
    path: str, peers: Callable[[], Peer]
) -> None:
    condition = emmap.Condition(path)
    heir = peers()

    def notify() -> None:
        begin_wait(condition, heir)
        with condition:
            condition.notify()  # the handler's own thread has waited longer

    with (
        signalled(lambda: waiting(condition.mapping) == 1, notify),
        pytest.raises(Interrupted),
        condition,
    ):
        condition.wait()
    assert heir.end() is True


def test_signals_wait_until_the_lock_is_back(path: str, peers: Callable[[], Peer]) -> None:
    condition = emmap.Condition(path)
    holder = peers()
    handled: list[int] = []

    def hold() -> None:
        holder("condition.acquire(), condition.notify()")
        os.kill(os.getpid(), signal.SIGUSR1)
        # The signal meets a thread that cannot have the lock yet.
        for _ in range(3):
            holder("__import__('time').sleep(0.05)")
        assert handled == []
        holder("condition.release()")

    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(condition.lock.locked()))
    try:
        with condition:
            begun = Worker(hold)
            assert condition.wait(30) is True
            assert begun.end() is None
        assert handled == [True]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_child_of_fork_does_not_hold_it(path: str) -> None:
    condition = emmap.Condition(path)
    with condition:
        child = os.fork()
        if child == 0:
            try:
                condition.notify()
            except RuntimeError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        condition.notify()


def test_a_full_row(path: str, peers: Callable[[], Peer]) -> None:
    m = emmap.open(path, "w+", size=4096)
    condition = emmap.Condition(m)
    holder = peers()
    holder("condition.acquire(), condition.release(), condition.acquire()")
    (owner,) = struct.unpack("=Q", m[40:48])
    owner &= ~15
    holder("condition.release()")
    for i in range(CELLS):
        state = 1 << 2 | (2 if i == 7 else 1)
        m[HEAD + i * 16 : HEAD + (i + 1) * 16] = struct.pack("=QQ", owner, state)
    m[16:24] = struct.pack("=Q", CELLS)
    with condition:
        with pytest.raises(OSError, match="252 threads") as raised:
            condition.wait(0)
        assert raised.value.errno == errno.ENOSPC
        holder.kill()
        assert condition.wait(0) is False
        assert cells(m) == []


# The rest


def test_a_lock_in_another_file(path: str) -> None:
    lock = emmap.Lock(path + "-lock")
    condition = emmap.Condition(path, lock)
    assert condition.lock is lock
    with condition:
        assert lock.locked()
        assert condition.wait(0.01) is False
        again = pickle.loads(pickle.dumps(condition))
        again.notify()
    assert isinstance(emmap.Condition(path).lock, emmap.RLock)


def test_it_pickles_by_reference(path: str, tmp_path: Path) -> None:
    m = emmap.open(tmp_path / "map", "w+", size=3 * 4096)
    for condition in (emmap.Condition(path), emmap.Condition(m, offset=4096)):
        again = pickle.loads(pickle.dumps(condition))
        assert again.offset == condition.offset
        with condition:
            again.notify()  # the same lock
            assert pickle.loads(pickle.dumps(again.lock)).locked()


def test_bad_places_are_refused() -> None:
    m = emmap.anonymous(8192, shared=True)
    for lock in (threading.Lock(), 1, "lock", emmap.Event(m, offset=8176)):
        with pytest.raises(TypeError, match=r"emmap\.Lock or an emmap\.RLock"):
            emmap.Condition(m, lock)  # type: ignore[arg-type]
    for offset in (-16, 8, 4112, 8192):
        with pytest.raises(ValueError, match="Condition"):
            emmap.Condition(m, offset=offset)
    emmap.Barrier(m, 2)
    with pytest.raises(emmap.CorruptFileError):
        emmap.Condition(m)
    filled = emmap.anonymous(4096, shared=True)
    filled[4000] = 1
    with pytest.raises(emmap.CorruptFileError):
        emmap.Condition(filled)


def test_a_timeout_that_releases_the_lock() -> None:
    condition = ours_with_a_lock()

    class Timeout:
        def __float__(self) -> float:
            condition.release()
            return 1.0

    condition.acquire()
    with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
        condition.wait(Timeout())


def test_a_lost_page_raises(path: str) -> None:
    lock = emmap.Lock(path + "-lock")
    condition = emmap.Condition(path, lock)

    def wait() -> None:
        with condition:
            condition.wait()

    sleeper = Worker(wait)
    until(lambda: waiting(condition.mapping))
    os.truncate(path, 0)
    assert isinstance(sleeper.end(), emmap.PageLostError)
    with condition:
        for call in (condition.wait, condition.notify, condition.notify_all):
            with pytest.raises(emmap.PageLostError):
                call()
        assert lock.locked()


def test_a_file_that_is_replaced_is_noticed(path: str) -> None:
    condition = emmap.Condition(path)

    def wait() -> None:
        with condition:
            condition.wait()

    sleeper = Worker(wait)
    until(lambda: waiting(condition.mapping))
    os.unlink(path)
    assert sleeper.end().errno == errno.ESTALE


def test_its_text_says_where_and_who(path: str) -> None:
    condition = emmap.Condition(path)
    assert repr(condition).startswith(f"<emmap.Condition at offset 0 of {path!r}: 0 waiting, lock ")
