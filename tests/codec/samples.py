"""Values of every kind that the codec knows, and what it means that one came back as it was."""

from __future__ import annotations

import datetime
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import strategies as st

BERLIN = ZoneInfo("Europe/Berlin")
INTS = sorted(
    {
        sign * 2**k + more
        for sign in (1, -1)
        for k in (0, 7, 8, 15, 16, 31, 32, 55, 56, 63, 64, 127, 128, 5000)
        for more in (-1, 0, 1)
    }
)


def nan(payload: int) -> float:
    """A NaN with bits of its own."""
    number: float = struct.unpack("<d", struct.pack("<Q", 0xFFF0_0000_0000_0000 | payload))[0]
    return number


PLAIN: list[Any] = [
    *(None, False, True, *INTS),
    *(0.0, -0.0, 1.0, 1e-310, float("inf"), nan(1), nan(2**51)),
    *("", "a", "ab", "1234567", "12345678", "x" * 100, "\x7f", "\x80", "é", "日本", "\U0001f600"),
    *("nul\0", "\0", "\ud800", "a\udfffé", "\ud83d\ude00", "x" * 70_000, "é" * 70_000),
    *(b"", b"a", b"\0", b"x" * 255, b"x" * 256, b"x" * 70_000),
]
CONTAINERS: list[Any] = [
    *([], (), {}, set(), frozenset(), bytearray(), bytearray(b"a" * 300)),
    *([1, True, 1.0, -0.0], (1,), ((),), [[]], {1: 2, "1": 2, (1, b"x"): [{}]}, {1, "a"}),
    *({frozenset({frozenset()}): None}, {2: 0, 1: 0}, {True: 1}, {1.0: 1}, {nan(3): nan(4)}),
    *(list(range(20)), list(range(70_000)), tuple(range(300)), {i: str(i) for i in range(300)}),
    PLAIN,
]
OBJECTS: list[Any] = [
    *(1j, complex(-0.0, nan(5)), range(3), range(2**70, 0, -3), slice(None), slice(1, "a", ())),
    *(
        Decimal(text)
        for text in ("0", "-0", "1.50", "1E+5", "1e-999999", "NaN", "-sNaN12", "-Infinity")
    ),
    *(Fraction(1, 3), Fraction(-(2**70), 3), UUID(int=5), UUID(int=2**128 - 1)),
    *(datetime.date.min, datetime.date.max, datetime.timedelta.min, datetime.timedelta(1, 2, 3)),
    *(datetime.time(1, 2, 3, 4), datetime.time(1, fold=1, tzinfo=datetime.UTC)),
    *(datetime.datetime.min, datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)),
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    datetime.datetime(2024, 1, 1, 1, 2, 3, 4, datetime.timezone(datetime.timedelta(0, -90, 1))),
    *(datetime.UTC, datetime.timezone(datetime.timedelta(hours=1), "home"), BERLIN),
]
ARRAYS: list[Any] = [
    *(
        np.arange(10),
        np.array(5),
        np.zeros((0, 3)),
        np.zeros((3, 4), order="F"),
        np.ones((2, 1, 3)),
    ),
    *(np.arange(24).reshape(2, 3, 4).T, np.arange(24).reshape(2, 3, 4)[:, ::-2], np.zeros(3)[::-1]),
    *(
        np.array([1], dtype=kind)
        for kind in (">u2", "<f2", ">f8", "?", "q", "Q", "g", "c16", "S3", ">U2")
    ),
    *(np.array(["2020-01-01", "NaT"], kind) for kind in ("M8[D]", "M8[25s]", ">M8[ns]")),
    np.array([(["a", "日"], ("b",))], [("a", "<U2", (2,)), ("b", [("c", ">U1")])]),
    *(np.array([3], "m8[ms]"), np.array([b"ab"], "V2"), np.broadcast_to(np.int8(1), (2, 3))),
    np.zeros(2, [("a", "<i4"), ("b", ">f8", (2, 3)), ("c", [("d", "S2"), ("e", "M8[s]")])]),
    np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
]
SCALARS: list[Any] = [
    *(np.float64(nan(6)), np.float32(1.5), np.float16(1), np.longdouble(1) / 3, np.complex64(1j)),
    *(np.int8(-1), np.uint64(2**64 - 1), np.longlong(4), np.ulonglong(5), np.True_),
    *(np.str_(""), np.str_("a\0"), np.str_("\ud800"), np.bytes_(b""), np.bytes_(b"a\0")),
    *(np.datetime64("2020-01-01"), np.datetime64("NaT", "s"), np.timedelta64(3, "s")),
    *(ARRAYS[-2][0], np.void(b"ab")),
]
SAMPLES = [*PLAIN, *CONTAINERS, *OBJECTS, *ARRAYS, *SCALARS]


def same(one: Any, other: Any) -> Any:
    """Equal, and of the same types all the way down; floats by their bits, dicts in their order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.dtype.char == other.dtype.char
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, np.str_):
        return "".join((one,)) == "".join((other,))  # NumPy's own `==` overlooks NUL at the end
    if isinstance(one, np.bytes_):
        return bytes(one) == bytes(other)
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if type(one) is float:
        return struct.pack("<d", one) == struct.pack("<d", other)
    if type(one) is complex:
        return same((one.real, one.imag), (other.real, other.imag))
    if type(one) is Decimal:
        return one.as_tuple() == other.as_tuple()
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return same(list(one.items()), list(other.items()))
    if type(one) in (set, frozenset):
        # Whatever is hashed is equal only to what is of a like type, numbers apart.
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if type(one) is slice:
        return same((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if isinstance(one, datetime.datetime | datetime.time):
        return (
            one.replace(tzinfo=None) == other.replace(tzinfo=None)
            and one.fold == other.fold
            and same(one.tzinfo, other.tzinfo)
        )
    if type(one) is datetime.timezone:
        return bool(one == other and str(one) == str(other))
    if type(one) is ZoneInfo:
        return bool(one.key == other.key)
    return bool(one == other)


# Values for Hypothesis

ZONES = st.none() | st.sampled_from([datetime.UTC, BERLIN, ZoneInfo("Asia/Kathmandu")])
ZONES |= st.builds(
    datetime.timezone,
    st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)),
    st.text(),
)
FLOATS = st.floats() | st.integers(0, 2**64 - 1).map(
    lambda word: struct.unpack("<d", struct.pack("<Q", word))[0]
)
TEXTS = (
    st.text()
    | st.text(st.characters(max_codepoint=127))
    | st.text(st.characters(categories=["Cs", "Ll"]))
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | FLOATS
    | TEXTS
    | st.binary()
    | st.builds(complex, FLOATS, FLOATS)
    | st.decimals().filter(lambda number: not number.is_snan())
    | st.fractions()
    | st.uuids()
    | st.dates()
    | st.timedeltas()
    | st.times(timezones=ZONES)
    | st.datetimes(timezones=ZONES)
    | st.builds(range, st.integers(), st.integers(), st.integers(1))
)
HASHABLE |= st.lists(HASHABLE, max_size=3).map(tuple) | st.frozensets(HASHABLE, max_size=3)
LEAVES = HASHABLE | st.binary().map(bytearray) | st.sampled_from([*ARRAYS, *SCALARS])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(HASHABLE, inner)
        | st.sets(HASHABLE)
        | st.builds(slice, inner, inner, inner)
    ),
    max_leaves=20,
)
