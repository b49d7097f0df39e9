"""Values in dicts and lists: all that the codec knows, typed ones, large ones, views of them."""

from __future__ import annotations

import dataclasses
import random
import resource
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import emmap
from codec.samples import ARRAYS, SAMPLES, same

MB = 1 << 20


@dataclasses.dataclass
class User:
    name: str
    age: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Job(msgspec.Struct):
    number: int
    owner: User | None = None


ANN = User("Ann", 30, ["a"])


def test_all_kinds_come_back(store: emmap.Store, path: Path) -> None:
    d, items = store.dict("d"), store.list("l")
    with store.transaction():
        for i, value in enumerate(SAMPLES):
            d[i] = value
            items.append(value)
            assert same(d[i], value)
    store.close()
    with emmap.Store(path) as again:
        assert all(same(again.dict("d")[i], value) for i, value in enumerate(SAMPLES))
        assert same(again.list("l").copy(), SAMPLES)
        assert same(again.dict("d").get_many(range(len(SAMPLES))), SAMPLES)
        again.check()


def test_each_size_of_a_value(store: emmap.Store) -> None:
    """Around all limits: inline, in a slot, in a block of its own; grown and shrunk."""
    sizes = [
        0,
        1,
        8,
        13,
        14,
        15,
        16,
        17,
        100,
        255,
        256,
        447,
        448,
        449,
        960,
        1000,
        *range(1015, 1030),
    ]
    sizes += [4095, 4096, 4097, 65535, 65536, 65537, 300_000]
    d, items = store.dict("d"), store.list("l")
    items.extend([None] * 3)
    chance = random.Random(2)
    for kind in (bytes, str):
        for size in [*sizes, *reversed(sizes), *chance.sample(sizes, len(sizes))]:
            value: Any = chance.randbytes(size)
            if kind is str:
                value = value.hex()[:size]
            d["k"] = d["long key" * 200] = value
            items[1] = value
            assert d["k"] == d["long key" * 200] == items[1] == value
        store.check()


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 1024, 10_000, 60_000, 65_535])
def test_long_keys(store: emmap.Store, size: int) -> None:
    d = store.dict("d")
    for key in ("k" * size, b"k" * size, ("k" * (size // 2), 5)):
        d[key] = size
        assert d[key] == size
        assert key in d
    assert len(d) == 3
    assert sum(d.values()) == 3 * size


def test_a_key_that_is_too_long(store: emmap.Store) -> None:
    d = store.dict("d")
    for key in ("k" * 70_000, b"k" * (1 << 20), ("k" * 40_000, "k" * 40_000), 1 << 600_000):
        with pytest.raises(ValueError, match="key"):
            d[key] = 1
    assert not d


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_large_values(store: emmap.Store, kind: str) -> None:
    value = random.Random(1).randbytes(MB) * 64
    large(store, kind, value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dict", "list"])
def test_a_value_of_a_gigabyte(store: emmap.Store, kind: str) -> None:
    large(store, kind, random.Random(1).randbytes(MB) * 1024)


def large(store: emmap.Store, kind: str, value: bytes) -> None:
    """Set, replaced, dropped: and its space is used again."""
    c: Any = store.dict("c") if kind == "dict" else store.list("c")
    if kind == "list":
        c.append(None)
    c[0] = value
    assert c[0] == value
    other = emmap.Store(store.path)
    assert other["c"][0][-100:] == value[-100:]
    with store.snapshot() as snapshot:
        view = snapshot["c"].view(0)
        assert view.nbytes == len(value)
        assert view[-100:] == value[-100:]
        c[0] = None
        assert view[-100:] == value[-100:]
    del view, snapshot
    store.flush()
    for n in range(3):
        c[0] = value
        assert c[0][:100] == value[:100]
        c[0] = n
    store.flush()
    c[0] = value
    assert store.statistics().size <= 3 * len(value) + 16 * MB


# Typed values


def test_typed_values(store: emmap.Store, path: Path) -> None:
    users, jobs = store.dict("users", type=User), store.list("jobs", type=Job)
    users["ann"] = ANN
    jobs.append(Job(1, ANN))
    jobs.extend([Job(2), Job(3)])
    assert users["ann"] == ANN
    assert type(users["ann"]) is User
    assert users.get("ann") == ANN
    assert list(users.values()) == [ANN]
    assert dict(users.items()) == {"ann": ANN}
    assert jobs[0] == Job(1, ANN)
    assert jobs == [Job(1, ANN), Job(2), Job(3)]
    assert jobs.index(Job(2)) == 1
    with users.edit("ann") as ann:
        ann.age += 1
    with jobs.edit(1) as job:
        job.owner = ANN
    store.close()
    with emmap.Store(path) as again:
        assert again.dict("users", type=User)["ann"].age == 31
        assert again.list("jobs", type=Job)[1] == Job(2, ANN)
        with again.snapshot() as snapshot:
            assert snapshot.dict("users", type=User)["ann"].age == 31
            assert snapshot.list("jobs", type=Job)[2] == Job(3)


def test_another_type_is_refused(store: emmap.Store) -> None:
    users, jobs = store.dict("users", type=User), store.list("jobs", type=Job)
    users["ann"] = ANN
    tags: Any = ("x",)
    wrong: Any
    for wrong in (5, {"name": "a", "age": 1}, Job(1), None, User("a", 1, tags)):
        with pytest.raises(TypeError, match="is expected"):
            users["ann"] = wrong
        with pytest.raises(TypeError, match="is expected"):
            users.update({"x": ANN, "y": wrong})
    with pytest.raises(TypeError, match="is expected"):
        jobs.append(wrong)
    assert users == {"ann": ANN}
    assert not jobs


def test_typed_values_read_without_their_type(store: emmap.Store) -> None:
    store.dict("users", type=User)["ann"] = ANN
    with pytest.raises(emmap.CorruptFileError, match="type="):
        store.dict("users")["ann"]
    assert "ann" in store.dict("users")
    assert store.dict("numbers", type=int).add("n", 5) == 5
    assert store.dict("numbers")["n"] == 5
    with pytest.raises(TypeError):
        store.dict("x", type=5)  # type: ignore[call-overload]


# Pickle, where asked for


class Custom:
    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


def test_pickle_only_when_asked_for(tmp_path: Path) -> None:
    with emmap.Store(tmp_path / "pickled", codec="pickle") as store:
        d, items = store.dict("d"), store.list("l")
        d["a"] = Custom(5)
        items.append({"x": Custom(6)})
        assert d["a"] == Custom(5)
        assert items == [{"x": Custom(6)}]
    with emmap.Store(tmp_path / "pickled") as store:
        with pytest.raises(emmap.CorruptFileError, match="pickle"):
            store.dict("d")["a"]
        with pytest.raises(emmap.CorruptFileError, match="pickle"):
            store.list("l")[0]
        with pytest.raises(TypeError):
            store.dict("d")["a"] = Custom(1)
    for wrong in ("json", "", 5, True):
        with pytest.raises((ValueError, TypeError)):
            emmap.Store(tmp_path / "new", codec=wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


# Views


def test_views_are_of_snapshots_only(store: emmap.Store) -> None:
    d, items = store.dict("d"), store.list("l")
    d["a"] = np.arange(5)
    items.append(b"x" * 100)
    with pytest.raises(ValueError, match="snapshot"):
        d.view("a")
    with pytest.raises(ValueError, match="snapshot"):
        items.view(0)
    with store.transaction(), pytest.raises(ValueError, match="snapshot"):
        d.view("a")


def test_views_copy_nothing(store: emmap.Store) -> None:
    d, items = store.dict("d"), store.list("l")
    array = np.arange(MB, dtype="u1").reshape(1024, 1024)
    d["array"], d["bytes"], d["text"], d["n"] = array, b"x" * 5000, "é", 7
    items.extend([array, b"y" * 5000, b"short", [1]])
    with store.snapshot() as snapshot:
        sd, sl = snapshot.dict("d"), snapshot.list("l")
        for view in (sd.view("array"), sl.view(0)):
            assert same(view, array)
            assert not view.flags.writeable
            assert not view.flags.owndata
            assert view.ctypes.data % 64 == 0
            with pytest.raises(ValueError, match="read-only"):
                view[0] = 1
        assert np.shares_memory(sd.view("array"), sd.view("array"))
        for view, expected in (
            (sd.view("bytes"), b"x" * 5000),
            (sl.view(1), b"y" * 5000),
            (sl.view(2), b"short"),
        ):
            assert type(view) is memoryview
            assert view.readonly
            assert view == expected
        assert sd.view("text") == "é"
        assert sd.view("n") == 7
        assert sl.view(-1) == [1]
        with pytest.raises(KeyError, match="'no'"):
            sd.view("no")
        with pytest.raises(IndexError):
            sl.view(4)
        with pytest.raises(TypeError):
            sd.view([])


def test_a_view_of_a_large_value_costs_no_memory(store: emmap.Store) -> None:
    d = store.dict("d")
    d["a"] = bytes(64 * MB)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with open("/proc/self/statm") as statm:
        data = int(statm.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (data + 32 * MB, hard))
    try:
        with store.snapshot() as snapshot:
            assert len(snapshot.dict("d").view("a")) == 64 * MB
            with pytest.raises(MemoryError):
                snapshot.dict("d")["a"]
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_each_array_is_viewed(store: emmap.Store, kind: str) -> None:
    c: Any = store.dict("c") if kind == "dict" else store.list("c")
    for i, array in enumerate(ARRAYS):
        if kind == "dict":
            c[i] = array
        else:
            c.append(array)
    with store.snapshot() as snapshot:
        for i, array in enumerate(ARRAYS):
            view = snapshot[c.name].view(i)
            assert same(view, array)
            assert view.nbytes == 0 or not view.flags.writeable


# Random ones


def test_random_values_in_random_places(store: emmap.Store) -> None:
    """What is there stays there, whatever is written beside it."""
    chance = random.Random(9)
    d, items = store.dict("d"), store.list("l")
    plain: dict[int, Any] = {}
    items.extend([None] * 64)
    content: list[Any] = [None] * 64
    for _ in range(1500):
        value = (
            chance.choice(SAMPLES)
            if chance.random() < 0.5
            else chance.randbytes(int(2 ** chance.uniform(0, 17)))
        )
        key = chance.randrange(64)
        d[key] = plain[key] = value
        at = chance.randrange(64)
        items[at] = content[at] = value
    assert all(same(d[key], value) for key, value in plain.items())
    assert same(items.copy(), content)
