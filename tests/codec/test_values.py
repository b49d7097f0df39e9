"""Values to bytes and back: equal and of the same types all the way down, or refused."""

from __future__ import annotations

import collections
import datetime
import enum
import fractions
import subprocess
import sys
import threading
import zoneinfo
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from codec.samples import ARRAYS, CONTAINERS, OBJECTS, PLAIN, SAMPLES, VALUES, nan, same
from emmap import CorruptFileError
from emmap.codec.values import Codec

codec = Codec()


def through(value: Any) -> Any:
    return codec.decode_value(codec.encode_value(value))


@pytest.mark.parametrize("value", SAMPLES, ids=lambda value: type(value).__name__)
def test_comes_back(value: Any) -> None:
    assert same(through(value), value)
    assert same(through([value, (value,), {"a": value}]), [value, (value,), {"a": value}])


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_any_value_comes_back(value: Any) -> None:
    assert same(through(value), value)


def test_what_comes_back_the_same_is_seen() -> None:
    # The judge of the others can say no.
    for one, other in (
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (nan(1), nan(2)),
        ([1], (1,)),
        ({1: 1, 2: 2}, {2: 2, 1: 1}),
        ({1}, {True}),
        (np.zeros(2, "<i4"), np.zeros(2, ">i4")),
        (datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, fold=1)),
    ):
        assert same(one, one)
        assert not same(one, other)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        *((None, 0), (True, 0), (0, 0), (1, 1), (-1, 1), (127, 1), (128, 2), (-128, 1), (-129, 2)),
        *((2**31, 5), (2**63 - 1, 8), (-(2**63), 8), (2**63, 9), (1.5, 8), ("abc", 3), ("é", 2)),
        *((b"abc", 3), ("\ud800", 3), ([1, "a"], 4), ((1, "a"), 7), ({}, 1)),
    ],
)
def test_size(value: object, size: int) -> None:
    assert len(codec.encode_value(value)) == 1 + size


def test_plain_containers_are_messagepack() -> None:
    for value in (
        [1, "a", b"b", None, 1.5, -(2**63), {"k": [True]}],
        {i: "x" * i for i in range(300)},
    ):
        data = codec.encode_value(value)[1:]
        assert msgspec.msgpack.decode(data) == value
        assert same(codec.decode_value(b"\x0b" + msgspec.msgpack.encode(value)), value)


def test_what_comes_back_is_a_copy() -> None:
    for value in (bytearray(b"a"), [1], np.zeros(3), np.zeros(2, "c16")):
        data = codec.encode_value(value)
        first: Any = codec.decode_value(data)
        first[0] = first[0] + 1
        assert same(codec.decode_value(data), value)


def test_order_of_arrays() -> None:
    for array in (np.zeros((3, 4), order="F"), np.zeros((3, 4))):
        for again in (through(array), through([array])[0]):
            assert again.flags.f_contiguous == array.flags.f_contiguous
            assert again.flags.c_contiguous == array.flags.c_contiguous
            assert again.flags.writeable


# Refused


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int


class Zone(datetime.tzinfo):
    def utcoffset(self, when: object) -> datetime.timedelta:
        return datetime.timedelta()

    def dst(self, when: object) -> None: ...

    def tzname(self, when: object) -> str:
        return "ours"


Decimal = type("Decimal", (), {"__module__": "decimal"})

