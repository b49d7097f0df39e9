"""`Event`: what that of `threading` does, and what ours does besides."""

import errno
import os
import pickle
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import Interrupted, Worker, is_stopped, signalled, until
from mapping.peer import Peer


def ours() -> Any:
    return emmap.Event(emmap.anonymous(16, shared=True))


@pytest.fixture(params=[threading.Event, ours])
def event(request: pytest.FixtureRequest) -> Any:
    """An event of the standard library, or ours: the tests hold for both."""
    return request.param()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "event")


def has_sleepers(event: emmap.Event) -> bool:
    """Has somebody said that he sleeps?"""
    return bool(event.mapping[event.offset + 8] & 2)


# As that of threading


def test_it_is_set_and_cleared(event: Any) -> None:
    assert event.is_set() is False
    for _ in range(2):
        assert event.set() is None
        assert event.is_set() is True
        assert event.wait() is True
        assert event.wait(0) is True
    for _ in range(2):
        assert event.clear() is None
        assert event.is_set() is False
        assert event.wait(0) is False
        assert event.wait(-1) is False
        assert event.wait(timeout=0.01) is False


@pytest.mark.parametrize("timeout", ["1", [], 1j])
def test_bad_timeouts_are_refused(event: Any, timeout: Any) -> None:
    with pytest.raises(TypeError):
        event.wait(timeout)
    with pytest.raises(OverflowError):
        event.wait(1e300)


def test_all_who_wait_go_on(event: Any) -> None:
    workers = [Worker(event.wait) for _ in range(5)]
    event.set()
    assert [worker.end() for worker in workers] == [True] * 5


def test_an_event_that_is_cleared_at_once_wakes_all(event: Any) -> None:
    for _ in range(20):
        begun = threading.Barrier(4)

        def work(begun: threading.Barrier = begun) -> bool:
            begun.wait()
            return bool(event.wait(30))

        workers = [Worker(work) for _ in range(3)]
        begun.wait()
        # Whoever began to wait before this goes on; the late ones get another chance.
        while not all(worker.is_done() for worker in workers):
            event.set()
            event.clear()
        assert [worker.end() for worker in workers] == [True] * 3


# Ours


def test_who_is_stopped_in_a_wait_learns_that_it_was_set(path: str) -> None:
    event = emmap.Event(path)
    with Peer() as peer:
        peer(f"event = emmap.Event({path!r})")
        peer.begin("event.wait(30)")
        until(lambda: has_sleepers(event))
        os.kill(peer.process.pid, signal.SIGSTOP)
        until(lambda: is_stopped(peer.process.pid))
        event.set()
        event.clear()
        os.kill(peer.process.pid, signal.SIGCONT)
        assert peer.end() is True
    assert not event.is_set()


def test_a_set_takes_the_mark_of_the_sleepers(path: str) -> None:
    event = emmap.Event(path)
    with Peer() as peer:
        peer(f"event = emmap.Event({path!r})")
        peer.begin("event.wait(30)")
        until(lambda: has_sleepers(event))
        event.set()
        assert not has_sleepers(event)
        assert peer.end() is True


def test_a_dead_waiter_is_nobody(path: str) -> None:
    event = emmap.Event(path)
    with Peer() as peer:
        peer(f"event = emmap.Event({path!r})")
        peer.begin("event.wait()")
        until(lambda: has_sleepers(event))
        peer.kill()
        event.set()
        assert event.wait(0)


def test_signals_interrupt_a_wait() -> None:
    event = ours()
    with signalled(lambda: has_sleepers(event), lambda: None), pytest.raises(Interrupted):
        event.wait()
    event.set()
    assert event.wait(0)


def test_a_child_of_fork_has_the_same_event(path: str) -> None:
    event = emmap.Event(path)
    child = os.fork()
    if child == 0:
        event.set()
        os._exit(0 if event.is_set() else 1)
    assert event.wait(30)
    assert os.waitpid(child, 0)[1] == 0


def test_it_pickles_by_reference(path: str, tmp_path: Path) -> None:
    event = emmap.Event(path)
    again = pickle.loads(pickle.dumps(event))
    again.set()
    assert event.is_set()
    m = emmap.open(tmp_path / "map", "w+", size=64)
    inside = emmap.Event(m, offset=32)
    inside.set()
    again = pickle.loads(pickle.dumps(inside))
    assert again.offset == 32
    assert again.is_set()


def test_bad_places_are_refused() -> None:
    m = emmap.anonymous(64, shared=True)
    for offset in (-16, 8, 64):
        with pytest.raises(ValueError, match="Event"):
            emmap.Event(m, offset=offset)
    with pytest.raises(OverflowError):
        emmap.Event(m, offset=2**70)
    with pytest.raises(TypeError):
        emmap.Event(3)  # type: ignore[arg-type]
    emmap.Lock(m)
    with pytest.raises(emmap.CorruptFileError, match="something else than a Event"):
        emmap.Event(m)
    with pytest.raises(ValueError, match="NaN"):
        emmap.Event(m, offset=16).wait(float("nan"))


def test_a_lost_page_raises(path: str) -> None:
    event = emmap.Event(path)
    sleeper = Worker(event.wait)
    until(lambda: has_sleepers(event))
    os.truncate(path, 0)
    calls: list[Callable[[], object]] = [event.set, event.clear, event.is_set, event.wait]
    for call in calls:
        with pytest.raises(emmap.PageLostError):
            call()
    assert isinstance(sleeper.end(), emmap.PageLostError)
    assert repr(event).endswith(": lost>")


def stale(call: Callable[[], object]) -> bool:
    """Does it see that another file is there? It looks every 50 ms."""
    try:
        call()
    except OSError as error:
        return error.errno == errno.ESTALE
    return False


def test_a_file_that_is_replaced_is_noticed(path: str) -> None:
    event = emmap.Event(path)
    sleeper = Worker(event.wait)
    until(lambda: has_sleepers(event))
    os.unlink(path)
    assert isinstance(sleeper.end(), OSError)
    for call in ("set", "clear", "is_set"):
        event = emmap.Event(path)
        os.unlink(path)
        until(partial(stale, getattr(event, call)))


def test_its_text_says_where_and_what(path: str) -> None:
    event = emmap.Event(path)
    assert repr(event) == f"<emmap.Event at offset 0 of {path!r}: unset>"
    event.set()
    assert repr(event).endswith(": set>")
