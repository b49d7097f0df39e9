"""`Barrier`: what that of `threading` does, and what ours does besides."""

import errno
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import pytest

import emmap
from locks.company import Interrupted, Worker, cells, is_stopped, signalled, until, waiting
from mapping.peer import Peer


def ours(*arguments: Any, **options: Any) -> Any:
    return emmap.Barrier(emmap.anonymous(4096, shared=True), *arguments, **options)


@pytest.fixture(params=[threading.Barrier, ours])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a barrier of the standard library, or ours: the tests hold for both."""
    maker: Callable[..., Any] = request.param
    return maker


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "barrier")


@pytest.fixture
def peers(path: str) -> Iterator[Callable[..., Peer]]:
    """Makes processes that have the barrier of the path."""
    with ExitStack() as stack:

        def make(parties: int, options: str = "") -> Peer:
            peer = stack.enter_context(Peer())
            peer(f"barrier = emmap.Barrier({path!r}, {parties}, {options})")
            return peer

        yield make


def begin_wait(barrier: emmap.Barrier, peer: Peer) -> None:
    """Has a process wait, and returns when it has arrived."""
    before = barrier.n_waiting
    peer.begin("barrier.wait(30)")
    until(lambda: barrier.n_waiting == before + 1)


def broke(worker: Worker | Peer) -> bool:
    try:
        return isinstance(worker.end(), BrokenBarrierError)
    except BrokenBarrierError:
        return True


# As that of threading


def test_all_meet_again_and_again(make: Callable[..., Any]) -> None:
    barrier = make(3)
    done = [0, 0, 0]
    indices: list[list[int]] = [[] for _ in range(100)]

    def work(i: int) -> None:
        for turn in range(100):
            done[i] = turn
            indices[turn].append(barrier.wait())
            assert min(done) >= turn
            assert max(done) <= turn + 1

    workers = [Worker(lambda i=i: work(i)) for i in range(3)]  # type: ignore[misc]
    assert [worker.end() for worker in workers] == [None] * 3
    assert all(sorted(turn) == [0, 1, 2] for turn in indices)


def test_what_it_tells(make: Callable[..., Any]) -> None:
    barrier = make(3)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)
    workers = []
    for i in (1, 2):
        workers.append(Worker(barrier.wait))
        until(lambda i=i: barrier.n_waiting == i)  # type: ignore[misc]
    assert barrier.wait() == 2
    assert [worker.end() for worker in workers] == [0, 1]
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_one_party_meets_itself(make: Callable[..., Any]) -> None:
    calls: list[int] = []
    barrier = make(1, lambda: calls.append(1))
    assert [barrier.wait(), barrier.wait(timeout=0)] == [0, 0]
    assert calls == [1, 1]


def test_the_action_is_run_once_before_they_go_on(make: Callable[..., Any]) -> None:
    calls: list[int] = []
    seen: list[int] = []

    def act() -> None:
        calls.append(barrier.n_waiting)

    barrier = make(3, action=act)

    def work() -> None:
        barrier.wait()
        seen.append(len(calls))

    workers = [Worker(work) for _ in range(3)]
    assert [worker.end() for worker in workers] == [None] * 3
    assert seen == [1, 1, 1]
    assert calls == [3]


def test_an_action_that_raises_breaks_it(make: Callable[..., Any]) -> None:
    barrier = make(3, lambda: 1 / 0)
    workers = [Worker(barrier.wait) for _ in range(3)]
    ends = sorted(type(worker.end()).__name__ for worker in workers)
    assert ends == ["BrokenBarrierError", "BrokenBarrierError", "ZeroDivisionError"]
    assert barrier.broken


def test_a_timeout_breaks_it(make: Callable[..., Any]) -> None:
    in_time = make(2, timeout=0.02)
    for barrier, timeout in ((make(2), 0.02), (make(2), 0), (make(2), -1), (in_time, None)):
        with pytest.raises(BrokenBarrierError):
            barrier.wait(timeout)
        assert barrier.broken
        with pytest.raises(BrokenBarrierError):
            barrier.wait()
    barrier = make(3, timeout=0.01)
    worker = Worker(lambda: barrier.wait(30))
    until(lambda: barrier.n_waiting == 1)
    with pytest.raises(BrokenBarrierError):
        barrier.wait()
    assert broke(worker)


def test_no_timeout_breaks_it_while_the_action_runs(make: Callable[..., Any]) -> None:
    begun = threading.Event()
    go_on = threading.Event()

    def act() -> None:
        begun.set()
        go_on.wait(30)

    barrier = make(2, act)
    first = Worker(lambda: barrier.wait(0.1))
    until(lambda: barrier.n_waiting == 1)
    second = Worker(barrier.wait)
    assert begun.wait(30)
    first.thread.join(0.3)  # its time is up by then
    assert not first.is_done()
    go_on.set()
    assert [first.end(), second.end()] == [0, 1]


def test_abort_breaks_it(make: Callable[..., Any]) -> None:
    barrier = make(2)
    worker = Worker(barrier.wait)
    until(lambda: barrier.n_waiting == 1)
    assert barrier.abort() is None
    assert broke(worker)
    assert barrier.broken
    with pytest.raises(BrokenBarrierError):
        barrier.wait()
    barrier.abort()
    assert barrier.broken


def test_reset_makes_it_as_new(make: Callable[..., Any]) -> None:
    barrier = make(2)
    barrier.reset()
    for break_it in (lambda: None, barrier.abort):
        worker = Worker(barrier.wait)
        until(lambda: barrier.n_waiting == 1)
        break_it()
        assert barrier.reset() is None
        assert broke(worker)
        assert (barrier.broken, barrier.n_waiting) == (False, 0)
        workers = [Worker(barrier.wait) for _ in range(2)]
        assert sorted(worker.end() for worker in workers) == [0, 1]
    barrier.abort()
    barrier.reset()
    assert not barrier.broken


def test_an_exception_in_a_wait_is_no_break(make: Callable[..., Any]) -> None:
    barrier = make(2)
    with (
        signalled(lambda: barrier.n_waiting == 1, lambda: None),
        pytest.raises(Interrupted),
    ):
        barrier.wait() if make is ours else barrier.wait(30)
    assert (barrier.broken, barrier.n_waiting) == (False, 0)
    workers = [Worker(barrier.wait) for _ in range(2)]
    assert sorted(worker.end() for worker in workers) == [0, 1]


# Among processes


def test_processes_meet(path: str, peers: Callable[..., Peer]) -> None:
    three = [peers(3) for _ in range(3)]
    for peer in three:
        peer.begin("[barrier.wait(30) for _ in range(200)]")
    turns = zip(*[peer.end() for peer in three], strict=True)
    assert all(sorted(turn) == [0, 1, 2] for turn in turns)
    assert cells(emmap.Barrier(path, 3).mapping) == []


def test_the_death_of_a_party_breaks_it(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 3)
    dead, alive = peers(3), peers(3)
    begin_wait(barrier, dead)
    begin_wait(barrier, alive)
    dead.kill()
    assert broke(alive)
    assert barrier.broken
    barrier.reset()
    workers = [Worker(barrier.wait) for _ in range(3)]
    assert sorted(worker.end() for worker in workers) == [0, 1, 2]


def test_nobody_passes_with_the_dead(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 2)
    dead = peers(2)
    begin_wait(barrier, dead)
    dead.kill()
    assert barrier.n_waiting == 0
    with pytest.raises(BrokenBarrierError):
        barrier.wait()
    assert barrier.broken


def test_the_death_of_who_runs_the_action_breaks_it(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 3)
    others = [peers(3) for _ in range(2)]
    for peer in others:
        begin_wait(barrier, peer)
    actor = peers(3, f"lambda: (open({path + '-acts'!r}, 'w'), __import__('time').sleep(100))")
    actor.begin("barrier.wait()")
    until(lambda: os.path.exists(path + "-acts"))
    late = Worker(barrier.wait)  # a fourth one waits until they have gone
    actor.kill()
    assert all(broke(peer) for peer in others)
    assert broke(late)


def test_a_party_that_comes_too_late_to_an_action_waits(
    path: str, peers: Callable[..., Peer]
) -> None:
    go_on = threading.Event()
    barrier = emmap.Barrier(path, 2, lambda: go_on.wait(30))
    two = [Worker(lambda: barrier.wait(30)) for _ in range(2)]
    until(lambda: barrier.n_waiting == 2)
    late = peers(2)
    late.begin("barrier.wait(0.1)")
    until(lambda: barrier.mapping[16] & 1)  # it sleeps
    go_on.set()
    assert sorted(worker.end() for worker in two) == [0, 1]
    # Its time was up long ago or is now: in either case nobody else is broken.
    assert broke(late)


def test_abort_while_the_action_runs(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 2, lambda: barrier.abort())
    two = [Worker(barrier.wait) for _ in range(2)]
    assert all(broke(worker) for worker in two)
    barrier.reset()
    again = emmap.Barrier(path, 2, barrier.reset)
    two = [Worker(again.wait) for _ in range(2)]
    assert all(broke(worker) for worker in two)
    assert not barrier.broken


def test_who_is_stopped_is_alive_and_is_waited_for(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 2)
    stopped = peers(2)
    begin_wait(barrier, stopped)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(stopped.process.pid))
    assert barrier.wait() == 1
    # It has not left yet, so the next ones cannot begin: it would not learn that it has passed.
    next_ones = [Worker(barrier.wait) for _ in range(2)]
    until(lambda: barrier.mapping[16] & 1)
    assert waiting(barrier.mapping) == 1
    os.kill(stopped.process.pid, signal.SIGCONT)
    assert stopped.end() == 0
    assert sorted(worker.end() for worker in next_ones) == [0, 1]


def test_who_dies_while_leaving_is_not_waited_for(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 2)
    stopped = peers(2)
    begin_wait(barrier, stopped)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(stopped.process.pid))
    assert barrier.wait() == 1
    stopped.kill()
    two = [Worker(barrier.wait) for _ in range(2)]
    assert sorted(worker.end() for worker in two) == [0, 1]


def test_a_timeout_while_others_leave_breaks_it(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 2)
    stopped = peers(2)
    begin_wait(barrier, stopped)
    os.kill(stopped.process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(stopped.process.pid))
    assert barrier.wait() == 1
    with pytest.raises(BrokenBarrierError):
        barrier.wait(0.1)
    assert barrier.broken
    os.kill(stopped.process.pid, signal.SIGCONT)
    assert stopped.end() == 0  # it has passed all the same


def test_a_barrier_left_by_the_dead_is_made_as_new(path: str, peers: Callable[..., Peer]) -> None:
    barrier = emmap.Barrier(path, 3)
    dead = [peers(3) for _ in range(2)]
    for peer in dead:
        begin_wait(barrier, peer)
    for peer in dead:
        peer.kill()
    barrier.reset()
    workers = [Worker(barrier.wait) for _ in range(3)]
    assert sorted(worker.end() for worker in workers) == [0, 1, 2]
    assert cells(barrier.mapping) == []


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_either_all_pass_or_none(rounds: int, path: str, peers: Callable[..., Peer]) -> None:
    """One of three is killed at any moment: the others agree on how often they have met."""
    barrier = emmap.Barrier(path, 3)
    code = """
