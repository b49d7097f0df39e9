"""Locks by name in a store's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import Worker
from mapping.peer import Peer
from store.company import in_child, until_waits

MAKE: dict[str, Callable[[emmap.Store, str], Any]] = {
    "lock": lambda store, name: store.lock(name),
    "rwlock": lambda store, name: store.rwlock(name),
    "semaphore": lambda store, name: store.semaphore(name, 2),
    "condition": lambda store, name: store.condition(name),
    "event": lambda store, name: store.event(name),
}
KINDS = {
    "lock": "Lock",
    "rwlock": "RWLock",
    "semaphore": "Semaphore",
    "condition": "Condition",
    "event": "Event",
}


@pytest.mark.parametrize("kind", MAKE)
def test_it_is_made_once(store: emmap.Store, path: Path, kind: str) -> None:
    one = MAKE[kind](store, "it")
    assert type(one) is getattr(emmap, KINDS[kind])
    again = MAKE[kind](store, "it")
    assert store.names() == ["it"]
    assert type(store["it"]) is type(one)
    for other in MAKE:
        if other != kind:
            with pytest.raises(TypeError, match="'it'"):
                MAKE[other](store, "it")
    for wrong in (store.dict, store.list, store.array):
        with pytest.raises(TypeError, match="'it'"):
            wrong("it")
    if kind == "event":
        one.set()
        assert again.is_set()
        assert store["it"].is_set()
    elif kind == "rwlock":
        with one.write():
            assert not Worker(lambda: again.acquire_read(blocking=False)).end()
    elif kind == "semaphore":
        with one, again:
            assert not store["it"].acquire(blocking=False)
    else:
        with one:
            assert not Worker(lambda: again.acquire(blocking=False)).end()
    store.check()
    store.close()
    with emmap.Store(path) as later:
        assert later.names() == ["it"]
        assert type(MAKE[kind](later, "it")) is type(one)
        later.check()


def test_between_processes(store: emmap.Store, peer: Peer) -> None:
    peer("import emmap; store = emmap.Store(path); lock = store.lock('guard')")
    lock = store.lock("guard")
    with lock:
        assert not peer("lock.acquire(blocking=False)")
        peer.begin("lock.acquire()")
        until_waits(peer)
    assert peer.end()
    assert not lock.acquire(blocking=False)
    peer("lock.release()")
    with lock:
        pass
    event = store.event("ready")
    peer.begin("store.event('ready').wait()")
    event.set()
    assert peer.end()
    condition = store.condition("news")
    peer("condition = store.condition('news'); d = store.dict('d')")
    peer("def wait():\n with condition: return condition.wait_for(lambda: d.get('n'))")
    peer.begin("wait()")
    until_waits(peer)
    with condition:
        store.dict("d")["n"] = 7
        condition.notify()
    assert peer.end() == 7


def test_a_killed_owner(store: emmap.Store, peer: Peer) -> None:
    peer("import emmap; store = emmap.Store(path); store.lock('guard').acquire()")
    peer("store.semaphore('few', 2).acquire(); store.semaphore('few', 2).acquire()")
    lock, few = store.lock("guard"), store.semaphore("few", 2)
    assert not lock.acquire(blocking=False)
    assert not few.acquire(blocking=False)
    peer.kill()
    with pytest.warns(emmap.OwnerDiedWarning):
        assert lock.acquire()
    lock.release()
    assert few.acquire()
    assert few.acquire()
    few.release(2)
    store.check()


def test_a_semaphore_has_one_size(store: emmap.Store) -> None:
    store.semaphore("few", 3)
    assert store.semaphore("few", 3).value == 3
    with pytest.raises(ValueError, match="'few'"):
        store.semaphore("few", 4)
    for wrong in (-1, 2**40, "a", 1.5, None):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            store.semaphore("new", wrong)  # type: ignore[arg-type]
    assert store.names() == ["few"]


@pytest.mark.parametrize("kind", MAKE)
def test_it_stays_where_it_is(store: emmap.Store, kind: str) -> None:
    one = MAKE[kind](store, "it")
    store.dict("d")["a"] = 1
    with pytest.raises(ValueError, match="'it'"):
        del store["it"]
    with pytest.raises(ValueError, match="'it'"):
        store.rename("it", "that")
    with pytest.raises(ValueError, match="'it'"):
        store.rename("d", "it")
    assert store.names() == ["d", "it"]
    assert repr(one)


def test_not_in_a_transaction(store: emmap.Store) -> None:
    """A lock cannot be taken back."""
    with store.transaction():
        store.dict("d")
        with pytest.raises(RuntimeError, match="transaction"):
            store.lock("guard")
    assert store.names() == ["d"]
    lock = store.lock("guard")
    with store.transaction():
        assert store.lock("guard").acquire()
        assert not Worker(lambda: lock.acquire(blocking=False)).end()
    lock.release()


def test_it_is_nobodys_business_what_is_written_beside(store: emmap.Store) -> None:
    lock, event = store.lock("guard"), store.event("ready")
    d = store.dict("d")
    with lock:
        for n in range(2000):
            d[n % 100] = "x" * n
        with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
            d.clear()
            raise ZeroDivisionError
        store.flush()
        assert not Worker(lambda: store.lock("guard").acquire(blocking=False)).end()
    event.set()
    assert store.event("ready").is_set()
    store.check()


def test_it_outlives_its_store(store: emmap.Store, path: Path) -> None:
    lock = store.lock("guard")
    store.close()
    with lock, emmap.Store(path) as again:
        assert not Worker(lambda: again.lock("guard").acquire(blocking=False)).end()


def test_in_a_child(store: emmap.Store) -> None:
    lock = store.lock("guard")
    with lock:
        assert in_child(lambda: lock.acquire(blocking=False)) is False
        assert in_child(lambda: store.lock("guard").acquire(blocking=False)) is False
    assert in_child(lambda: lock.acquire(blocking=False)) is True


def test_only_read(store: emmap.Store, path: Path) -> None:
    store.event("ready").set()
    with emmap.Store(path, "r") as reading:
        assert "ready" in reading
        for make in (reading.lock, reading.event):
            with pytest.raises((KeyError, TypeError)):
                make("new")
    assert store.names() == ["ready"]


def test_taken_by_many(store: emmap.Store) -> None:
    d = store.dict("d")
    d["n"] = 0
    peers = [Peer() for _ in range(3)]
    try:
        for peer in peers:
            peer(f"import emmap; store = emmap.Store({store.path!r}); d = store.dict('d')")
            peer("def count():\n with store.lock('guard'): d['n'] = d['n'] + 1")
        for peer in peers:
            peer.begin("for i in range(300): count()")
        for peer in peers:
            peer.end()
    finally:
        for peer in peers:
            peer.kill()
    assert d["n"] == 900
