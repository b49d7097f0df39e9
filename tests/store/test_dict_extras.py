"""`Dict` where it differs from dict: counting, editing, iteration while it changes."""

from __future__ import annotations

import gc
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import emmap
from locks.company import Worker
from mapping.peer import Peer
from store.company import OPEN

# One commit


def test_one_commit_for_one_call(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    calls: list[Callable[[], object]] = [
        lambda: d.__setitem__("a", 1),
        lambda: d.update({i: i for i in range(1000)}),
        lambda: d.update((i, i) for i in range(1000, 1010)),
        lambda: d.__ior__({"b": 1, "c": 2}),
        lambda: d.add("a"),
        lambda: d.setdefault("new", 1),
        lambda: d.pop("new"),
        lambda: d.popitem(),
        lambda: d.clear(),
    ]
    for call in calls:
        before = store.statistics().transaction
        call()
        # What is read inside a transaction takes a number, too.
        assert before < store.statistics().transaction <= before + 3


def test_no_commit_where_nothing_changes(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    before = store.statistics().transaction
    d.setdefault("a", 5)
    d.update()
    d.update({})
    d.pop("x", None)
    d.get("x")
    d.get_many(["a", "x"])
    with pytest.raises(KeyError):
        del d["x"]
    with pytest.raises(TypeError):
        d.update([("b", 1), ("c", object())])
    assert store.statistics().transaction == before


def test_update_from_a_generator_that_fails_changes_nothing(d: emmap.Dict[Any, Any]) -> None:
    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        d.update(pairs())
    assert not d


# add


def test_add_counts(d: emmap.Dict[Any, Any]) -> None:
    assert d.add("n") == 1
    assert d.add("n") == 2
    assert d.add("n", 40) == 42
    assert d.add("n", -50) == -8
    assert d.add("x", 1.5) == 1.5
    assert d.add("x") == 2.5
    assert type(d["n"]) is int
    assert type(d["x"]) is float
    assert d == {"n": -8, "x": 2.5}


@pytest.mark.parametrize("n", [0, 5, 2**31, 2**62, 2**63 - 1, -(2**63), 2**63, 2**200, -(2**64)])
def test_add_is_of_any_size(d: emmap.Dict[Any, Any], n: int) -> None:
    d["n"] = n
    for more in (1, -1, n, -n, 2**63 - 1, -(2**63), 2**63):
        before = d["n"]
        assert d.add("n", more) == before + more == d["n"]
    d.add("new", n)
    assert d["new"] == n


def test_add_of_floats(d: emmap.Dict[Any, Any]) -> None:
    assert d.add("x", math.inf) == math.inf
    assert math.isnan(d.add("x", -math.inf))
    assert math.isnan(d["x"])
    assert d.add("y", 0.1) + 0.2 == d.add("y", 0.2)


@pytest.mark.parametrize("n", ["1", None, [], b"", object(), {}])
def test_add_of_no_number_changes_nothing(d: emmap.Dict[Any, Any], n: Any) -> None:
    d["n"] = 5
    for key in ("n", "new"):
        with pytest.raises(TypeError):
            d.add(key, n)
    assert d == {"n": 5}


@pytest.mark.parametrize("value", ["1", None, [1], b"", {}])
def test_add_to_no_number_changes_nothing(d: emmap.Dict[Any, Any], value: Any) -> None:
    d["n"] = value
    with pytest.raises(TypeError):
        d.add("n")
    assert d == {"n": value}


def test_add_loses_no_count(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    peers = [Peer() for _ in range(2)]
    try:
        for peer in peers:
            peer(f"path = {store.path!r}")
            peer(OPEN)
        for peer in peers:
            peer.begin("for i in range(2000): d.add('n'); d.add('x', 0.5)")
        workers = [Worker(lambda: [d.add("n") for _ in range(2000)]) for _ in range(2)]
        for worker in workers:
            answer = worker.end()
            assert len(set(answer)) == 2000
        for peer in peers:
            peer.end()
        assert d == {"n": 8000, "x": 2000.0}
    finally:
        for peer in peers:
            peer.kill()


# get_many


def test_get_many(d: emmap.Dict[Any, Any]) -> None:
    d.update({i: str(i) for i in range(100)})
    assert d.get_many([]) == []
    assert d.get_many([5, "x", 7, 5]) == ["5", None, "7", "5"]
    assert d.get_many(iter([5, 200]), "none") == ["5", "none"]
    assert d.get_many(range(100)) == [str(i) for i in range(100)]
    for wrong in (5, None, [1, []]):
        with pytest.raises(TypeError):
            d.get_many(wrong)  # type: ignore[arg-type]


# edit


def test_edit_writes_back(d: emmap.Dict[Any, Any]) -> None:
    d["a"] = {"n": [1]}
    with d.edit("a") as value:
        value["n"].append(2)
        value["m"] = 3
        assert d["a"] == {"n": [1]}, "not before the block ends"
    assert d == {"a": {"n": [1, 2], "m": 3}}


def test_edit_of_what_is_not_there(d: emmap.Dict[Any, Any]) -> None:
    with pytest.raises(KeyError, match="'a'"), d.edit("a"):
        pass
    assert not d
    with d.edit("a", default=[]) as value:
        value.append(1)
    with d.edit("a", []) as value:
        value.append(2)
    assert d == {"a": [1, 2]}
    with d.edit("b", default=None) as nothing:
        assert nothing is None
    assert d["b"] is None


def test_edit_that_raises_writes_nothing(d: emmap.Dict[Any, Any]) -> None:
    d["a"] = [1]
    with pytest.raises(ZeroDivisionError), d.edit("a") as value:  # noqa: PT012
        value.append(2)
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), d.edit("new", default=[]) as value:
        raise ZeroDivisionError
    with pytest.raises(TypeError), d.edit("a") as value:
        value.append(object())
    assert d == {"a": [1]}
    d["a"] = 2  # nobody holds the lock


def test_edits_of_many_are_one_after_the_other(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = []
    with Peer() as peer:
        peer(f"path = {store.path!r}")
        peer(OPEN)
        peer("def edit(i):\n with d.edit('a') as value: value.append(i)")

        def work(first: int) -> None:
            for i in range(first, first + 200):
                with d.edit("a") as value:
                    value.append(i)

        peer.begin("for i in range(200): edit(i)")
        for worker in [Worker(lambda: work(1000)), Worker(lambda: work(2000))]:
            assert worker.end() is None
        peer.end()
    assert sorted(d["a"]) == [*range(200), *range(1000, 1200), *range(2000, 2200)]


def test_edit_in_a_transaction(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = [1]
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        with d.edit("a") as value:
            value.append(2)
        assert d["a"] == [1, 2]
        raise ZeroDivisionError
    assert d["a"] == [1]
    with store.transaction(), d.edit("a") as value:
        value.append(3)
    assert d["a"] == [1, 3]


# Iteration while it changes


@pytest.mark.parametrize("view", ["__iter__", "keys", "values", "items"])
@pytest.mark.parametrize("change", ["del", "clear", "overwrite", "add"])
def test_an_iterator_sees_the_moment_at_which_it_began(
    d: emmap.Dict[Any, Any], view: str, change: str
) -> None:
    content = {i: [i] for i in range(500)}
    d.update(content)
    iterator = iter(getattr(d, view)())
    seen = [next(iterator)]
    for i in range(500):
        if change == "del":
            del d[i]
        elif change == "overwrite":
            d[i] = "other"
        elif change == "add":
            d[i + 1000] = "x" * i
    if change == "clear":
        d.clear()
    seen += iterator
    assert sorted(seen) == sorted(getattr(content, view)())
    assert next(iterator, None) is None


def test_deleting_what_one_iterates_over(d: emmap.Dict[Any, Any]) -> None:
    d.update({i: i for i in range(1000)})
    for key in d:
        del d[key]
        d[key + 1000] = 0
    assert sorted(d) == list(range(1000, 2000))
    for key, value in d.items():
        d[key] = value + 1
    assert set(d.values()) == {1}


def test_iteration_beside_another_process(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.transaction():
        for i in range(300):
            d[i] = 0
    with Peer() as peer:
        peer(f"path = {store.path!r}")
        peer(OPEN)
        peer.begin("for n in range(1, 60): d.update(dict.fromkeys(range(300), n))")
        seen = 0
        while seen < 59:
            values = list(d.values())
            assert len(values) == 300
            assert len(set(values)) == 1, "half an update"
            assert values[0] >= seen
            seen = values[0]
        peer.end()


def test_iterators_pin_and_let_go(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update({i: i for i in range(100)})
    assert store.statistics().oldest_reader is None
    iterators = [iter(d), iter(d.items())]
    for iterator in iterators:
        next(iterator)
    d["a"] = 1
    oldest = store.statistics().oldest_reader
    assert oldest is not None
    assert oldest.behind == 1
    list(iterators[0])
    del iterators[:], iterator
    gc.collect()
    assert store.statistics().oldest_reader is None


def test_an_iterator_outlives_its_store(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update({i: i for i in range(1000)})
    iterator = iter(d.items())
    next(iterator)
    store.close()
    assert len(list(iterator)) == 999


def test_iterators_are_shared_by_threads(d: emmap.Dict[Any, Any]) -> None:
    d.update({i: i for i in range(5000)})
    iterator = iter(d)
    workers = [Worker(lambda: list(iterator)) for _ in range(4)]
    seen = [key for worker in workers for key in worker.end()]
    assert sorted(seen) == list(range(5000))


# Handles


def test_a_dict_that_was_deleted(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    iterator = iter(d.items())
    del store["d"]
    for use in (
        lambda: d["a"],
        lambda: d.get("a"),
        lambda: len(d),
        lambda: list(d),
        lambda: "a" in d,
        lambda: d.__setitem__("a", 1),
        lambda: d.add("a"),
        lambda: d.clear(),
    ):
        with pytest.raises(KeyError, match="'d'"):
            use()
    assert "d" not in store
    assert list(iterator) == [("a", 1)]
    store.dict("d")["b"] = 2
    assert d == {"b": 2}


def test_it_does_not_pickle(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    for what in (store, d, d.keys(), iter(d), store.list("l"), store.snapshot()):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError):
                pickle.dumps(what, protocol)
    with pytest.raises(TypeError, match="open"):
        pickle.dumps(store)
    with pytest.raises(TypeError, match="open"):
        pickle.dumps(d)
    assert pickle.loads(pickle.dumps(d.copy())) == {"a": 1}


def test_it_is_made_by_a_store_only() -> None:
    kinds: list[Any] = [emmap.Dict, emmap.List, emmap.Array, emmap.Snapshot, emmap.Transaction]
    for kind in kinds:
        for make in (kind, lambda kind=kind: kind.__new__(kind)):
            with pytest.raises(TypeError):
                make()


# Threads


def test_threads_write_and_read(d: emmap.Dict[Any, Any]) -> None:
    def work(first: int) -> bool:
        for i in range(first, first + 1000):
            d[i % 50, first] = i
            if d[i % 50, first] != i or len(d) > 200:
                return False
        return True

    for worker in [Worker(lambda i=i: work(i * 1000)) for i in range(4)]:  # type: ignore[misc]
        assert worker.end() is True
    assert len(d) == 200


def test_each_thread_sees_whole_values(d: emmap.Dict[Any, Any]) -> None:
    stop = threading.Event()
    d["a"] = bytes(5000)

    def read() -> bool:
        while not stop.is_set():
            value = d["a"]
            if len(value) != 5000 or len(set(value)) != 1:
                return False
        return True

    readers = [Worker(read) for _ in range(2)]
    for i in range(2000):
        d["a"] = bytes([i & 255]) * 5000
    stop.set()
    assert [reader.end() for reader in readers] == [True, True]
