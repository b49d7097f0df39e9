"""Python that runs in the middle of a call, and closes, writes, forks or raises there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from store.company import run

# What is run whenever a record is made from bytes, or compared after it was encoded.
act: Callable[[], object] | None = None


def interfere() -> None:
    global act
    if act is not None:
        now, act = act, None
        try:
            now()
        finally:
            act = now


@dataclasses.dataclass
class Record:
    n: int
    text: str = "r" * 50

    def __post_init__(self) -> None:
        interfere()

    def __eq__(self, other: object) -> bool:
        interfere()
        return isinstance(other, Record) and (self.n, self.text) == (other.n, other.text)

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def records(store: emmap.Store) -> Iterator[emmap.Dict[Any, Any]]:
    """A dict of lists of records, with nobody interfering before and after."""
    global act
    act = None
    yield store.dict("records", type=list[Record])
    act = None


MANY = [Record(n) for n in range(200)]


# Values that run Python while they are read and written


def test_reading_goes_on_where_the_value_is_overwritten(
    store: emmap.Store, records: emmap.Dict[Any, Any]
) -> None:
    """The bytes that are being decoded are not used again, though others are read meanwhile."""
    global act
    other, large = store.dict("other"), store.dict("large")
    other["a"] = 1

    def overwrite() -> None:
        records["a"] = []
        for n in range(20):
            assert other["a"] == 1
            large[n % 3] = b"\xff" * 15_000
            assert len(list(other.items())) == 1

    ways: list[Callable[[], Any]] = [
        lambda: records["a"],
        lambda: records.get("a"),
        lambda: records.get_many(["a"])[0],
        lambda: records.copy()["a"],
        lambda: next(iter(records.values())),
        lambda: dict(records.items())["a"],
        lambda: records.pop("a"),
        lambda: records.setdefault("a", []),
    ]
    for way in ways:
        act = None
        records["a"] = MANY
        act = overwrite
        found = way()
        act = None
        assert [record.n for record in found] == list(range(200))
        assert {record.text for record in found} == {"r" * 50}
    store.check()


def test_reading_a_list_goes_on_where_it_is_overwritten(store: emmap.Store) -> None:
    global act
    items, large = store.list("items", type=list[Record]), store.dict("large")
    ways: list[Callable[[], Any]] = [
        lambda: items[0],
        lambda: items[:][0],
        lambda: items.copy()[0],
        lambda: next(iter(items)),
        lambda: next(reversed(items)),
        lambda: items.pop(),
    ]
    for way in ways:
        act = None
        items[:] = [MANY]

        def overwrite() -> None:
            items[:] = [[]]
            for n in range(20):
                large[n % 3] = b"\xff" * 15_000

        act = overwrite
        found = way()
        act = None
        assert [record.n for record in found] == list(range(200))
    store.check()


@pytest.mark.parametrize("way", ["get", "set", "pop", "iterate", "edit", "compare", "transaction"])
def test_closed_in_the_middle(path: Path, way: str) -> None:
    """It ends in the right value or in ClosedError."""
    global act
    store = emmap.Store(path)
    records = store.dict("records", type=list[Record])
    records["a"] = MANY
    found: Any = None
    act = store.close
    try:
        if way == "get":
            found = records["a"]
        elif way == "set":
            records["b"] = MANY
        elif way == "pop":
            found = records.pop("a")
        elif way == "iterate":
            found = next(iter(records.values()))
        elif way == "compare":
            assert records == {"a": MANY}
        elif way == "edit":
            with records.edit("a") as found:
                found.append(Record(5))
        else:
            with store.transaction():
                records["b"] = MANY
                records["c"] = MANY
    except (emmap.ClosedError, RuntimeError, emmap.CorruptFileError):
        pass  # msgspec makes one of its own of any ValueError
    finally:
        act = None
    if found is not None:
        assert [record.n for record in found][:200] == list(range(200))
    with emmap.Store(path) as again:
        for value in again.dict("records", type=list[Record]).values():
            assert [record.n for record in value][:200] == list(range(200))
        again.check()


def test_writes_in_the_middle_of_a_write(store: emmap.Store, records: emmap.Dict[Any, Any]) -> None:
    global act
    other = store.dict("other")
    act = lambda: other.add("n")  # noqa: E731
    records["a"] = MANY
    records.update({"b": MANY, "c": MANY})
    records.setdefault("d", MANY)
    with store.transaction():
        records["e"] = MANY
    act = None
    assert other["n"] > 0
    assert all([record.n for record in value] == list(range(200)) for value in records.values())
    assert sorted(records) == ["a", "b", "c", "d", "e"]


def test_errors_in_the_middle(store: emmap.Store, records: emmap.Dict[Any, Any]) -> None:
    global act

    def fail() -> None:
        raise ZeroDivisionError

    records["a"] = MANY
    act = fail
    for call in (
        lambda: records["a"],
        lambda: records.pop("a"),
        lambda: list(records.values()),
        lambda: records.edit("a").__enter__(),
    ):
        with pytest.raises((ZeroDivisionError, emmap.CorruptFileError)):
            call()
    act = None
    assert list(records) == ["a"]
    records["b"] = []
    assert store.statistics().oldest_reader is None


# Iterables that do


def test_sources_that_write_and_close(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    def pairs(do: Callable[[], object]) -> Iterator[tuple[str, int]]:
        yield "a", 1
        do()
        yield "b", 2

    d.update(pairs(lambda: d.__setitem__("c", 3)))
    assert d == {"a": 1, "b": 2, "c": 3}
    d.clear()
    with pytest.raises((emmap.ClosedError, RuntimeError)):
        d.update(pairs(store.close))
    again = emmap.Store(store.path)
    assert not again.dict("d")
    with pytest.raises(emmap.ClosedError):
        again.dict("d").get_many(key for key, _ in pairs(again.close))


def test_comparisons_that_write(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    class Jealous:
        def __eq__(self, other: object) -> bool:
            d.clear()
            return False

        __hash__ = None  # type: ignore[assignment]

    d.update(dict.fromkeys(range(100), "x" * 100))
    assert Jealous() not in d.values()
    d.update(dict.fromkeys(range(100), "x" * 100))
    assert d != {i: Jealous() for i in range(100)}
    d.update(dict.fromkeys(range(100), "x" * 100))
    assert (5, Jealous()) not in d.items()
    assert not d


def test_half_an_object(path: Path) -> None:
    """What was never initialised, or twice: it raises, and does not crash."""
    script = """
        import emmap, sys
        store = emmap.Store(sys.argv[1])
        d, items, grid = store.dict("d"), store.list("l"), store.array("g", shape=3)
        d["a"], snapshot = 1, store.snapshot()
        items.append(1)
        edit, editing = d.edit("a"), store.edit("g")
        samples = [store, d, items, grid, snapshot, store.transaction(), edit, editing, iter(d),
                   iter(items), reversed(items), iter(d.items()), d.keys(), d.values(), d.items(),
                   store._file, store.statistics(), snapshot.dict("d")]
        samples += [base for each in samples for base in type(each).__mro__[1:-1]
                    if base.__module__.startswith("emmap")]
        uses = ["__enter__", "__iter__", "__next__", "__len__", "__repr__", "keys", "copy", "close",
                "clear", "popitem", "names", "check", "flush", "statistics", "figures", "reverse",
                "is_writing", "_opened", "_to_write", "_moment", "_handle", "_forked", "name",
                "shape", "dtype", "__reduce__", "__length_hint__", "snapshot", "transaction"]
        calls = [("__getitem__", 0), ("__setitem__", 0, 0), ("__delitem__", 0), ("__contains__", 0),
                 ("get", 0), ("update", {}), ("edit", 0), ("add", 0), ("view", 0), ("append", 0),
                 ("extend", [1]), ("dict", "d"), ("list", "l"), ("array", "g"), ("lock", "k"),
                 ("__exit__", None, None, None), ("__eq__", {}), ("_walk", 0), ("__array__",)]
        kinds = {each if isinstance(each, type) else type(each) for each in samples}
        for kind in sorted(kinds, key=str):
            try:
                half = kind.__new__(kind)
            except TypeError:
                continue
            for name, *arguments in [(use,) for use in uses] + calls:
                try:
                    member = getattr(half, name)
                    if callable(member):
                        member(*arguments)
                except Exception:
                    pass
        for each in samples:
            if not isinstance(each, type):
                try:
                    each.__init__()
                except Exception:
                    pass
        print(d["a"], items[0], len(grid))
        store.check()
    """
    assert run(script, path) == "1 1 3\n"


# Anywhere at all: each of these runs in a process of its own, which must not crash


def test_a_handler_that_closes(path: Path) -> None:
    script = """
        import emmap, signal, sys
        path = sys.argv[1]
        store = emmap.Store(path)
        closed = 0

        def again():
            signal.setitimer(signal.ITIMER_REAL, 0.003)

        def close(*_):
            global closed
            closed += 1
            again()
            store.close()

        signal.signal(signal.SIGALRM, close)
        again()
        while closed < 150:
            try:
                store = emmap.Store(path)
                d, items = store.dict("d"), store.list("l")
                with store.snapshot() as snapshot:
                    for n in range(50):
                        d[n] = "x" * n * 10
                        items.append(n)
                        list(d.items())
                        snapshot.names()
                    with store.transaction():
                        d.update(a=1, b=2)
                        items.clear()
                        d.pop("a")
            except (emmap.ClosedError, RuntimeError):
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        with emmap.Store(path) as store:
            store.check()
            store.dict("d")["end"] = 1
        print("done")
    """
    assert run(script, path) == "done\n"


def test_a_thread_that_closes(path: Path) -> None:
    script = """
        import emmap, sys, threading
        path = sys.argv[1]
        ends, failed = 0, []

        def work(store, started, what):
            global ends
            try:
                d, items = store.dict("d"), store.list("l")
                started.wait()
                for n in range(10 ** 9):
                    if what == 0:
                        d[n % 50] = bytes(n % 5000)
                        items[:] = range(n % 40)
                    elif what == 1:
                        list(d.items()), list(items), d.get(5)
                    elif what == 2:
                        with store.transaction():
                            d[n % 50] = n
                            items.append(n)
                    else:
                        with store.snapshot() as s:
                            v = s.dict("d").view(5)
                            s.list("l").copy()
            except (emmap.ClosedError, RuntimeError):
                ends += 1
            except KeyError as error:
                failed.append(error)
            except BaseException as error:
                failed.append(error)

        emmap.Store(path).dict("d")[5] = b"x" * 1000
        for n in range(30):
            store = emmap.Store(path)
            store.dict("d")[5] = b"x" * 1000
            started = threading.Barrier(5)
            threads = [threading.Thread(target=work, args=(store, started, i)) for i in range(4)]
            for thread in threads: thread.start()
            started.wait()
            store.names()
            store.close()
            for thread in threads: thread.join()
            assert not failed, failed
        with emmap.Store(path) as store:
            store.check()
        print(ends)
    """
    assert run(script, path) == "120\n"


def test_the_collector_that_writes(path: Path) -> None:
    script = """
        import emmap, gc, sys
        store = emmap.Store(sys.argv[1])
        d, items = store.dict("d"), store.list("l")

        class Late:
            def __init__(self): self.me = self
            def __del__(self):
                d.add("late"); d.get(5); len(items); store.names()

        gc.set_threshold(20, 1, 1)
        for n in range(3000):
            Late()
            d[n % 30] = [str(n)] * 5
            items.append((n, str(n)))
            assert d[n % 30] == [str(n)] * 5 and items[-1] == (n, str(n))
            if n % 10 == 0:
                assert len([*d.items()]) <= 31
                with store.transaction():
                    d.update(dict.fromkeys("abc", [n]))
                    items.pop(0)
                for name in "abc": del d[name]
        gc.collect()
        store.check()
        print(d["late"])
    """
    assert run(script, path) == "3000\n"


def test_a_handler_that_forks(path: Path) -> None:
    script = """
        import emmap, os, signal, sys
        store = emmap.Store(sys.argv[1])
        d = store.dict("d")
        d.update({i: 0 for i in range(50)})
        parent, children, bad = os.getpid(), 0, 0

        def again():
            signal.setitimer(signal.ITIMER_REAL, 0.003)

        def fork(*_):
            global children, bad
            pid = os.fork()
            if pid == 0:
                try:
                    # In the child of one that writes: it sees what is committed, or is told.
                    try:
                        ok = len(d) == 50 and len(set(d.values())) == 1
                    except RuntimeError:
                        ok = emmap.Store(sys.argv[1], "r").dict("d").get(7) is not None
                    os._exit(0 if ok else 3)
                except BaseException as error:
                    print(repr(error), file=sys.stderr)
                    os._exit(4)
            children += 1
            bad += os.waitpid(pid, 0)[1] != 0
            again()

        signal.signal(signal.SIGALRM, fork)
        again()
        n = 0
        while children < 60:
            n += 1
            d.update(dict.fromkeys(range(50), n))
            with store.transaction():
                for i in range(50):
                    d[i] = "y" * (n % 100)
            assert len(set(d.values())) == 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        store.check()
        print(bad)
    """
    assert run(script, path) == "0\n"
