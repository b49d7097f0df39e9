"""`MappedArray`: what holds the mapping and what does not, pickles of views, close, lost pages."""

from __future__ import annotations

import copy
import gc
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import emmap
from mapping.proc import mapped_in

Array = numpy.ndarray[Any, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.npy"
    emmap.save(path, numpy.arange(12.0).reshape(3, 4))
    return path


# What holds the mapping

VIEWS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda a: a[1:],
    "row": lambda a: a[1],
    "backwards": lambda a: a[::-1, ::-2],
    "transpose": lambda a: a.T,
    "reshape": lambda a: a.reshape(4, 3),
    "new axis": lambda a: a[None, :, 1],
    "other dtype": lambda a: a.view("u1"),
    "field": lambda a: a.view([("x", "f8"), ("y", "i8")])["y"],
    "diagonal": lambda a: a.diagonal(),
    "real": lambda a: a.real,
    "nothing": lambda a: a[:0],
    "views of views": lambda a: a[1:].T[1:],
    "again": lambda a: numpy.asarray(a).view(emmap.MappedArray),
    "windows": lambda a: numpy.lib.stride_tricks.sliding_window_view(a, 2, axis=0, subok=True),
    "broadcast": lambda a: numpy.broadcast_to(a, (5, 3, 4), subok=True),
    "squeezed": lambda a: numpy.squeeze(a[:, :1]),
}

RESULTS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda a: a + 1,
    "function": numpy.sqrt,
    "comparison": lambda a: a > 3,
    "with a plain one": lambda a: numpy.ones((3, 4)) - a,
    "axis": lambda a: a.sum(axis=0),
    "mean": lambda a: a.mean(axis=1),
    "accumulate": lambda a: numpy.add.accumulate(a),
    "matmul": lambda a: a @ a.T,
    "median": lambda a: numpy.median(a, axis=0),
    "where": lambda a: numpy.where(a > 3, a, 0),
    "concatenate": lambda a: numpy.concatenate([a, a]),
}