REFUSED: list[Any] = [
    *(object(), ..., int, len, Colour.RED, Name("a"), Point(1), Decimal()),
    *(
        collections.OrderedDict(),
        collections.defaultdict(list),
        collections.Counter(),
        memoryview(b""),
    ),
    *(datetime.datetime(2024, 1, 1, tzinfo=Zone()), datetime.time(tzinfo=Zone()), iter([])),
    *(
        np.array([None]),
        np.zeros(1, [("a", "O")]),
        np.zeros(1).view(np.memmap),
        np.ma.array([1]),
        np.dtype("i4"),
    ),
    *(np.rec.array([(1,)], dtype=[("a", "i4")]), np.zeros(2, "V0"), np.void(b"")),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_refused(value: Any) -> None:
    for outer in (value, [value], {"a": (value,)}):
        with pytest.raises(TypeError, match=r"cannot encode an? "):
            codec.encode_value(outer)


def test_refusal_says_what_and_where() -> None:
    with pytest.raises(TypeError, match=r"of type object: .*type=.*, at \[1\]\['k'\]\[2\]$"):
        codec.encode_value([0, {"k": (1, 2, object())}])
    with pytest.raises(
        TypeError, match=r"a [\w.]*test_values\.Name, which would come back as str.*type="
    ):
        codec.encode_value(Name("x"))
    with pytest.raises(TypeError, match=r"IntEnum|Colour, which would come back as int"):
        codec.encode_value({Colour.RED: 1})
    with pytest.raises(TypeError, match=r"store a list of them, at \[0\]"):
        codec.encode_value([np.array([None])])
    with pytest.raises(TypeError, match="at "):
        codec.encode_value({10**5000: object()})  # a key that has no repr


def test_zone_of_a_file_is_refused(tmp_path: Any) -> None:
    source = next(
        path for folder in zoneinfo.TZPATH if (path := tmp_path.__class__(folder) / "UTC").exists()
    )
    with source.open("rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file)
    with pytest.raises(TypeError, match="no key"):
        codec.encode_value(zone)


def test_large_fractions_are_refused() -> None:
    largest = fractions.Fraction(2**32768 - 1, 2**32767)
    assert through(largest) == largest
    for value in (fractions.Fraction(2**32768), fractions.Fraction(1, 2**32768)):
        with pytest.raises(ValueError, match="4 KiB"):
            codec.encode_value(value)


@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "frozenset", "slice"])
def test_depth(kind: str) -> None:
    make: Any = {
        "list": lambda inner: [inner],
        "tuple": lambda inner: (inner,),
        "dict": lambda inner: {0: inner},
        "frozenset": lambda inner: frozenset({inner}),
        "slice": lambda inner: slice(inner),
    }[kind]
    value: Any = 0
    for _ in range(200):
        value = make(value)
    data = codec.encode_value(value)
    assert codec.encode_value(codec.decode_value(data)) == data
    with pytest.raises(ValueError, match="nested more than 200 deep, or contains itself"):
        codec.encode_value(make(value))


def test_what_contains_itself() -> None:
    items: list[Any] = [1]
    items.append((items, items))
    mapping: dict[int, Any] = {}
    mapping[0] = [mapping]
    for value in (items, mapping):
        with pytest.raises(ValueError, match="contains itself"):
            codec.encode_value(value)


def test_recursion_limit_does_not_matter() -> None:
    value: Any = 0
    for _ in range(200):
        value = [value]
    program = f"""
import sys
from emmap.codec.values import Codec
codec = Codec()
sys.setrecursionlimit(10**9)
value = codec.decode_value({codec.encode_value(value)!r})
sys.setrecursionlimit(50)
assert codec.decode_value(codec.encode_value(value)) is not None
for data in (b"\\x91" * 10**6, b"\\x81" * 10**6, b"\\xc9\\0\\0\\1\\0\\1\\x91" * 10**5):
    try:
        codec.decode_value(b"\\x0b" + data)
    except ValueError:
        continue
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_container_that_goes_while_it_is_encoded() -> None:
    # Nobody else holds the inner one, nor what follows in it.
    for container in (list, tuple, lambda items: dict(enumerate(items))):
        outer: list[Any] = []
        entry = Entry(lambda outer=outer: outer.clear())
        outer += [container([entry, *(str(i) * 1000 for i in range(100))]), 1]
        with pytest.raises(ValueError, match="changed while it was encoded"), Known(Entry):
            codec.encode_value(outer)


def test_dict_that_grows_without_end() -> None:
    value: dict[int, Any] = {}
    value[0] = Entry(lambda: value.update({len(value): Entry(value[0].action)}))
    with pytest.raises(ValueError, match="changed while it was encoded"), Known(Entry):
        codec.encode_value(value)
    assert len(value) == 2


class Entry:
    def __init__(self, action: Any) -> None:
        self.action = action


class Known:
    """Lets the codec know a type for a while, as if it were one of its own."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        from emmap.codec.extensions import TAKERS

        TAKERS[self.kind] = 99, lambda entry: (entry.action(),)

    def __exit__(self, *exception: object) -> None:
        from emmap.codec.extensions import TAKERS

        del TAKERS[self.kind]


def test_container_changed_meanwhile() -> None:
    # To ask an object for its parts runs Python, which may do anything.
    for container, change in (
        ([], lambda it: it.extend(range(1000))),
        ([], lambda it: it.clear()),
        ({}, lambda it: it.update(dict.fromkeys(range(1000)))),
        ({}, lambda it: it.clear()),
    ):
        value: Any = container
        entry = Entry(lambda value=value, change=change: change(value))
        if isinstance(value, list):
            value += [entry, 2, 3]
        else:
            value |= {0: entry, 1: 2, 2: 3}
        with pytest.raises(ValueError, match="changed while it was encoded"), Known(Entry):
            codec.encode_value(value)


