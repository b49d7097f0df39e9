"""Transactions beside other threads and processes, signals, kills and forks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import Interrupted, Worker, signalled
from mapping.peer import Peer
from store.company import OPEN, Holder, in_child, seen_by_others, until_waits

# Beside others


def test_writes_of_another_thread_wait(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.transaction():
        d["n"] = 1
        worker = Worker(lambda: d.add("n"))
        other = Worker(lambda: store.list("l").append(1))
        until_waits(worker)
        until_waits(other)
        assert not seen_by_others(store), "a read does not wait"
        d["n"] = 10
    assert worker.end() == 11
    assert other.end() is None
    assert store.list("l") == [1]


def test_writes_of_another_process_wait(
    store: emmap.Store, d: emmap.Dict[Any, Any], peer: Peer
) -> None:
    peer(OPEN)
    with store.transaction():
        d["n"] = 1
        assert peer("dict(d)") == {}
        peer.begin("d.add('n')")
        until_waits(peer)
        d["n"] = 10
    assert peer.end() == 11


def test_transactions_are_one_after_the_other(store: emmap.Store, peer: Peer) -> None:
    program = """
def move(i):
    with store.transaction():
        d["a"] -= i
        items.append(i)
        d["b"] += i
"""
    names: dict[str, Any] = {"store": store, "d": store.dict("d"), "items": store.list("l")}
    exec(program, names)
    names["d"].update(a=0, b=0)
    peer(OPEN)
    peer(program)
    peer.begin("for i in range(300): move(i)")
    workers = [Worker(lambda: [names["move"](i) for i in range(300)]) for _ in range(2)]
    for _ in range(200):
        with store.snapshot() as snapshot:
            d = snapshot.dict("d")
            assert d["a"] + d["b"] == 0
            assert d["b"] == sum(snapshot.list("l"))
    for worker in workers:
        assert len(worker.end()) == 300
    peer.end()
    assert names["d"] == {"a": -3 * 44_850, "b": 3 * 44_850}


def test_the_wait_for_a_writer_is_interrupted_by_a_signal(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    def write() -> None:
        d["a"] = 1

    def enter() -> None:
        store.transaction().__enter__()

    main = Path(f"/proc/self/task/{threading.get_native_id()}/syscall")
    calls: list[Callable[[], object]] = [
        write,
        enter,
        lambda: d.add("a"),
        lambda: d.edit("a", 1).__enter__(),
        lambda: store.list("new"),
        store.check,
    ]
    with Holder(store.transaction()):
        for call in calls:
            with (
                pytest.raises(Interrupted),
                signalled(lambda: main.read_text().split()[0] in ("202", "98"), lambda: None),
            ):
                call()
    assert not d
    assert "new" not in store
    d["a"] = 2
    assert d == {"a": 2}


def test_signals_in_the_middle(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    """An exception out of a signal's handler drops the transaction, wherever it comes."""
    d.update(a=0, b=0)
    ends = dropped = 0

    def handle(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handle)
    try:
        while dropped < 15 or ends < 15:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                with store.transaction():
                    for n in range(60):
                        d["a"] -= 1
                        d[n] = "x" * 100
                        d["b"] += 1
                        if (ends + dropped) % 2 and n > 10:
                            break
                signal.setitimer(signal.ITIMER_REAL, 0)
                ends += 1
            except Interrupted:
                dropped += 1
            assert d["a"] + d["b"] == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    store.check()


# Killed


def test_a_killed_one_has_done_nothing(
    store: emmap.Store, d: emmap.Dict[Any, Any], peer: Peer
) -> None:
    peer(OPEN)
    d["a"] = 1
    size = store.statistics().used
    peer("t = store.transaction(); t.__enter__(); d.clear(); d.update({i: i for i in range(5000)})")
    peer(
        "items.extend(range(1000)); s = store.transaction(); s.__enter__(); store.rename('l', 'x')"
    )
    assert peer("len(d)") == 5000
    peer.kill()
    assert d == {"a": 1}
    assert store.names() == ["d", "l"]
    store.check()
    assert store.statistics().used == size
    d["b"] = 2
    assert d == {"a": 1, "b": 2}


# Forked


def test_the_child_of_a_fork_is_in_no_transaction(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    d["a"] = 1

    def write() -> None:
        d["a"] = 3

    with store.transaction() as transaction:
        d["a"] = 2
        for use in (write, lambda: d["a"], lambda: d.copy(), lambda: store.names(),
                    lambda: transaction.__exit__(None, None, None)):  # fmt: skip
            answer = in_child(use)
            assert isinstance(answer, RuntimeError), answer
        # But it can open the store anew, and read what is committed.
        assert in_child(lambda: emmap.Store(store.path).dict("d").copy()) == {"a": 1}
        assert d["a"] == 2
    assert d == {"a": 2}
    assert in_child(lambda: d.add("a")) == 3
    assert d == {"a": 3}


def test_a_fork_in_another_thread_than_the_transaction(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    with Holder(store.transaction()):
        assert in_child(lambda: d.copy()) == {}
    assert in_child(lambda: d.add("a")) == 1
    assert d == {"a": 1}
