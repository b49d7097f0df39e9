"""`Array`: an array in the store, read without a copy and replaced as a whole."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emmap
from codec.samples import ARRAYS, same
from mapping.peer import Peer


def test_it_begins_with_zeros(store: emmap.Store) -> None:
    a = store.array("grid", shape=(3, 4), dtype="f4")
    assert same(np.array(a), np.zeros((3, 4), "f4"))
    assert (a.name, a.shape, a.dtype, a.ndim, a.size, a.nbytes, len(a)) == (
        "grid", (3, 4), np.dtype("f4"), 2, 12, 48, 3,
    )  # fmt: skip
    assert "grid" in repr(a)
    assert isinstance(a, emmap.Array)


def test_it_is_found_again(store: emmap.Store, path: Path) -> None:
    store.array("grid", shape=5, dtype="i8")[...] = np.arange(5)
    assert list(store.array("grid")) == [0, 1, 2, 3, 4]
    assert list(store.array("grid", shape=(5,), dtype="i8")[...]) == [0, 1, 2, 3, 4]
    assert store["grid"].shape == (5,)
    store.close()
    with emmap.Store(path) as again:
        assert list(again.array("grid")) == [0, 1, 2, 3, 4]


def test_what_does_not_fit_is_refused(store: emmap.Store) -> None:
    with pytest.raises(KeyError, match="'grid'"):
        store.array("grid")
    store.array("grid", shape=(2, 3), dtype="i4")
    wrong: Any
    for wrong in (
        {"shape": (3, 2)},
        {"shape": 6},
        {"dtype": "i8"},
        {"shape": (2, 3), "dtype": ">i4"},
    ):
        with pytest.raises(ValueError, match="grid"):
            store.array("grid", **wrong)
    store.dict("d")
    with pytest.raises(TypeError, match="'d'"):
        store.array("d", shape=3)
    with pytest.raises(TypeError, match="grid"):
        store.dict("grid")
    for wrong in ({"shape": -1}, {"shape": (2, -3)}, {"shape": 3, "dtype": "O"}, {"shape": "a"},
                  {"shape": 3, "dtype": "no"}, {"shape": 2**62, "dtype": "f8"},
                  {"shape": (2**40, 2**40)}):  # fmt: skip
        with pytest.raises((TypeError, ValueError, MemoryError, OSError)):
            store.array("new", **wrong)
    assert store.names() == ["d", "grid"]


def test_reading_copies_nothing(store: emmap.Store) -> None:
    a = store.array("grid", shape=(100, 100), dtype="i8")
    a[...] = np.arange(10_000).reshape(100, 100)
    one, other = a[...], a[...]
    assert np.shares_memory(one, other)
    assert not one.flags.writeable
    assert not one.flags.owndata
    assert one.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        one[0, 0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        one.flags.writeable = True
    assert a[0, 5] == 5
    assert type(a[0, 5]) is np.int64
    assert list(a[3, :3]) == [300, 301, 302]
    assert a[1:3].shape == (2, 100)
    assert a[a[...] > 9997].tolist() == [9998, 9999]
    assert np.asarray(a).sum() == 49_995_000
    assert np.add(a, 1)[0, 0] == 1
    for wrong in ((100, 0), "a", (0, 0, 0)):
        with pytest.raises(IndexError):
            a[wrong]
    mine = a.copy()
    assert type(mine) is np.ndarray
    mine[0, 0] = 7
    assert a[0, 0] == 0


def test_what_was_read_stays_as_it_was(store: emmap.Store) -> None:
    a = store.array("grid", shape=100_000, dtype="i8")
    a[...] = 1
    before = a[...]
    part = a[10:20]
    for n in range(2, 30):
        a[...] = n
    store.flush()
    for n in range(30, 60):
        a[...] = n
    assert set(before) == {1}
    assert list(part) == [1] * 10
    assert store.statistics().oldest_reader is not None
    del store["grid"]
    assert set(before) == {1}
    del before
    gc.collect()
    assert list(part) == [1] * 10
    del part
    gc.collect()
    assert store.statistics().oldest_reader is None


def test_what_was_read_outlives_the_store(store: emmap.Store) -> None:
    store.array("grid", shape=10, dtype="u1")[...] = 5
    array = store.array("grid")[...]
    store.close()
    gc.collect()
    assert list(array) == [5] * 10


def test_it_is_replaced_as_a_whole(store: emmap.Store) -> None:
    a = store.array("grid", shape=(2, 3), dtype="i4")
    before = store.statistics().transaction
    a[...] = [[1, 2, 3], [4, 5, 6]]
    assert store.statistics().transaction > before
    assert a[...].tolist() == [[1, 2, 3], [4, 5, 6]]
    a[...] = 7
    assert a[...].tolist() == [[7] * 3] * 2
    a[...] = np.arange(3, dtype="i1")
    assert a[...].tolist() == [[0, 1, 2]] * 2
    for wrong in (np.zeros(4), np.zeros((3, 2)), "text", [[1], [2, 3]]):
        with pytest.raises((ValueError, TypeError)):
            a[...] = wrong
    assert a[...].tolist() == [[0, 1, 2]] * 2
    assert a.dtype == "i4"


def test_a_part_is_replaced_by_a_copy_of_all(store: emmap.Store) -> None:
    a = store.array("grid", shape=(3, 4), dtype="i4")
    a[1] = 5
    before = a[...]
    a[0, 2:] = [7, 8]
    a[a[...] == 5] = 6
    assert a[...].tolist() == [[0, 0, 7, 8], [6] * 4, [0] * 4]
    assert before.tolist() == [[0] * 4, [5] * 4, [0] * 4]
    for index, value in ((3, 1), ((0, 9), 1), ("a", 1)):
        with pytest.raises(IndexError):
            a[index] = value
    with pytest.raises(ValueError, match="broadcast"):
        a[0] = [1, 2]
    assert a[...].tolist() == [[0, 0, 7, 8], [6] * 4, [0] * 4]


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_each_dtype(store: emmap.Store, number: int) -> None:
    array = np.asarray(ARRAYS[number])
    a = store.array("grid", shape=array.shape, dtype=array.dtype)
    assert a.dtype == array.dtype
    assert same(np.array(a), np.zeros(array.shape, array.dtype))
    a[...] = array
    assert a[...].tobytes() == array.tobytes()
    with store.edit("grid") as edited:
        assert edited.flags.writeable
        assert edited.dtype == array.dtype
        edited[...] = array[...]
    assert a[...].tobytes() == array.tobytes()
    with store.snapshot() as snapshot:
        assert snapshot.array("grid")[...].tobytes() == array.tobytes()


def test_edit(store: emmap.Store) -> None:
    a = store.array("grid", shape=5, dtype="i8")
    with store.edit("grid") as mine:
        mine[2] = 7
        mine += 1
        assert list(a) == [0] * 5, "not before the block ends"
    assert list(a) == [1, 1, 8, 1, 1]
    with pytest.raises(ZeroDivisionError), store.edit("grid") as mine:  # noqa: PT012
        mine[:] = 0
        raise ZeroDivisionError
    assert list(a) == [1, 1, 8, 1, 1]
    with pytest.raises(KeyError, match="'no'"), store.edit("no"):
        pass
    store.dict("d")
    with pytest.raises(TypeError, match="'d'"), store.edit("d"):
        pass
    mine[:] = 5
    assert list(a) == [1, 1, 8, 1, 1]


def test_edit_in_a_transaction(store: emmap.Store) -> None:
    a, d = store.array("grid", shape=2, dtype="i8"), store.dict("d")
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        with store.edit("grid") as mine:
            mine += 1
        d["a"] = 1
        assert list(a) == [1, 1]
        raise ZeroDivisionError
    assert list(a) == [0, 0]
    with store.transaction():
        with store.edit("grid") as mine:
            mine += 1
        with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
            a[...] = 9
            raise ZeroDivisionError
        d["a"] = 1
    assert list(a) == [1, 1]
    assert d == {"a": 1}


def test_two_processes_edit(store: emmap.Store) -> None:
    a = store.array("grid", shape=(2, 1000), dtype="i8")
    with Peer() as peer:
        peer(f"import emmap; store = emmap.Store({store.path!r}); a = store.array('grid')")
        peer("def edit():\n with store.edit('grid') as mine: mine += 1")
        peer.begin("for i in range(300): edit()")
        for _ in range(300):
            with store.edit("grid") as mine:
                mine += 1
            now = a[...]
            assert now.min() == now.max(), "half an array"
        peer.end()
        assert peer("int(a[1, 999])") == 600


def test_an_array_that_was_deleted(store: emmap.Store) -> None:
    a = store.array("grid", shape=2, dtype="i8")
    del store["grid"]
    uses: list[Any] = [
        lambda: a[...],
        lambda: a.__setitem__(..., 1),
        lambda: a.copy(),
        lambda: np.asarray(a),
    ]
    for use in uses:
        with pytest.raises(KeyError, match="'grid'"):
            use()


def test_rolled_back(store: emmap.Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        store.array("grid", shape=3)[...] = 1
        raise ZeroDivisionError
    assert "grid" not in store


def test_no_elements_and_none_written(store: emmap.Store) -> None:
    for shape in ((), (0,), (3, 0, 2)):
        a = store.array(f"{shape}", shape=shape, dtype="f8")
        assert a.shape == shape
        assert a[...].shape == shape
        a[...] = 5
    with pytest.raises(TypeError):
        len(store.array("()"))
    assert store.array("()")[...] == 5
