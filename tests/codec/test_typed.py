"""Values of one type: what does not fit it is refused in both directions."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
from typing import Any, NamedTuple, TypedDict

import msgspec
import numpy as np
import pytest

from codec.samples import BERLIN, same
from emmap import CorruptFileError
from emmap.codec.values import Codec


@dataclasses.dataclass
class User:
    name: str
    age: int
    tags: list[str] = dataclasses.field(default_factory=list)


class Admin(User):
    pass


class Job(msgspec.Struct):
    number: int
    owner: User | None = None
    cost: float = 0.0
    started: datetime.datetime | None = None


class LargeJob(Job):
    size: int = 1


class Tree(msgspec.Struct):
    children: list[Tree] = []


@dataclasses.dataclass(eq=False)
class Identity:
    number: int


class Point(NamedTuple):
    x: int
    y: float


class Colour(enum.Enum):
    RED = "red"


class Options(TypedDict):
    depth: int


WRONG: Any = ("x",)
ANN = User("Ann", 30, ["a"])
FITTING: list[tuple[Any, Any]] = [
    *((User, ANN), (Job, Job(1, ANN, 1.5, datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)))),
    *(
        (LargeJob, LargeJob(1)),
        (Point, Point(1, 2.0)),
        (Colour, Colour.RED),
        (Options, {"depth": 3}),
    ),
    *((list[int], [1, 2]), (dict[str, list[User]], {"a": [ANN]}), (tuple[int, str], (1, "a"))),
    *(
        (set[int], {1, 2}),
        (int | str, "a"),
        (User | None, None),
        (datetime.date, datetime.date.max),
    ),
    *((datetime.datetime, datetime.datetime(2024, 1, 1, tzinfo=BERLIN)), (list, [(1,), {2}])),
    *((decimal.Decimal, decimal.Decimal("1.50")), (complex, 1j), (frozenset, frozenset({1}))),
    *((int, 2**70), (float, -0.0), (str, "\ud800"), (bytes, b"x"), (bool, True)),
]


@pytest.mark.parametrize(("kind", "value"), FITTING)
def test_comes_back(kind: Any, value: Any) -> None:
    codec = Codec.for_type(kind)
    again = codec.decode_value(codec.encode_value(value))
    assert again == value
    assert type(again) is type(value)
    assert codec.view_value(codec.encode_value(value)) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(
            (User, {"name": "Ann", "age": 3}),
            (User, Admin("a", 1)),
            (User, None),
            (User, User("a", WRONG)),
        ),
        *((User, User("a", 1, WRONG)), (Job, LargeJob(1)), (Job, Job(1, Admin("a", 1)))),
        *((Job, Job(WRONG)), (list[int], (1, 2)), (list[int], ["a"]), (list[int], [True])),
        *(
            (Point, (1, 2.0)),
            (Colour, "red"),
            (Options, {"depth": "x"}),
            (set[int], frozenset({1})),
        ),
        *((int, True), (int, 1.0), (float, 1), (str, b"x"), (bytes, bytearray()), (bool, 1)),
        *((list, (1,)), (datetime.date, datetime.datetime.min), (dict, Options), (np.ndarray, [1])),
        *((list[User], [ANN, object()]), (int | str, None)),
    ],
)
def test_another_type_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="is expected"):
        Codec.for_type(kind).encode_value(value)


def test_what_msgspec_cannot_do_is_refused() -> None:
    tree = Tree()
    tree.children = [tree]
    for kind, value in ((Job, Job(2**70)), (Tree, tree), (list[str], ["\ud800"])):
        with pytest.raises(ValueError, match="cannot encode"):
            Codec.for_type(kind).encode_value(value)


def test_values_that_are_not_equal_to_themselves() -> None:
    codec = Codec.for_type(Identity)
    assert codec.decode_value(codec.encode_value(Identity(5))).number == 5
    codec = Codec.for_type(Job)
    assert codec.decode_value(codec.encode_value(Job(1, cost=float("nan")))).cost != 0
    nested = Codec.for_type(dict[str, list[Job]])
    nested.encode_value({"a": [Job(1, cost=float("nan"))]})
    with pytest.raises(TypeError, match="a field of this one is of another"):
        nested.encode_value({"a": [LargeJob(1, cost=float("nan"))]})


def test_arrays_and_bytes_are_viewed() -> None:
    arrays, strings = Codec.for_type(np.ndarray), Codec.for_type(bytes)
    data = arrays.encode_value(np.arange(3))
    assert same(arrays.decode_value(data), np.arange(3))
    assert not arrays.view_value(data).flags.writeable
    assert type(strings.view_value(strings.encode_value(b"abc"))) is memoryview
    for wrong in (strings.encode_value(b"abc"), Codec().encode_value(5)):
        with pytest.raises(CorruptFileError, match="where type=ndarray is expected"):
            arrays.view_value(wrong)
    with pytest.raises(CorruptFileError, match="type ndarray, where type=bytes is expected"):
        strings.view_value(data)
    scalars = Codec.for_type(np.int8)
    assert same(scalars.decode_value(scalars.encode_value(np.int8(5))), np.int8(5))


def test_other_bytes_are_refused() -> None:
    users, jobs = Codec.for_type(User), Codec.for_type(Job)
    data = users.encode_value(ANN)
    with pytest.raises(
        CorruptFileError, match=r"no value of type Job: .*missing required field `number`"
    ):
        jobs.decode_value(data)
    with pytest.raises(CorruptFileError, match="cut short"):
        users.decode_value(data[:-1])
    with pytest.raises(CorruptFileError, match="stored without type="):
        users.decode_value(Codec().encode_value({"name": "Ann", "age": 3}))
    with pytest.raises(CorruptFileError, match="stored with type="):
        Codec().decode_value(data)
    with pytest.raises(CorruptFileError, match="type float, where type=int"):
        Codec.for_type(int).decode_value(Codec().encode_value(1.0))


def test_deep_bytes_are_refused() -> None:
    trees = Codec.for_type(Tree)
    one = b"\x81\xa8children\x91"
    assert trees.decode_value(b"\x0d" + one * 50 + b"\x80") is not None
    for n in (101, 100_000):
        with pytest.raises(CorruptFileError, match="nested more than 200 deep"):
            trees.decode_value(b"\x0d" + one * n + b"\x80")


def test_what_is_no_type() -> None:
    with pytest.raises(TypeError):
        Codec.for_type(5)
