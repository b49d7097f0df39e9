"""The header of a .npy file: read with suspicion, and written with room for more rows."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy
from numpy.lib import format as numpy_format

from emmap.arrays.layout import DType, Layout, Shape, check_dtype, check_shape
from emmap.errors import CorruptFileError
from emmap.mapping import MemoryMap

MAGIC = b"\x93NUMPY"
# By version: the bytes of the field that holds the header's length, and the encoding of its text.
VERSIONS = {b"\x01\x00": (2, "latin1"), b"\x02\x00": (4, "latin1"), b"\x03\x00": (4, "utf-8")}
LONGEST_HEADER = 1 << 18  # enough for thousands of fields, and parsed within a second
ALIGNMENT = 64  # of the first element
WORD = 8  # what a processor stores at once
DIGITS = 16  # room for the number of rows


@dataclass(frozen=True)
class NpyLayout(Layout):
    """An array behind a .npy header, which tells its dtype and shape."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles without the header, which may be long, and another one by then."""
        return NpyLayout, (self.dtype, self.shape, self.start, self.fortran)

    def reread(self, mapping: MemoryMap) -> Self:
        """The layout that the header tells now."""
        if self.header and mapping[: self.start] == self.header:
            return self
        now = read_npy(mapping)
        if (now.dtype, now.shape[1:], now.start) != (self.dtype, self.shape[1:], self.start):
            raise CorruptFileError("the header now tells of another array", mapping.name)
        return replace(self, shape=now.shape, header=now.header)

    def with_rows(self, rows: int) -> Self:
        """The layout of an array of so many rows. `ValueError` where the header has no room."""
        shape = (rows, *self.shape[1:])
        version = self.header[len(MAGIC) : len(MAGIC) + 2]
        header = encode(self.dtype, shape, version, length=self.start, fortran=self.fortran)
        return replace(self, shape=shape, header=header)

    def publish(self, mapping: MemoryMap) -> None:
        """Writes the header, so that whoever reads it sees the old rows or the new ones.

        The digits that change lie in one word of the headers that we write, and one store changes
        a word. Else the kernel writes: it copies all of these few bytes, or none, before it ends a
        killed process.
        """
        before = int.from_bytes(mapping[: self.start], "big")
        changed = before ^ int.from_bytes(self.header, "big")
        if changed == 0:
            return
        first = self.start - (changed.bit_length() + 7) // 8
        last = self.start - ((changed & -changed).bit_length() + 7) // 8
        word = first // WORD
        end = (word + 1) * WORD
        if last < end <= self.start:
            with memoryview(mapping)[:end].cast("Q") as words:
                words[word] = int.from_bytes(self.header[end - WORD : end], sys.byteorder)
        else:
            os.pwrite(mapping.fileno(), self.header, 0)


def make_npy(dtype: DType, shape: Shape, *, fortran: bool = False) -> NpyLayout:
    """The layout of a new .npy file. `ValueError` for a dtype that its header cannot tell."""
    told = numpy_format.descr_to_dtype(numpy_format.dtype_to_descr(dtype))
    if told.hasobject or told.itemsize != dtype.itemsize:
        raise ValueError(f"a .npy header cannot describe the dtype {dtype!r}")
    for version in VERSIONS:
        try:
            header = encode(dtype, shape, version, fortran=fortran)
        except (UnicodeEncodeError, OverflowError):
            continue
        return NpyLayout(dtype, shape, len(header), fortran, header)
    raise ValueError(f"the description of the dtype is longer than {LONGEST_HEADER} bytes")


