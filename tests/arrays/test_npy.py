"""The .npy header: what NumPy writes is read, what is written NumPy reads, nonsense is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as any_numpy
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import emmap
from emmap.arrays.npy import encode, make_npy, read_npy

Array = numpy.ndarray[Any, Any]

quickly = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """An array of any dtype without objects, of either byte order, of any layout in memory."""
    dtype = draw(any_numpy.nested_dtypes(max_leaves=6))
    while dtype.subdtype is not None:
        dtype = dtype.subdtype[0]
    shape = draw(any_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(numpy.prod(shape)) * dtype.itemsize
    content = draw(st.binary(min_size=size, max_size=size))
    array: Array = numpy.ndarray(shape, dtype, content)
    layout = draw(st.sampled_from(["C", "F", "reversed", "transposed"]))
    if layout == "reversed":
        return array[tuple(slice(None, None, -1) for _ in shape)]
    return array.T if layout == "transposed" else numpy.array(array, order=layout)  # type: ignore[call-overload]


def same(found: Array, expected: Array) -> bool:
    return (
        found.dtype == expected.dtype
        and found.shape == expected.shape
        and numpy.ascontiguousarray(found).tobytes() == numpy.ascontiguousarray(expected).tobytes()
    )


@quickly
@given(array=arrays())
def test_numpy_reads_what_is_saved(array: Array, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    emmap.save(path, array)
    assert same(numpy.load(path), array)
    if array.size:
        assert same(numpy.load(path, mmap_mode="r"), array)
    loaded = emmap.load(path)
    assert same(loaded, array)
    assert loaded.flags.f_contiguous >= array.flags.f_contiguous


@quickly
@given(array=arrays(), version=st.sampled_from([(1, 0), (2, 0), (3, 0)]))
def test_what_numpy_saved_is_loaded(array: Array, version: tuple[int, int], tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        try:
            numpy.lib.format.write_array(file, array, version)
        except ValueError:  # names that are not Latin-1
            return
    for mode in ("r", "r+", "c"):
        loaded = emmap.load(tmp_path / "a.npy", mode)
        assert same(loaded, array)
        assert loaded.flags.writeable == (mode != "r")


def test_many_fields_need_a_later_version(tmp_path: Path) -> None:
    many = numpy.zeros(2, [(f"field{i:04}", "<i4") for i in range(3000)])
    emmap.save(tmp_path / "many.npy", many)
    assert (tmp_path / "many.npy").read_bytes()[6:8] == b"\x02\x00"
    assert same(emmap.load(tmp_path / "many.npy"), many)
    foreign = numpy.zeros(2, [("größe 長さ", "<i4")])
    emmap.save(tmp_path / "foreign.npy", foreign)
    assert (tmp_path / "foreign.npy").read_bytes()[6:8] == b"\x03\x00"
    assert same(numpy.load(tmp_path / "foreign.npy"), foreign)
    with pytest.raises(ValueError, match="longer than"):
        emmap.save(
            tmp_path / "many.npy", numpy.zeros(1, [(f"{i:01000}", "u1") for i in range(300)])
        )
    assert same(emmap.load(tmp_path / "many.npy"), many)


def test_dtype_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of dtypes that others define NumPy says that they are objects, for pickle to write."""
    monkeypatch.setattr(numpy.lib.format, "dtype_to_descr", lambda dtype: "|O")
    with pytest.raises(ValueError, match="cannot describe"):
        make_npy(numpy.dtype("<f8"), (1,))


@pytest.mark.parametrize("dtype", ["<f8", [("x", "<i4"), ("name", "S3")], "V7", "<U300"])
def test_last_eight_digits_lie_in_one_word(dtype: Any) -> None:
    layout = make_npy(numpy.dtype(dtype), (0, 3))
    for rows in (7, 99_999_999, 100_000_000, 10**15):
        header = layout.with_rows(rows).header
        end = header.index(b", 3), }")
        assert end % 8 == 0
        assert header[:end].endswith(b"%d" % rows)
        assert len(header) == layout.start
        assert numpy.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))[0] == (rows, 3)


def test_header_without_room() -> None:
    dtype, version = numpy.dtype("<f8"), b"\x01\x00"
    for rows in (5, 99, 12345):
        exact = len(encode(dtype, (rows,), version, fortran=False, length=4096).rstrip()) + 1
        compact = exact - encode_spaces(rows)
        header = encode(dtype, (rows,), version, fortran=False, length=compact)
        assert numpy.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))[0] == (rows,)
        with pytest.raises(ValueError, match=r"no room .* emmap\.save"):
            encode(dtype, (rows * 10,), version, fortran=False, length=compact)


def encode_spaces(rows: int) -> int:
    """The spaces that stand before the digits where there is room."""
    header = encode(numpy.dtype("<f8"), (rows,), b"\x01\x00", fortran=False)
    before = header[: header.index(b",)")]
    return len(before) - before.index(b"(") - 1 - len(str(rows))


class Torn:
    """A mapping whose header somebody is writing while it is read for the first time."""

    name = "torn"

    def __init__(self, before: bytes, between: bytes, after: bytes) -> None:
        self.states = [before, between, after]

    def __len__(self) -> int:
        return 128 + 800

    def size(self) -> int:
        return len(self)

    def __getitem__(self, part: slice) -> bytes:
        if len(self.states) > 1 and part.stop > 12:
            return self.states.pop(0)[part]
        return self.states[0][part]


