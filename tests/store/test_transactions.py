"""Transactions: all or nothing, in one another, beside others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import Worker
from mapping.peer import Peer
from mapping.small_disk import run_on_small_disk
from store.company import OPEN, run, seen_by_others

# All or nothing


def test_nothing_is_seen_before_the_end(
    store: emmap.Store, d: emmap.Dict[Any, Any], peer: Peer
) -> None:
    peer(OPEN)
    d["a"] = 1
    before = store.statistics().transaction
    with store.transaction():
        d["a"] = 2
        d["b"] = 3
        store.list("new").append(1)
        assert d == {"a": 2, "b": 3}
        assert len(d) == 2
        assert store.names() == ["d", "l", "new"]
        assert seen_by_others(store) == {"a": 1}
        assert peer("d.copy()") == {"a": 1}
        assert peer("store.names()") == ["d", "l"]
    assert d == {"a": 2, "b": 3}
    assert seen_by_others(store) == {"a": 2, "b": 3}
    assert peer("d.copy()") == {"a": 2, "b": 3}
    assert store.statistics().transaction > before


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError]
)
def test_an_exception_drops_all(
    store: emmap.Store, d: emmap.Dict[Any, Any], error: type[BaseException]
) -> None:
    d["a"] = 1
    items, grid = store.list("l"), store.array("grid", shape=3, dtype="i8")
    items.extend([1, 2, 3])
    before = store.statistics().transaction
    with pytest.raises(error), store.transaction():  # noqa: PT012
        d.clear()
        d.update({i: i for i in range(1000)})
        items.reverse()
        items.append(4)
        grid[...] = 7
        store.dict("new")["a"] = 1
        store.rename("l", "renamed")
        del store["grid"]
        raise error
    assert d == {"a": 1}
    assert items == [1, 2, 3]
    assert list(grid) == [0, 0, 0]
    assert store.names() == ["d", "grid", "l"]
    assert store.statistics().transaction == before
    d["b"] = 2
    assert d == {"a": 1, "b": 2}


def test_savepoints(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.transaction():
        d["a"] = 1
        with store.transaction():
            d["b"] = 2
            with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
                d["a"] = 9
                del d["b"]
                d["c"] = 9
                raise ZeroDivisionError
            assert d == {"a": 1, "b": 2}
            d["d"] = 4
        with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
            with store.transaction():
                d.clear()
            assert not d
            raise ZeroDivisionError
        assert d == {"a": 1, "b": 2, "d": 4}
        assert not seen_by_others(store)
    assert d == {"a": 1, "b": 2, "d": 4}


@pytest.mark.parametrize("fails", [None, 0, 1, 3, 48])
def test_many_levels(store: emmap.Store, d: emmap.Dict[Any, Any], fails: int | None) -> None:
    """An exception at one level drops that and those inside."""
    items = store.list("l")

    def work(level: int) -> None:
        with store.transaction():
            d[level] = level
            d["last"] = level
            items.append(level)
            if level < 49:
                try:
                    work(level + 1)
                except ZeroDivisionError:
                    if level != fails:
                        raise
            elif fails is not None:
                raise ZeroDivisionError

    work(0)
    last = 49 if fails is None else fails
    assert items == list(range(last + 1))
    assert d == {i: i for i in range(last + 1)} | {"last": last}


def test_one_that_changes_nothing_commits_nothing(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    d["a"] = 1
    before = store.statistics().transaction
    with store.transaction():
        assert d["a"] == 1
        with store.transaction():
            pass
    assert store.statistics().transaction == before


def test_a_rolled_back_one_costs_no_space(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update(dict.fromkeys(range(1000), "x" * 100))

    def work() -> None:
        with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
            d.clear()
            for i in range(5000):
                d[i] = "y" * 200
                if i % 1000 == 0:
                    with pytest.raises(KeyError), store.transaction():  # noqa: PT012
                        d.clear()
                        d["x"] = "z" * 100_000
                        raise KeyError
            raise ZeroDivisionError

    work()
    size = store.statistics().size
    for _ in range(10):
        work()
    assert store.statistics().size == size
    assert len(d) == 1000


def test_what_was_made_in_a_dropped_one(store: emmap.Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        d, items = store.dict("new"), store.list("items")
        d["a"] = 1
        items.append(1)
        raise ZeroDivisionError
    for use in (lambda: d["a"], lambda: len(items), lambda: d.clear(), lambda: items.append(1)):
        with pytest.raises(KeyError):
            use()
    assert not store.names()
    store.list("new").append(1)
    with pytest.raises((KeyError, TypeError)):
        d["a"]


# Misuse


def test_each_is_used_once_and_in_order(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    transaction = store.transaction()
    with pytest.raises(RuntimeError):
        transaction.__exit__(None, None, None)
    with transaction:
        d["a"] = 1
        with pytest.raises(RuntimeError):
            transaction.__enter__()
    with pytest.raises(RuntimeError):
        transaction.__exit__(None, None, None)
    assert d == {"a": 1}


def test_they_end_in_order(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    outer, inner = store.transaction(), store.transaction()
    outer.__enter__()
    d["a"] = 1
    inner.__enter__()
    d["b"] = 2
    with pytest.raises(RuntimeError):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)
    assert d == {"a": 1, "b": 2}


def test_it_belongs_to_its_thread(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.transaction() as transaction:
        d["a"] = 1
        answer = Worker(lambda: store.transaction().__exit__(None, None, None)).end()
        assert isinstance(answer, RuntimeError)
        if transaction is not None:
            answer = Worker(lambda: transaction.__exit__(None, None, None)).end()
            assert isinstance(answer, RuntimeError)
        assert seen_by_others(store) == {}
    assert d == {"a": 1}


def test_a_generator_that_is_dropped_rolls_back(
    store: emmap.Store, d: emmap.Dict[Any, Any]
) -> None:
    def steps() -> Iterator[int]:
        with store.transaction():
            d["a"] = 1
            yield 1

    generator = steps()
    assert next(generator) == 1
    assert d == {"a": 1}
    del generator
    assert not d
    assert Worker(lambda: d.add("n")).end() == 1


def test_one_that_is_never_left_ends_with_its_thread_or_later(store: emmap.Store) -> None:
    """Nobody waits for ever for a thread that has gone."""
    d = store.dict("d")

    def work() -> None:
        transaction = store.transaction()
        transaction.__enter__()
        d["a"] = 1

    assert Worker(work).end() is None
    assert Worker(lambda: d.add("n")).end() == 1
    assert d == {"n": 1}


# Iterators


def test_iterators_in_a_transaction(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    d.update(dict.fromkeys(range(100), 0))
    items = store.list("l")
    before = iter(d.items())
    with store.transaction():
        d.update(dict.fromkeys(range(100), 1))
        items.extend(range(100))
        inside, inside_items = iter(d.items()), iter(items)
        seen, seen_items = [next(inside)], [next(inside_items)]
        d.clear()
        items.reverse()
        with store.transaction():
            d["x"] = 5
            seen += inside
        seen_items += inside_items
        assert sorted(seen) == [(i, 1) for i in range(100)]
        assert seen_items == list(range(100))
        ends = [iter(d), iter(d.items()), iter(d.values()), iter(items), reversed(items)]
        next(ends[3])
    for iterator in ends:
        with pytest.raises(RuntimeError):
            next(iterator)
    assert sorted(before) == [(i, 0) for i in range(100)]


def test_iterators_of_a_dropped_savepoint(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.transaction():
        d.update(dict.fromkeys(range(500), 0))
        outer = iter(d.values())
        next(outer)
        with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
            d.update(dict.fromkeys(range(500), "y" * 50))
            inner = iter(d.values())
            next(inner)
            raise ZeroDivisionError
        d.update(dict.fromkeys(range(500), "z" * 50))
        with pytest.raises(RuntimeError):
            list(inner)
        try:
            rest = list(outer)
        except RuntimeError:
            rest = [0] * 499
        assert rest == [0] * 499


def test_changing_what_one_iterates_over(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    with store.transaction():
        d.update(dict.fromkeys(range(1000), 0))
        for key, value in d.items():
            d[key] = value + 1
            d[key + 1000] = "x" * 30
            if key % 3 == 0:
                del d[key]
    assert sum(value for value in d.values() if type(value) is int) == 666
    assert len(d) == 1666


# Too large


def test_too_large_for_memory(path: Path) -> None:
    script = """
        import emmap, resource, sys
        store = emmap.Store(sys.argv[1], reserve=32 << 20)
        d = store.dict("d")
        d.update({i: "x" * 100 for i in range(1000)})
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + (100 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for value in (bytes(1 << 20), bytes(5000)):
            try:
                with store.transaction():
                    d["a"] = 1
                    for i in range(10 ** 6):
                        d[i] = value
            except MemoryError as error:
                print(isinstance(error, emmap.AddressSpaceError))
            assert len(d) == 1000 and d[999] == "x" * 100
            store.check()
            with store.transaction():
                d["b"] = 5
                del d["b"]
        store.close()
        with emmap.Store(sys.argv[1]) as store:
            assert len(store.dict("d")) == 1000
    """
    assert run(script, path) == "True\n" * 2


FULL = """
import sys
sys.path.insert(0, sys.argv[1])
import emmap, errno, os
from mapping.peer import Peer
store = emmap.Store("store")
d, items = store.dict("d"), store.list("l")
d.update({i: "x" * 100 for i in range(1000)})
items.extend(range(1000))
with Peer() as other:
    other("store = emmap.Store('store'); d = store.dict('d')")
    for size in (10, 5000, 1 << 20, 64 << 20):
        value = bytes(size)
        try:
            with store.transaction():
                items.clear()
                for i in range(10 ** 7):
                    d[i] = value
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            assert "store" in str(error), error
        else:
            raise AssertionError
        for each in (d, other("d.copy()")):
            assert len(each) == 1000 and each[999] == "x" * 100
        assert items == list(range(1000))
        store.check()
        with store.transaction():
            d["b"] = 5
            del d["b"]
        other("d.add('c')")
        other("d.pop('c')")
        store.flush()
store.close()
with emmap.Store("store") as store:
    assert store.list("l") == list(range(1000)) and len(store.dict("d")) == 1000
    store.check()
print("done")
"""


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4"])
def test_too_large_for_the_disk(tmp_path: Path, filesystem: str) -> None:
    assert run_on_small_disk(FULL, tmp_path, "16M", filesystem) == "done\n"


def test_a_savepoint_too_large_for_the_disk(tmp_path: Path) -> None:
    script = """
import emmap
store = emmap.Store("store")
d = store.dict("d")
with store.transaction():
    d["a"] = 1
    try:
        with store.transaction():
            for i in range(10 ** 7):
                d[i] = bytes(1000)
    except OSError:
        print(len(d))
    d["b"] = 2
print(dict(d))
store.check()
"""
    assert run_on_small_disk(script, tmp_path, "16M") == "1\n{'a': 1, 'b': 2}\n"


def test_nothing_is_left_of_the_process(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    """Ten thousand transactions, half of them dropped, leave no descriptor and no memory."""
    descriptors = len(os.listdir("/proc/self/fd"))
    d.update({i: i for i in range(100)})

    def work(times: int) -> None:
        for n in range(times):
            try:
                with store.transaction(), store.transaction():
                    d[n % 100] = n
                    if n % 2:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass

    work(1000)
    before = memory()
    work(9000)
    assert memory() - before < 8 << 20
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(d) == 100


def memory() -> int:
    """Bytes of anonymous memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError
