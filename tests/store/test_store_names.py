"""Names that are made by many at once, and lists whose values act while they are written."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import until
from mapping.peer import Peer

# Where the word of the writer's lock lies (format.h), and its bit that says that somebody waits.
WORD, WAITERS = (64 << 10) + 64 + 8, 1
NAMES = 500


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "store")


def somebody_waits_to_write(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(WORD)
        return bool(file.read(1)[0] & WAITERS)


def test_a_container_is_made_while_another_makes_it(path: str) -> None:
    """Both have seen that it is not there; the second one finds it when it is its turn."""
    with emmap.Store(path) as store, Peer() as peer:
        peer(f"store = emmap.Store({path!r})")
        with store.transaction():
            for name, make in (("d", store.dict), ("l", store.list)):
                make(name)
            store["d"]["ours"] = 1
            store["l"].append(1)
            peer.begin("store.dict('d')['theirs'] = 2; store.list('l').append(2)")
            until(lambda: somebody_waits_to_write(path))
        peer.end()
        assert store["d"] == {"ours": 1, "theirs": 2}
        assert store["l"] == [1, 2]
        store.check()


def test_locks_are_made_once(path: str) -> None:
    with emmap.Store(path) as store:
        code = f"[store.lock(str(n)).offset for n in range({NAMES})]"
        with Peer() as one, Peer() as other:
            for peer in (one, other):
                peer(f"store = emmap.Store({path!r})")
            for peer in (one, other):
                peer.begin(code)
            found, again = one.end(), other.end()
        assert found == again
        assert len(set(found)) == NAMES
        store.check()


def test_a_lock_pickles_by_reference(path: str) -> None:
    with emmap.Store(path) as store, Peer() as peer:
        lock = store.lock("lock")
        peer(f"import pickle; lock = pickle.loads({pickle.dumps(lock)!r})")
        assert peer("lock.acquire()")
        assert not lock.acquire(blocking=False)
        peer("lock.release()")
        assert lock.acquire(blocking=False)
        lock.release()


class Acting:
    """A value that does something when it is pickled."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __reduce__(self) -> tuple[Any, ...]:
        self.act()
        return str, ("acted",)


def test_values_that_act_while_they_are_written(path: str) -> None:
    """They do it in the same transaction; what no longer fits is not written at all."""
    with emmap.Store(path, codec="pickle") as store:
        numbers: emmap.List[Any] = store.list("numbers")
        numbers.extend(range(10))
        with pytest.raises(RuntimeError, match="changed"):
            numbers[5:8] = [Acting(numbers.clear)]
        assert numbers == list(range(10))
        numbers[8:] = [Acting(lambda: numbers.append(10))]
        assert numbers == [*range(8), "acted", 10]
        numbers[0] = Acting(numbers.pop)
        assert numbers == ["acted", *range(1, 8), "acted"]
        with pytest.raises(IndexError):
            numbers[8] = Acting(numbers.clear)
        numbers.extend([1, 2])
        with pytest.raises(KeyError, match="numbers"):
            numbers[0] = Acting(lambda: store.__delitem__("numbers"))
        assert "numbers" not in store
        store.check()


def test_a_key_that_changes_the_list_while_it_is_sorted(path: str) -> None:
    with emmap.Store(path) as store:
        numbers: emmap.List[int] = store.list("numbers")
        numbers.extend([3, 1, 2])

        def key(value: int) -> int:
            numbers[0] = 7
            return value

        with pytest.raises(ValueError, match="modified during sort"):
            numbers.sort(key=key)
        assert numbers == [3, 1, 2]
        store.check()


def swap(store: emmap.Store) -> None:
    """Renames in a transaction that fails."""
    with store.transaction():
        store.rename("a", "c")
        store.rename("b", "a")
        assert store.names() == ["a", "c"]
        assert store["a"] == [2]
        del store["c"]
        raise LookupError


def test_a_rename_in_a_transaction(path: str) -> None:
    with emmap.Store(path) as store:
        store.dict("a")[1] = "one"
        store.list("b").append(2)
        with pytest.raises(LookupError):
            swap(store)
        assert (store["a"], store["b"]) == ({1: "one"}, [2])
        with store.transaction():
            store.rename("a", "c")
            with pytest.raises(ValueError, match="there already"):
                store.rename("b", "c")
            with pytest.raises(KeyError):
                store.rename("a", "d")
        assert (store["c"], store.names()) == ({1: "one"}, ["b", "c"])
        store.check()


def test_close_flushes_what_was_written(path: str) -> None:
    with emmap.Store(path) as store, emmap.Store(path, "r") as reader:
        store.dict("d")[1] = 1
        reader.close()
        assert store.statistics().unflushed > 0
        store.close()
    with emmap.Store(path, "r") as store:
        assert store.statistics().unflushed == 0
        assert store["d"] == {1: 1}


def test_close_in_a_transaction_is_refused(path: str) -> None:
    with emmap.Store(path) as store:
        with store.transaction():
            store.dict("d")[1] = 1
            with pytest.raises(RuntimeError, match="transaction"):
                store.close()
            assert not store.closed
        assert store["d"] == {1: 1}
