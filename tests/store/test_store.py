"""`Store`: modes, names, handles, and what it says of itself."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap
from locks.company import Worker
from mapping.peer import Peer
from mapping.proc import mapped_in
from store.company import OPEN, in_child

# Modes


def test_a_new_store(path: Path) -> None:
    with emmap.Store(path) as store:
        assert store.names() == []
        assert list(store) == []
        assert len(store) == 0
        assert "d" not in store
        assert store.path == str(path)
        assert store.mode == "a"
        assert not store.closed
        assert str(path) in repr(store)
        store.check()
    assert store.closed
    assert "closed" in repr(store)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["store"], "something was left behind"


def test_a_new_store_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        emmap.Store(path).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_what_must_be_there(path: Path, mode: str) -> None:
    with pytest.raises(FileNotFoundError, match="store"):
        emmap.Store(path, mode)
    assert not path.exists()
    emmap.Store(path).close()
    with emmap.Store(path, mode) as store:
        assert store.mode == mode
        assert store.names() == []


def test_mode_a_keeps(path: Path) -> None:
    for n in range(3):
        with emmap.Store(path, "a") as store:
            assert store.dict("d").add("n") == n + 1


def test_mode_x_makes(path: Path) -> None:
    with emmap.Store(path, "x") as store:
        store.dict("d")["a"] = 1
    with pytest.raises(FileExistsError, match="store"):
        emmap.Store(path, "x")
    with emmap.Store(path) as store:
        assert store.dict("d") == {"a": 1}


def test_mode_w_empties(path: Path, peer: Peer) -> None:
    for n in range(3):
        with emmap.Store(path, "w") as store:
            assert store.names() == []
            store.dict(f"d{n}")["a"] = 1
            with pytest.raises(emmap.InUseError, match="store"):
                emmap.Store(path, "w")
            assert store.names() == [f"d{n}"]
    peer(OPEN)
    peer("d['a'] = 1")
    with pytest.raises(emmap.InUseError, match="store"):
        emmap.Store(path, "w")
    peer("store.close()")
    peer("store = emmap.Store(path, 'r')")
    with pytest.raises(emmap.InUseError):
        emmap.Store(path, "w")
    assert peer("store.dict('d').copy()") == {"a": 1}
    peer.kill()
    with emmap.Store(path, "w") as store:
        assert store.names() == []
        store.check()


@pytest.mark.parametrize("mode", ["", "rw", "w+", "a+", "R", "rb", "c", None, 5, b"r"])
def test_other_modes_are_refused(path: Path, mode: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        emmap.Store(path, mode)
    assert not path.exists()


def test_only_read(store: emmap.Store, path: Path, d: emmap.Dict[Any, Any], peer: Peer) -> None:
    d["a"] = [1]
    store.list("l").append(1)
    store.array("grid", shape=3, dtype="i8")
    store.lock("guard")
    peer("import emmap; store = emmap.Store(path, 'r'); d = store.dict('d')")
    peer("items = store.list('l'); grid = store.array('grid')")
    assert peer("store.names()") == ["d", "grid", "guard", "l"]
    for write in (
        "d.update(b=1)",
        "d.__setitem__('a', 1)",
        "d.add('n')",
        "d.clear()",
        "d.pop('a')",
        "d.edit('a').__enter__()",
        "items.append(1)",
        "items.sort()",
        "items.edit(0).__enter__()",
        "grid.__setitem__(..., 1)",
        "store.edit('grid').__enter__()",
        "store.rename('d', 'e')",
        "store.__delitem__('d')",
    ):
        with pytest.raises(TypeError, match="read"):
            peer(write)
    for make in ("store.dict('no')", "store.list('no')", "store.array('no', shape=1)"):
        with pytest.raises(KeyError, match="no"):
            peer(make)
    assert peer("d.copy()") == {"a": [1]}
    d["a"] = [2]
    assert peer("d['a']") == [2]
    peer("s = store.snapshot(); s.__enter__()")
    d["a"] = [3]
    assert peer("s.dict('d').copy()") == {"a": [2]}
    assert peer("store.statistics().names") == 4
    peer("store.close()")
    assert d == {"a": [3]}


def test_reading_and_writing_handles_of_one_process(store: emmap.Store, path: Path) -> None:
    d = store.dict("d")
    with emmap.Store(path, "r") as reading:
        d["a"] = 1
        assert reading.dict("d") == {"a": 1}
        with pytest.raises(TypeError, match="read"):
            reading.dict("d")["a"] = 2
    d["a"] = 3
    assert d == {"a": 3}


# Names


def test_kinds(store: emmap.Store) -> None:
    d, items, grid = store.dict("d"), store.list("l"), store.array("g", shape=2, dtype="u1")
    assert store.names() == ["d", "g", "l"]
    assert sorted(store) == ["d", "g", "l"]
    assert len(store) == 3
    assert [type(store[name]) for name in store.names()] == [emmap.Dict, emmap.Array, emmap.List]
    assert (d.name, items.name, grid.name) == ("d", "l", "g")
    makers: dict[str, list[Callable[[str], Any]]] = {
        "d": [store.list, store.array, store.lock, store.event],
        "l": [store.dict, store.array, store.rwlock, store.semaphore],
        "g": [store.dict, store.list, store.condition],
    }
    for name, wrong in makers.items():
        for make in wrong:
            with pytest.raises(TypeError, match=f"'{name}'"):
                make(name)
    for missing in ("no", ""):
        with pytest.raises(KeyError):
            store[missing]
        assert missing not in store
    assert store.names() == ["d", "g", "l"]


@pytest.mark.parametrize("name", ["", "é", "a/b", "..", "x" * 512, "a\0b", "日本", " "])
def test_any_text_is_a_name(store: emmap.Store, path: Path, name: str) -> None:
    store.dict(name)["a"] = 1
    store.close()
    with emmap.Store(path) as again:
        assert again.names() == [name]
        assert again[name] == {"a": 1}


def test_a_name_that_is_too_long(store: emmap.Store) -> None:
    for name in ("x" * 513, "é" * 257, "x" * 100_000):
        for make in (store.dict, store.list, store.lock):
            with pytest.raises(ValueError, match="512 bytes"):
                make(name)
    assert store.names() == []


@pytest.mark.parametrize("name", [None, 5, b"d", ("d",), 1.5, True])
def test_what_is_no_name(store: emmap.Store, name: Any) -> None:
    uses: list[Callable[[], object]] = [
        lambda: store.dict(name),
        lambda: store.list(name),
        lambda: store.array(name, shape=1),
        lambda: store.lock(name),
        lambda: store[name],
        lambda: store.__delitem__(name),
        lambda: store.rename("d", name),
        lambda: store.rename(name, "d"),
        lambda: store.edit(name).__enter__(),
    ]
    store.dict("d")
    for use in uses:
        with pytest.raises(TypeError):
            use()
    assert store.names() == ["d"]


def test_many_names(store: emmap.Store) -> None:
    expected = [f"name{i:04}" for i in range(2000)]
    with store.transaction():
        for name in reversed(expected):
            store.dict(name)["is"] = name
    assert store.names() == expected
    assert store.statistics().names == 2000
    for name in expected[::2]:
        del store[name]
    assert store.names() == expected[1::2]
    assert all(store[name]["is"] == name for name in expected[1::2])


def test_delete(store: emmap.Store) -> None:
    with pytest.raises(KeyError, match="'no'"):
        del store["no"]
    d, items = store.dict("d"), store.list("l")
    d.update(dict.fromkeys(range(5000), "x" * 100))
    items.extend("y" * 100 for _ in range(5000))
    d["large"] = bytes(1 << 20)
    store.flush()
    used = store.statistics().used
    del store["d"], store["l"]
    assert store.names() == []
    store.flush()
    assert store.statistics().used < used / 10
    store.check()
    with pytest.raises(KeyError):
        del store["d"]
    assert not store.dict("d")


def test_rename(store: emmap.Store) -> None:
    d, items = store.dict("d"), store.list("l")
    d["a"] = 1
    items.append(1)
    store.rename("d", "new")
    assert store.names() == ["l", "new"]
    assert store.dict("new") == {"a": 1}
    with pytest.raises(KeyError, match="'d'"):
        d["a"]
    with pytest.raises(ValueError, match="'l'"):
        store.rename("new", "l")
    with pytest.raises(KeyError, match="'no'"):
        store.rename("no", "other")
    assert store.names() == ["l", "new"]
    store.rename("l", "d")
    with pytest.raises((TypeError, KeyError)):
        d["a"]
    assert store.list("d") == [1]


def test_one_commit_for_one_change_of_names(store: emmap.Store) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.dict("d"),
        lambda: store.list("l"),
        lambda: store.array("g", shape=5),
        lambda: store.rename("d", "e"),
        lambda: store.__delitem__("l"),
    ]
    for call in calls:
        before = store.statistics().transaction
        call()
        assert before < store.statistics().transaction <= before + 3
    before = store.statistics().transaction
    store.dict("e")
    store.array("g")
    assert store.statistics().transaction == before


# Handles


def test_two_handles_are_one_mapping(path: Path) -> None:
    one = emmap.Store(path)
    mapped, descriptors = mapped_in(path), len(os.listdir("/proc/self/fd"))
    link, hard = path.with_name("link"), path.with_name("hard")
    link.symlink_to(path)
    hard.hardlink_to(path)
    others = [emmap.Store(each, mode) for each in (path, link, hard) for mode in ("a", "r+", "r")]
    assert mapped_in(path) + mapped_in(hard) == mapped
    assert len(os.listdir("/proc/self/fd")) == descriptors
    one.dict("d")["a"] = 1
    assert all(other.dict("d") == {"a": 1} for other in others)
    one.close()
    others[0].dict("d")["a"] = 2
    assert all(other.dict("d") == {"a": 2} for other in others)
    for other in others:
        other.close()
    gc.collect()
    assert mapped_in(path) == 0
    with emmap.Store(path) as again:
        assert again.dict("d") == {"a": 2}


def test_a_transaction_is_one_for_two_handles(store: emmap.Store, path: Path) -> None:
    with emmap.Store(path) as other:
        d = other.dict("d")
        with store.transaction():
            store.dict("d")["a"] = 1
            d["b"] = 2
            assert d == {"a": 1, "b": 2}
            assert Worker(lambda: d.copy()).end() == {}
        assert d == {"a": 1, "b": 2}


def test_closed(store: emmap.Store, path: Path, d: emmap.Dict[Any, Any]) -> None:
    items, grid = store.list("l"), store.array("g", shape=2)
    d["a"] = 1
    store.close()
    store.close()
    assert store.closed
    uses: list[Callable[[], object]] = [
        lambda: d["a"],
        lambda: d.get("a"),
        lambda: d.__setitem__("a", 2),
        lambda: "a" in d,
        lambda: list(d),
        lambda: d.keys().__iter__(),
        lambda: len(d),
        lambda: d.add("n"),
        lambda: items.append(1),
        lambda: items[0],
        lambda: grid[...],
        lambda: grid.__setitem__(..., 1),
        store.names,
        store.snapshot,
        lambda: store.transaction().__enter__(),
        store.check,
        store.flush,
        store.statistics,
        store.__enter__,
        lambda: store.dict("d"),
        lambda: store["d"],
        lambda: "d" in store,
        lambda: store.lock("guard"),
        lambda: store.rename("d", "e"),
        lambda: store.edit("g").__enter__(),
    ]
    for use in uses:
        with pytest.raises(emmap.ClosedError, match="closed"):
            use()
    assert isinstance(repr(d), str)
    with emmap.Store(path) as again:
        assert again.dict("d") == {"a": 1}
        with pytest.raises(emmap.ClosedError):
            d["a"]


def test_nothing_is_left_of_a_closed_one(path: Path) -> None:
    emmap.Store(path).close()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with emmap.Store(path) as store, store.snapshot() as snapshot:
            store.dict("d").add("n")
            assert snapshot.names() in ([], ["d"])
        emmap.Store(path).dict("d").add("n")  # never closed
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert mapped_in(path) == 0
    with emmap.Store(path) as store:
        assert store.dict("d") == {"n": 100}


def test_interpreters_end_with_a_store_open(path: Path) -> None:
    """However it ends, what was committed is there; and close() need not be called."""
    script = """
import emmap, sys
store = emmap.Store(sys.argv[1])
d = store.dict("d")
d["a"] = [1]
iterator, snapshot = iter(d), store.snapshot()
snapshot.__enter__()
view = snapshot.dict("d").view("a")
t = store.transaction()
t.__enter__()
d["b"] = 2
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)
    with emmap.Store(path) as store:
        assert store.dict("d") == {"a": [1]}
        store.check()


# Shared memory without a file


def test_in_memory() -> None:
    with emmap.Store(None) as store:
        assert store.path is None
        d = store.dict("d")
        d.update(dict.fromkeys(range(10000), "x" * 100))
        assert in_child(lambda: d.add("n")) == 1
        assert d["n"] == 1
        store.flush()
        store.check()
        assert repr(store)
        with store.snapshot() as snapshot, store.transaction():
            d["n"] = 2
            assert snapshot.dict("d")["n"] == 1
        with emmap.Store(None) as other:
            assert other.names() == []
    for mode in ("r", "r+"):
        with pytest.raises((ValueError, FileNotFoundError)):
            emmap.Store(None, mode)