def test_threads_change_what_is_encoded() -> None:
    shared: dict[Any, Any] = {
        i: datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC) for i in range(50)
    }
    stop = threading.Event()

    def change() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            shared[i % 100] = [i]
            shared.pop((i * 7) % 100, None)

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(1000):
            try:
                through(shared)
            except ValueError as error:
                assert "changed" in str(error)  # noqa: PT017
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


# Views


def test_views_are_in_place_and_read_only() -> None:
    for value in (b"hello", *(array for array in ARRAYS if array.nbytes)):
        data = bytearray(codec.encode_value(value))
        view = codec.view_value(data)
        if isinstance(value, bytes):
            assert type(view) is memoryview
            assert view.readonly
            assert view == value
        else:
            assert same(view, value)
            assert not view.flags.writeable
            with pytest.raises(ValueError, match="WRITEABLE"):
                view.flags.writeable = True
        with pytest.raises(BufferError):
            data.append(1)  # the view holds it
        data[-1] ^= 0xFF
        assert not same(view.tobytes(), value.tobytes() if isinstance(value, np.ndarray) else value)
        del view
        data.append(1)


def test_views_of_other_values_are_copies() -> None:
    for value in (*PLAIN, *CONTAINERS[:5], *OBJECTS):
        if type(value) is not bytes:
            assert same(codec.view_value(codec.encode_value(value)), value)
    assert codec.view_value(codec.encode_value(np.zeros((0, 3)))).shape == (0, 3)


def test_elements_begin_aligned() -> None:
    for array in ARRAYS:
        payload = codec.encode_value(array)[1:]
        elements = np.ascontiguousarray(array) if array.ndim else array
        assert (len(payload) - elements.nbytes) % 64 == 0
        assert payload.endswith(array.tobytes("A"))


# NumPy that is not there


def test_without_numpy() -> None:
    array = codec.encode_value(np.arange(3))
    inside = codec.encode_value([np.arange(3)])
    scalar = codec.encode_value(np.int8(3))
    program = f"""
import sys
sys.modules["numpy"] = None
from emmap.codec.values import Codec
codec = Codec()
assert codec.decode_value(codec.encode_value([1, (2,), 3j])) == [1, (2,), 3j]
try:
    codec.encode_value([object()])
except TypeError:
    pass
for data in ({array!r}, {inside!r}, {scalar!r}):
    for decode in (codec.decode_value, codec.view_value):
        try:
            decode(data)
        except ImportError as error:
            assert "pip install" in str(error), error
        else:
            raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_nothing_is_imported_that_is_not_needed() -> None:
    program = """
import sys
from emmap.codec.values import Codec
codec = Codec()
codec.decode_value(codec.encode_value({"a": [1, (2.5, "x"), {b"y"}]}))
codec.decode_value(codec.encode_value(2**100))
heavy = {"numpy", "msgspec", "datetime", "decimal", "uuid", "dataclasses", "typing", "pickle"}
print(*heavy & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True
    )
    # The finder of an editable install imports what it likes.
    before = subprocess.run(
        [sys.executable, "-c", "import sys, emmap; print(*sys.modules)"],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert set(done.stdout.split()) <= set(before.stdout.split())


# Pickle


def test_pickle_only_when_asked_for() -> None:
    pickles = Codec.pickle()
    value = {"a": Point(1), "b": Colour.RED}
    data = pickles.encode_value(value)
    assert same(pickles.decode_value(data), value)
    with pytest.raises(CorruptFileError, match='codec="pickle"'):
        codec.decode_value(data)
    with pytest.raises(CorruptFileError):
        Codec.for_type(int).decode_value(data)
    with pytest.raises(CorruptFileError):
        Codec.for_type(list[int]).decode_value(data)
    with pytest.raises(CorruptFileError, match="no pickle"):
        pickles.decode_value(data[:-3])


def test_pickle_codec_reads_what_the_plain_one_wrote() -> None:
    pickles = Codec.pickle()
    for value in SAMPLES:
        assert same(pickles.decode_value(codec.encode_value(value)), value)
    for value in (*PLAIN, *ARRAYS):
        assert pickles.encode_value(value) == codec.encode_value(value)
    objects = np.array([None, "a"])
    assert list(pickles.decode_value(pickles.encode_value(objects))) == [None, "a"]
    view = pickles.view_value(pickles.encode_value(np.arange(3)))
    assert not view.flags.writeable


def test_empty_buffer_is_no_value() -> None:
    for decode in (codec.decode_value, codec.view_value):
        with pytest.raises(CorruptFileError):
            decode(b"")
        with pytest.raises(TypeError):
            decode("text")  # type: ignore[arg-type]