def encode(
    dtype: DType, shape: Shape, version: bytes, *, fortran: bool, length: int | None = None
) -> bytes:
    """The header of such an array, `length` bytes long (None: as short as it can be)."""
    width, encoding = VERSIONS[version]
    descr = numpy_format.dtype_to_descr(dtype)
    head = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': (".encode(encoding)
    preamble = len(MAGIC) + len(version) + width
    rows = b"%d" % shape[0] if shape else b""
    inner = b",".join(b" %d" % n for n in shape[1:])
    tail = (b"," + inner if shape else b"") + b"), }"
    # Digits that end where a word ends: while eight are enough, one store changes them all.
    digits_end = -(-(preamble + len(head) + DIGITS) // WORD) * WORD
    aligned = head + rows.rjust(digits_end - preamble - len(head)) + tail if shape else head + tail
    for text in (aligned, head + rows + tail):
        needed = preamble + len(text) + 1
        total = length or -(-needed // ALIGNMENT) * ALIGNMENT
        if needed <= total <= preamble + LONGEST_HEADER:
            size = (total - preamble).to_bytes(width, "little")
            return MAGIC + version + size + text.ljust(total - preamble - 1) + b"\n"
    if length is None:
        raise OverflowError("the description of the dtype is too long for this version")
    raise ValueError(
        f"the .npy header has no room for the shape {shape}: write the array again with "
        f"emmap.save, which leaves some"
    )


def read_npy(mapping: MemoryMap) -> NpyLayout:
    """The layout that the header at the start of `mapping` tells.

    Raises `CorruptFileError` for anything that is not a .npy file with all its elements.
    """
    while True:
        header = _header_of(mapping)
        try:
            layout = _parse(header, mapping.name)
            if layout.end > len(mapping) and layout.end > (size := mapping.size()):
                raise CorruptFileError(
                    f"a .npy file of shape {layout.shape} and dtype {layout.dtype} has "
                    f"{layout.end} bytes, but this one only {size}",
                    mapping.name,
                    size,
                )
            return layout
        except CorruptFileError:
            if mapping[: len(header)] == header:  # or somebody has just appended
                raise


def _header_of(mapping: MemoryMap) -> bytes:
    start = mapping[: len(MAGIC) + 6]
    if not start.startswith(MAGIC):
        raise CorruptFileError(
            "this is not a .npy file: its first bytes are others. Give dtype= to load raw bytes",
            mapping.name,
        )
    version = start[len(MAGIC) : len(MAGIC) + 2]
    if version not in VERSIONS:
        number = ".".join(map(str, version))
        raise CorruptFileError(f"unknown version {number!r} of .npy", mapping.name, len(MAGIC))
    field_start = len(MAGIC) + len(version)
    preamble = field_start + VERSIONS[version][0]
    length = int.from_bytes(start[field_start:preamble], "little")
    if length > LONGEST_HEADER:
        raise CorruptFileError(f"a header of {length} bytes", mapping.name, field_start)
    header = mapping[: preamble + length]
    if len(header) < preamble + length:
        raise CorruptFileError("the file ends inside its header", mapping.name, len(header))
    return header


def shown(value: object) -> str:
    """A value for a message. Python refuses to print very long numbers."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return "a very long number"


def _parse(header: bytes, name: str | None) -> NpyLayout:
    version = header[len(MAGIC) : len(MAGIC) + 2]
    width, encoding = VERSIONS[version]
    preamble = len(MAGIC) + len(version) + width

    def corrupt(why: str) -> CorruptFileError:
        return CorruptFileError(f"damaged .npy header: {why}", name, preamble)

    try:
        told = ast.literal_eval(header[preamble:].decode(encoding))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise corrupt("not a Python literal") from error
    if not isinstance(told, dict) or set(told) != {"descr", "fortran_order", "shape"}:
        raise corrupt("not a dictionary of descr, fortran_order and shape")
    shape, fortran = told["shape"], told["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise corrupt(f"the shape is {shown(shape)}")
    if not isinstance(fortran, bool):
        raise corrupt(f"fortran_order is {shown(fortran)}")
    try:
        dtype = numpy.dtype(numpy_format.descr_to_dtype(told["descr"]))
    except Exception as error:  # whatever NumPy makes of nonsense
        raise corrupt(f"the dtype is {shown(told['descr'])}") from error
    if dtype.itemsize == 0:
        raise corrupt(f"the dtype has no bytes: {shown(told['descr'])}")
    check_dtype(dtype)
    if dtype.subdtype is not None:
        raise corrupt(f"the dtype is {shown(told['descr'])}")
    try:
        check_shape(shape, dtype)
    except ValueError as error:
        raise corrupt(str(error)) from error
    return NpyLayout(dtype, shape, len(header), fortran, header)