def meet():
    n = 0
    try:
        while True:
            barrier.wait(30)
            n += 1
    except RuntimeError:
        return n
"""
    chance = random.Random(5)
    others = [peers(3) for _ in range(2)]
    for peer in others:
        peer(code)
    for _ in range(rounds):
        victim = peers(3)
        victim(code)
        for peer in (*others, victim):
            peer.begin("meet()")
        time.sleep(chance.random() * 0.005)
        victim.kill()
        barrier.abort()  # for it may have died before it arrived
        counts = {peer.end() for peer in others}
        assert len(counts) == 1
        barrier.reset()


def test_a_child_of_fork_is_a_party_of_its_own(path: str) -> None:
    barrier = emmap.Barrier(path, 2)
    worker = Worker(barrier.wait)
    worker_waits = barrier.n_waiting
    until(lambda: barrier.n_waiting == 1)
    assert worker_waits in (0, 1)
    with Peer() as peer:
        peer(f"barrier = emmap.Barrier({path!r}, 2)")
        # Its parent has an id; the child ends without having met anybody.
        peer("barrier.n_waiting, emmap.Lock(emmap.anonymous(16, shared=True)).acquire()")
        peer("child = os.fork()\nif child == 0: os._exit(0 if barrier.wait(30) == 1 else 1)")
        assert peer("os.waitpid(child, 0)[1]") == 0
    assert worker.end() == 0


# The rest


def test_it_pickles_by_reference(path: str) -> None:
    barrier = emmap.Barrier(path, 1, os.getpid, 5.0)
    again = pickle.loads(pickle.dumps(barrier))
    barrier.abort()
    assert (again.parties, again.broken) == (1, True)
    assert again.__reduce__() == barrier.__reduce__()


def test_others_use_it_with_the_same_parties(path: str) -> None:
    barrier = emmap.Barrier(path, 2)
    with pytest.raises(ValueError, match="has 2 parties, not 3"):
        emmap.Barrier(path, 3)
    assert emmap.Barrier(path, 2).parties == barrier.parties == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ValueError),
        ((-1,), ValueError),
        ((253,), ValueError),
        ((10**30,), ValueError),
        ((2.0,), TypeError),
        (("2",), TypeError),
        ((None,), TypeError),
        ((2, 5), TypeError),
        ((2, None, "1"), TypeError),
        ((2, None, float("nan")), ValueError),
        ((2, None, 1e300), OverflowError),
    ],
)
def test_bad_arguments_are_refused_and_leave_zeros(arguments: Any, error: Any) -> None:
    m = emmap.anonymous(4096, shared=True)
    with pytest.raises(error):
        emmap.Barrier(m, *arguments)
    assert not any(m[:])
    with pytest.raises(error if arguments[1:2] == (None,) else TypeError):
        emmap.Barrier(m, 2).wait(*(arguments[2:] or ("1",)))


def test_bad_places_are_refused() -> None:
    m = emmap.anonymous(8192, shared=True)
    for offset in (-16, 8, 4112, 8192):
        with pytest.raises(ValueError, match="Barrier"):
            emmap.Barrier(m, 2, offset=offset)
    emmap.Condition(m)
    with pytest.raises(emmap.CorruptFileError):
        emmap.Barrier(m, 2)


def test_a_lost_page_raises(path: str) -> None:
    barrier = emmap.Barrier(path, 2)
    sleeper = Worker(barrier.wait)
    until(lambda: barrier.n_waiting == 1)
    os.truncate(path, 0)
    for call in (barrier.wait, barrier.reset, barrier.abort):
        with pytest.raises(emmap.PageLostError):
            call()
    for name in ("n_waiting", "broken"):
        with pytest.raises(emmap.PageLostError):
            getattr(barrier, name)
    assert isinstance(sleeper.end(), emmap.PageLostError)
    assert repr(barrier).endswith(": lost>")


def test_a_file_that_is_replaced_is_noticed(path: str) -> None:
    barrier = emmap.Barrier(path, 2)
    sleeper = Worker(barrier.wait)
    until(lambda: barrier.n_waiting == 1)
    os.unlink(path)
    assert sleeper.end().errno == errno.ESTALE
    for call in (barrier.wait, barrier.reset, barrier.abort):
        with pytest.raises(OSError, match="removed or replaced"):
            call()


def test_its_text_says_where_and_who(path: str) -> None:
    barrier = emmap.Barrier(path, 2)
    assert repr(barrier) == f"<emmap.Barrier at offset 0 of {path!r}: 0 of 2 waiting>"
    barrier.abort()
    assert repr(barrier).endswith(": broken>")