SCALARS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda a: a.sum(),
    "mean": numpy.mean,
    "element": lambda a: a[1, 1],
    "median": numpy.median,
    "dot": lambda a: numpy.dot(a[0], a[1]),
    "ufunc": lambda a: a[0, 0:1].reshape(()) + 1,
}

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": lambda a: a.copy(),
    "astype": lambda a: a.astype("i4"),
    "mask": lambda a: a[a > 3],
    "indices": lambda a: a[[0, 2]],
    "flatten": lambda a: a.flatten(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "take": lambda a: a.take([1, 2]),
    "like": numpy.empty_like,
    "contiguous": lambda a: numpy.ascontiguousarray(a.T),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views_hold_the_mapping(kind: str, path: Path) -> None:
    a = emmap.load(path, "r+")
    view = VIEWS[kind](a)
    assert type(view) is emmap.MappedArray
    assert view.mapping is a.mapping
    expected = VIEWS[kind](numpy.load(path).view(emmap.MappedArray))
    del a
    gc.collect()
    assert view.tolist() == expected.tolist()
    assert mapped_in(path) == 1
    del view
    assert mapped_in(path) == 0


@pytest.mark.parametrize("kind", RESULTS)
def test_results_are_plain(kind: str, path: Path) -> None:
    a = emmap.load(path)
    result = RESULTS[kind](a)
    assert type(result) is numpy.ndarray
    assert numpy.array_equal(result, RESULTS[kind](numpy.load(path)))
    del a
    assert mapped_in(path) == 0


@pytest.mark.parametrize("kind", SCALARS)
def test_scalars(kind: str, path: Path) -> None:
    result = SCALARS[kind](emmap.load(path))
    assert isinstance(result, numpy.float64)
    assert result == SCALARS[kind](numpy.load(path))


@pytest.mark.parametrize("kind", COPIES)
def test_copies_hold_nothing(kind: str, path: Path) -> None:
    a = emmap.load(path)
    result = COPIES[kind](a)
    assert getattr(result, "mapping", None) is None
    if kind != "like":
        assert pickle.loads(pickle.dumps(result)).tolist() == result.tolist()
    assert type(pickle.loads(pickle.dumps(result))) is numpy.ndarray
    with pytest.raises(ValueError, match="no mapping"):
        result.view(emmap.MappedArray).flush()
    result.view(emmap.MappedArray).close()
    del a
    assert mapped_in(path) == 0


def test_in_place_operations_stay(path: Path) -> None:
    with emmap.load(path, "r+") as a:
        same = a
        same += 1
        assert same is a
        assert numpy.add(a, 1, out=a) is a
        part = a[1:]
        part *= 2
        assert part.mapping is a.mapping
        assert a.append([[0, 0, 0, 0]]).shape == (4, 4)
    expected = numpy.arange(2.0, 14).reshape(3, 4)
    expected[1:] *= 2
    assert numpy.array_equal(numpy.load(path)[:3], expected)


def test_read_only(path: Path) -> None:
    a = emmap.load(path)
    with pytest.raises(ValueError, match="read-only"):
        a[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        a += 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        a.flags.writeable = True
    with pytest.raises(emmap.ProtectionError, match="r\\+"):
        a.append([[1, 2, 3, 4]])
    assert numpy.load(path).tolist() == numpy.arange(12.0).reshape(3, 4).tolist()


# Pickles


def index_of(draw: st.DrawFn, length: int) -> Any:
    if draw(st.booleans()):
        return draw(st.slices(length))
    return slice(None, None, draw(st.sampled_from([1, 2, -1, -3])))


@st.composite
def views(draw: st.DrawFn) -> Callable[[Array], Array]:
    """A function that takes some view: sliced, transposed, perhaps of a field."""
    indices = tuple(index_of(draw, n) for n in (6, 5, 4))
    axes = draw(st.permutations([0, 1, 2]))
    field = draw(st.sampled_from([None, "x", "z", ["x", "y"]]))
    pick = draw(st.booleans())

    def take(array: Array) -> Array:
        view: Array = array[indices].transpose(axes)
        view = view[field] if field is not None else view
        return view[..., 0] if pick and view.shape[-1] else view

    return take


RECORD = [("x", "<i4"), ("y", ">f4"), ("z", "u1", (3,))]


@pytest.mark.parametrize("place", ["file", "raw", "memory"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(take=views())
def test_pickled_views_are_the_same_memory(
    place: str, take: Callable[[Array], Array], tmp_path: Path
) -> None:
    name = {"file": tmp_path / "a.npy", "raw": tmp_path / "a.raw", "memory": None}[place]
    a = emmap.empty((6, 5, 4), RECORD, name)
    a["x"] = numpy.arange(120).reshape(6, 5, 4)
    a["z"][..., 1] = 7
    view = take(a)
    message = pickle.dumps(view)
    assert len(message) < 1000
    found = pickle.loads(message)
    assert type(found) is emmap.MappedArray
    assert (found.dtype, found.shape, found.strides) == (view.dtype, view.shape, view.strides)
    assert numpy.array_equal(found, view)
    if view.size:
        found[...] = numpy.zeros((), view.dtype)
        assert numpy.array_equal(view, numpy.zeros(view.shape, view.dtype))
        steps = [(n - 1) * abs(stride) for n, stride in zip(view.shape, view.strides, strict=True)]
        assert found.mapping is not None
        assert len(found.mapping) == sum(steps) + view.itemsize


def test_pickle_of_a_whole_array_can_go_on(path: Path) -> None:
    a = emmap.load(path, "r+", reserve=1 << 30)
    b = pickle.loads(pickle.dumps(a))
    assert b.mapping is not a.mapping
    assert b.mapping.capacity == a.mapping.capacity if a.mapping is not None else False
    a = a.append([[1, 2, 3, 4]])
    with pytest.raises(ValueError, match="holds 4 rows by now, not 3"):
        b.append([[5, 6, 7, 8]])
    b = b.reload()
    b = b.append([[5, 6, 7, 8]])
    assert a.reload().tolist() == b.tolist() == numpy.load(path).tolist()
    assert b.shape == (5, 4)


def test_pickles_keep_what_may_be_written(path: Path) -> None:
    for mode, writeable in (("r", False), ("r+", True)):
        a = emmap.load(path, mode)
        for array in (a, a[1:]):
            assert pickle.loads(pickle.dumps(array)).flags.writeable == writeable
        a.flags.writeable = False
        with pytest.raises(emmap.ProtectionError):
            a.append([[1, 2, 3, 4]])
        assert not a.reload().flags.writeable
        for array in (a, a[1:]):
            assert not pickle.loads(pickle.dumps(array)).flags.writeable


def test_private_copies_do_not_pickle(path: Path) -> None:
    a = emmap.load(path, "c")
    for array in (a, a[1:], emmap.anonymous(80).array("f8").view(emmap.MappedArray)):
        with pytest.raises(TypeError, match=r"private copy .* emmap\.share"):
            pickle.dumps(array)


def test_pickle_of_what_is_gone(path: Path) -> None:
    message, part = pickle.dumps(emmap.load(path)), pickle.dumps(emmap.load(path)[2:])
    roomy = pickle.dumps(emmap.load(path, reserve=1 << 30))
    os.truncate(path, 140)
    with pytest.raises(emmap.PageLostError, match="on the way"):
        pickle.loads(roomy)
    for lost in (message, part):
        with pytest.raises(ValueError, match="greater than file size"):
            pickle.loads(lost)
    path.unlink()
    for lost in (message, part):
        with pytest.raises(FileNotFoundError):
            pickle.loads(lost)


def test_strides_that_leave_the_mapping() -> None:
    a = emmap.empty(10, "u1")
    wild: Any = numpy.lib.stride_tricks.as_strided(a, (100,), (1,), subok=True)
    assert wild.mapping is a.mapping
    with pytest.raises(ValueError, match="lead out"):
        pickle.dumps(wild)


# The end


def everything_is_refused(a: emmap.MappedArray, part: emmap.MappedArray) -> None:
    calls: list[Callable[[], object]] = [
        a.flush,
        part.flush,
        a.reload,
        lambda: a.append([[1, 2, 3, 4]]),
        lambda: pickle.dumps(a),
        lambda: pickle.dumps(part),
        a.__enter__,
    ]
    for call in calls:
        with pytest.raises(emmap.ClosedError):
            call()


def test_close_leaves_the_elements(path: Path) -> None:
    a = emmap.load(path, "r+")
    part = a[1:]
    a.close()
    a.close()
    part[0] = 5
    assert a[1].tolist() == [5] * 4
    everything_is_refused(a, part)
    assert numpy.load(path)[1].tolist() == [5] * 4
    del a
    assert mapped_in(path) == 1
    del part
    gc.collect()
    assert mapped_in(path) == 0


def test_with(path: Path) -> None:
    with emmap.load(path, "r+") as a, a[1:]:
        a.flush()
    assert a.mapping is not None
    assert a.mapping.closed


def cut(path: Path) -> emmap.MappedArray:
    """An array of three pages, of which a truncation has left one."""
    emmap.save(path, numpy.ones(3 * emmap.PAGESIZE, "u1"))
    a = emmap.load(path, "r+")
    os.truncate(path, emmap.PAGESIZE)
    return a


def leave(a: emmap.MappedArray) -> None:
    with a:
        pass


ENDS: dict[str, Callable[[emmap.MappedArray], object]] = {
    "flush": emmap.MappedArray.flush,
    "append": lambda a: a.append(numpy.ones(5, "u1")),
    "close": emmap.MappedArray.close,
    "with": leave,
}


@pytest.mark.parametrize("kind", ENDS)
def test_lost_pages_are_zeros_and_told(kind: str, path: Path) -> None:
    a = cut(path)
    assert a.sum() == emmap.PAGESIZE - 128
    with pytest.raises(emmap.PageLostError) as caught:
        ENDS[kind](a)
    assert caught.value.filename == str(path)
    assert caught.value.offset == emmap.PAGESIZE
    assert path.stat().st_size == emmap.PAGESIZE


def test_append_to_a_truncated_file_that_nobody_touched(path: Path) -> None:
    a = cut(path)
    with pytest.raises(emmap.PageLostError):
        a.append(numpy.ones(5, "u1"))
    assert path.stat().st_size == emmap.PAGESIZE
