"""Snapshots: one moment, for as long as it is wanted, and what that costs others."""

from __future__ import annotations

import gc
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emmap
from locks.company import Worker, is_stopped, until
from mapping.peer import Peer
from store.company import OPEN, in_child, seen_by_others

MB = 1 << 20


# One moment


def test_one_moment(store: emmap.Store, d: emmap.Dict[Any, Any], peer: Peer) -> None:
    items, grid = store.list("l"), store.array("grid", shape=3, dtype="i8")
    d["a"] = 1
    items.append(1)
    with store.snapshot() as snapshot:
        peer(OPEN)
        peer("d.update(a=2, b=3); items.extend([2, 3]); del store['grid']; store.rename('l', 'm')")
        store.dict("new")
        for _ in range(2):
            assert snapshot.names() == ["d", "grid", "l"]
            assert list(snapshot) == ["d", "grid", "l"]
            assert len(snapshot) == 3
            assert "l" in snapshot
            assert "m" not in snapshot
            assert snapshot.dict("d") == snapshot["d"] == {"a": 1}
            assert snapshot.list("l") == snapshot["l"] == [1]
            assert list(snapshot.array("grid")) == list(snapshot["grid"]) == [0, 0, 0]
            assert snapshot.dict("d").get("b") is None
    assert d == {"a": 2, "b": 3}
    assert store.names() == ["d", "m", "new"]
    assert items.name == "l"
    with pytest.raises(KeyError):
        grid[...]