def test_header_that_changes_while_it_is_read() -> None:
    layout = make_npy(numpy.dtype("<f8"), (99,))
    header, longer = layout.header, layout.with_rows(100).header
    too_long = layout.with_rows(999).header  # as when new digits stand before old ones
    mapping: Any = Torn(too_long, longer, longer)
    assert read_npy(mapping).shape == (100,)
    mapping = Torn(header.replace(b"(", b"?"), header, header)
    assert read_npy(mapping).shape == (99,)
    mapping = Torn(too_long, too_long, too_long)
    with pytest.raises(emmap.CorruptFileError, match="8120 bytes, but this one only 928"):
        read_npy(mapping)


def npy(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + data


def told(descr: str = "'<i4'", order: str = "False", shape: str = "(2,)", more: str = "") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}{more}}}\n"
    return npy(text.encode(), bytes(8))


DAMAGED = {
    "empty": b"",
    "other magic": b"\x93NUMPZ" + told()[6:],
    "cut in the magic": b"\x93NUM",
    "cut in the version": b"\x93NUMPY\x01",
    "cut in the length": b"\x93NUMPY\x01\x00\x10",
    "cut in the header": told()[:40],
    "cut in the padding": told(shape="(0,)")[:-9],
    "cut in the data": told()[:-1],
    "300 KB of padding": npy(told(shape="(0,)")[10:-9].ljust(300_000), version=b"\x02\x00"),
    "version 4": npy(b"{}", version=b"\x04\x00"),
    "version 1.1": npy(b"{}", version=b"\x01\x01"),
    "a header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "no text": npy(b""),
    "not a literal": npy(b"__import__('os').system('true')"),
    "not closed": npy(b"{'descr': "),
    "a NUL byte": npy(b"{'descr': \0}"),
    "deep": npy(b"(" * 60_000 + b")"),
    "deeper": npy(b"-" * 60_000 + b"1"),
    "not UTF-8": npy(b"{'\xff': 1}", version=b"\x03\x00"),
    "unhashable": npy(b"{[]: 1}"),
    "a list": npy(b"[1, 2]"),
    "unknown key": told(more=", 'more': 1"),
    "missing key": npy(b"{'descr': '<i4', 'shape': (2,)}"),
    "no dtype": told(descr="'nonsense'"),
    "a dtype of numbers": told(descr="12"),
    "a dtype of None": told(descr="[None]"),
    "a negative dtype": told(descr="'<i-4'"),
    "fields twice": told(descr="[('a', '<i4'), ('a', '<i4')]"),
    "order 1": told(order="1"),
    "order None": told(order="None"),
    "a list as shape": told(shape="[2]"),
    "an int as shape": told(shape="2"),
    "True as shape": told(shape="(True,)"),
    "a fraction as shape": told(shape="(2.0,)"),
    "negative shape": told(shape="(-1,)"),
    "negative twice": told(shape="(-1, -2)"),
    "too large": told(shape="(3,)"),
    "2^62 elements": told(shape=f"({1 << 62},)"),
    "a product of 2^64": told(shape=f"({1 << 32}, {1 << 32})"),
    "2^64": told(shape=f"({1 << 64},)"),
    "2^64 times nothing": told(shape=f"({1 << 64}, 0)"),
    "2^126 times nothing": told(shape=f"({1 << 63}, {1 << 63}, 0)"),
    "too many dimensions": told(shape="(1,) * 65"),
    "65 dimensions": told(shape="(" + "1, " * 65 + ")"),
    "a subarray": told(descr="('<i4', (2,))", shape="(1,)"),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("mode", ["r", "c"])
def test_damaged_file(name: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(emmap.CorruptFileError) as caught:
        emmap.load(path, mode)
    assert caught.value.filename == str(path)
    assert 0 <= caught.value.offset <= max(len(DAMAGED[name]), 12)
    assert path.read_bytes() == DAMAGED[name]


@pytest.mark.parametrize("descr", ["'|O'", "[('x', '<i4'), ('y', '|O')]", "'object'"])
def test_objects_are_never_unpickled(descr: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(told(descr=descr))
    with pytest.raises(ValueError, match="Python objects"):
        emmap.load(tmp_path / "a.npy")


@settings(quickly, max_examples=150)
@given(data=st.data())
def test_mutated_file_is_refused_or_read(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(told(descr="[('x', '<i4'), ('y', '<u2', (2,))]"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from(b"0123456789-(),'[]{}<>|fiuSUVO\0\xff"))
    del content[data.draw(st.integers(0, len(content))) or len(content) :]
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    try:
        loaded = emmap.load(path)
    except ValueError:
        return
    assert loaded.nbytes <= len(content)
    loaded.tobytes()


@pytest.mark.parametrize(
    "told",
    [
        "'descr': '<i4', 'fortran_order': False, 'shape': 0x" + "f" * 20_000,
        "'descr': '<i4', 'fortran_order': 0x" + "f" * 20_000 + ", 'shape': (1,)",
        "'descr': 0x" + "f" * 20_000 + ", 'fortran_order': False, 'shape': (1,)",
        "'descr': '|S0', 'fortran_order': False, 'shape': (1,)",
        "'descr': ('<i4', (0,)), 'fortran_order': False, 'shape': (1,)",
        "'descr': [('a', '<i4', (0,))], 'fortran_order': False, 'shape': (1,)",
    ],
    ids=range(6),
)
def test_headers_that_are_hard_to_tell_of(told: str, tmp_path: Path) -> None:
    text = f"{{{told}, }}\n".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + bytes(100))
    with pytest.raises(emmap.CorruptFileError):
        emmap.load(path)