def test_what_is_not_there_is_not_made(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.snapshot() as snapshot:
        for make in (snapshot.dict, snapshot.list, snapshot.array, snapshot.__getitem__):
            with pytest.raises(KeyError, match="'no'"):
                make("no")
        for wrong in (snapshot.list, snapshot.array):
            with pytest.raises(TypeError, match="'d'"):
                wrong("d")
        assert snapshot.names() == ["d"]
    assert store.names() == ["d"]
    assert d == {}


def test_it_is_read_only(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    store.list("l").append(1)
    store.array("grid", shape=2, dtype="u1")
    with store.snapshot() as snapshot:
        sd, sl, sa = snapshot.dict("d"), snapshot.list("l"), snapshot.array("grid")
        for write in (
            lambda: sd.__setitem__("a", 2),
            lambda: sd.add("a"),
            lambda: sd.edit("a").__enter__(),
            lambda: sd.update(b=1),
            lambda: sl.append(2),
            lambda: sl.edit(0).__enter__(),
            lambda: sl.sort(),
            lambda: sa.__setitem__(..., 1),
        ):
            with pytest.raises(TypeError, match="snapshot"):
                write()
        assert not hasattr(snapshot, "__delitem__")
        d["a"] = 3
        assert sd == {"a": 1}


def test_it_is_used_in_its_block(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    with store.snapshot() as snapshot:
        sd = snapshot.dict("d")
    for use in (
        lambda: snapshot.dict("d"),
        lambda: snapshot.names(),
        lambda: sd["a"],
        lambda: sd.view("a"),
        lambda: len(sd),
        lambda: list(sd),
        lambda: snapshot.__enter__(),
    ):
        with pytest.raises((emmap.ClosedError, RuntimeError)):
            use()


def test_many_at_once_each_of_its_moment(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    snapshots = []
    for n in range(100):
        d["n"] = n
        d[n] = "x" * n
        snapshot = store.snapshot()
        snapshot.__enter__()
        snapshots.append(snapshot)
    random.Random(3).shuffle(snapshots)
    for snapshot in snapshots:
        sd = snapshot.dict("d")
        n = sd["n"]
        assert sd == {i: "x" * i for i in range(n + 1)} | {"n": n}
        snapshot.__exit__(None, None, None)
        d.update(dict.fromkeys(range(100), n))
        store.flush()
    assert store.statistics().oldest_reader is None


def test_a_transaction_takes_none(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    with store.snapshot() as snapshot, store.transaction():
        d["a"] = 2
        assert snapshot.dict("d") == {"a": 1}
        with pytest.raises(RuntimeError, match="committed"):
            store.snapshot()
        assert Worker(lambda: store.snapshot()["d"]["a"]).end() == 1
    assert d == {"a": 2}


# Views outlive the block


def test_views_outlive_all(store: emmap.Store, d: emmap.Dict[Any, Any], path: Path) -> None:
    array = np.arange(10_000)
    d["array"], d["bytes"] = array, b"x" * 10_000
    store.list("l").append(b"y" * 10_000)
    with store.snapshot() as snapshot:
        views = [
            snapshot.dict("d").view("array"),
            snapshot.dict("d").view("bytes"),
            snapshot.list("l").view(0),
        ]
    part = views[1][10:20]
    del snapshot
    for n in range(20):
        d["array"], d["bytes"] = array + n, bytes([n]) * 10_000
        store.flush()
    assert store.statistics().oldest_reader is not None
    del store["d"], store["l"]
    store.close()
    gc.collect()
    with emmap.Store(path) as other:
        other.dict("d").update(dict.fromkeys(range(100), b"z" * 10000))
        assert (views[0] == array).all()
        assert views[1] == b"x" * 10_000
        assert views[2] == b"y" * 10_000
        del views
        gc.collect()
        assert part == b"x" * 10
        del part
        gc.collect()
        assert other.statistics().oldest_reader is None
        other.check()


# What they cost


def test_old_ones_keep_only_what_they_can_reach(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    """Ten times the data is overwritten elsewhere while one is held, and the file hardly grows."""
    kept, changed = b"k" * 1000, 2000
    d.update(dict.fromkeys(range(1000), kept))
    other = store.dict("other")
    other.update(dict.fromkeys(range(changed), b"a" * 1000))
    store.flush()
    with store.snapshot() as snapshot:
        for i in range(changed):
            other[i] = b"b" * 1000
        store.flush()
        size = store.statistics().size
        for n in range(10):
            for i in range(changed):
                other[i] = bytes([n]) * 1000
            store.flush()
        assert store.statistics().size <= size + 6 * MB
        assert store.statistics().held < 4 * MB
        assert snapshot.dict("d")[5] == kept
        assert set(snapshot.dict("other").values()) == {b"a" * 1000}
    for i in range(changed):
        other[i] = b"c" * 1000
    assert store.statistics().size <= size + 6 * MB


def test_what_a_reader_held_is_used_again(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update({i: bytes(1000) for i in range(1000)})
    sizes = []
    for _ in range(8):
        with store.snapshot() as snapshot:
            for i in range(1000):
                d[i] = bytes(1000)
            assert len(snapshot.dict("d")) == 1000
        store.flush()
        sizes.append(store.statistics().size)
    assert sizes[-1] <= sizes[2] + 2 * MB
    store.check()


# Readers who stop or die


READ = """
def begin():
    global snapshot
    snapshot = store.snapshot()
    snapshot.__enter__()
    return len(snapshot.dict('d'))
"""


def test_a_stopped_reader_stops_nobody(
    store: emmap.Store, d: emmap.Dict[Any, Any], peer: Peer
) -> None:
    d.update(dict.fromkeys(range(1000), b"a" * 500))
    peer(OPEN)
    peer(READ)
    assert peer("begin()") == 1000
    began = store.statistics().transaction
    os.kill(peer.process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(peer.process.pid))
    for n in range(5):
        for i in range(1000):
            d[i] = bytes([n]) * 500
        store.flush()
    statistics = store.statistics()
    oldest = statistics.oldest_reader
    assert oldest is not None
    assert oldest.pid == peer.process.pid
    assert oldest.transaction == began
    assert oldest.behind == statistics.transaction - began == 5000
    assert statistics.readers >= 1
    os.kill(peer.process.pid, signal.SIGCONT)
    assert peer("set(snapshot.dict('d').values())") == {b"a" * 500}
    peer("snapshot.__exit__(None, None, None)")
    assert store.statistics().oldest_reader is None


def test_readers_are_told_of(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    statistics = store.statistics()
    assert statistics.oldest_reader is None
    assert statistics.readers == 0
    before = time.time()
    with store.snapshot():
        oldest = store.statistics().oldest_reader
        assert oldest is not None
        assert oldest.pid == os.getpid()
        assert oldest.behind == 0
        assert oldest.since is not None
        assert before - 1 <= oldest.since <= time.time() + 1
        d["a"] = 2
        with store.snapshot():
            oldest = store.statistics().oldest_reader
            assert oldest is not None
            assert oldest.behind == 1
            assert store.statistics().readers == 2
    assert store.statistics().readers == 0


def test_killed_readers_are_forgotten(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update({i: bytes(500) for i in range(1000)})
    with Peer() as last:
        last(f"path = {store.path!r}")
        last(OPEN)
        last(READ)
        last("begin()")
        for _ in range(5):
            with Peer() as peer:
                peer(f"path = {store.path!r}")
                peer(OPEN)
                peer(READ)
                peer("views = [begin() for i in range(20)]")
        for i in range(1000):
            d[i] = b"1" * 500
        oldest = store.statistics().oldest_reader
        assert oldest is not None
        assert oldest.pid == last.process.pid
        assert store.statistics().readers <= 2
    assert store.statistics().oldest_reader is None
    store.flush()
    size = store.statistics().size
    for _ in range(10):
        for i in range(1000):
            d[i] = b"2" * 500
    assert store.statistics().size <= size + 4 * MB


def test_a_reader_killed_in_the_middle_of_reads(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    d.update({i: bytes(500) for i in range(300)})
    for _ in range(5):
        with Peer() as peer:
            peer(f"path = {store.path!r}")
            peer(OPEN)
            peer.begin("while True: list(d.items()); d[5]")
            for i in range(300):
                d[i] = bytes([i & 255]) * 500
    assert store.statistics().oldest_reader is None
    store.check()


# Forks


def test_a_fork_with_a_snapshot(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    """The child reads it, whatever the parent does; and it is the child's to end."""
    d.update(dict.fromkeys(range(500), b"a" * 1000))
    ready_reader, ready = os.pipe()
    go, go_writer = os.pipe()
    with store.snapshot() as snapshot:
        sd = snapshot.dict("d")
        view = sd.view(5)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.write(ready, b"x")
                os.close(go_writer)
                os.read(go, 1)
                assert set(sd.values()) == {b"a" * 1000}
                assert view == b"a" * 1000
                assert snapshot.names() == ["d"]
                with store.snapshot() as now:
                    assert set(now.dict("d").values()) == {bytes([9]) * 1000}
                snapshot.__exit__(None, None, None)
                view.release()
                assert d.add("n") == 1
                status = 0
            finally:
                os._exit(status)
    del snapshot, sd
    view.release()
    os.read(ready_reader, 1)
    for n in range(10):
        d.update({i: bytes([n]) * 1000 for i in range(500)})
        store.flush()
    oldest = store.statistics().oldest_reader
    assert oldest is not None, "the child's has gone with the parent's"
    assert oldest.pid == pid
    os.close(go_writer)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    for pipe in (ready_reader, ready, go):
        os.close(pipe)
    assert store.statistics().oldest_reader is None
    assert d["n"] == 1


def test_the_child_ends_a_snapshot_that_the_parent_keeps(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    d.update(dict.fromkeys(range(500), b"a" * 1000))
    with store.snapshot() as snapshot:

        def work() -> int:
            snapshot.__exit__(None, None, None)
            return len(d)

        assert in_child(work) == 500
        for n in range(5):
            d.update({i: bytes([n]) * 1000 for i in range(500)})
            store.flush()
        assert set(snapshot.dict("d").values()) == {b"a" * 1000}


def test_a_fork_with_an_iterator(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update({i: i for i in range(100)})
    iterator = iter(d)
    next(iterator)
    answer = in_child(lambda: list(iterator))
    assert isinstance(answer, RuntimeError) or len(answer) == 99
    assert len(list(iterator)) == 99


def test_forks_while_threads_read_and_write(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update(dict.fromkeys(range(100), 0))
    many = store.dict("many")
    stop: list[int] = []

    def write() -> None:
        n = 0
        while not stop:
            n += 1
            d.update(dict.fromkeys(range(100), n))

    def drop() -> None:
        """Much of this runs without the interpreter's lock."""
        while not stop:
            many.update(dict.fromkeys(range(3000), "x" * 100))
            many.clear()
            store.flush()

    def read() -> None:
        while not stop:
            assert len(set(d.values())) == 1

    def in_the_child() -> int:
        assert len(set(d.values())) == 1
        with store.snapshot() as snapshot:
            assert len(set(snapshot.dict("d").values())) == 1
        store.dict("third").update(dict.fromkeys(range(500), "y" * 100))
        store.dict("third").clear()
        return int(store.dict("other").add("n"))

    workers = [Worker(write), Worker(drop), Worker(read)]
    for n in range(30):
        assert in_child(in_the_child) == n + 1
    stop.append(1)
    assert [worker.end() for worker in workers] == [None] * 3
    assert seen_by_others(store, "other") == {"n": 30}


# Many


def test_thousands(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    """As many as there are pins, and more: then an error that says so, and no harm."""
    d["a"] = 1
    snapshots: list[Any] = []
    told: list[str] = []
    try:
        for n in range(2500):
            snapshot = store.snapshot()
            snapshot.__enter__()
            snapshots.append(snapshot)
            d["a"] = n
    except OSError as error:
        told.append(str(error))
    assert len(snapshots) >= 2000
    assert all("reader" in what for what in told)
    for n, snapshot in enumerate(snapshots):
        assert snapshot.dict("d")["a"] == (n - 1 if n else 1)
    assert d["a"] >= 1998
    d["b"] = 1
    assert store.statistics().readers == len(snapshots)
    for snapshot in snapshots:
        snapshot.__exit__(None, None, None)
    assert store.statistics().readers == 0
    with store.snapshot() as snapshot:
        assert snapshot.dict("d")["b"] == 1
