"""Where an array lies in its mapping, and how the number of its rows is told."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy

from emmap.mapping import MemoryMap

Shape = tuple[int, ...]
DType = numpy.dtype[Any]


@dataclass(frozen=True)
class Layout:
    """An array in raw bytes, from the offset `start` of its mapping on.

    Nothing but the file's size tells how many rows there are: each one that fits, as long as the
    file is appended to at its end.
    """

    dtype: DType
    shape: Shape
    start: int = 0
    fortran: bool = False
    # What stands before the elements, as it was last read or written.
    header: bytes = field(default=b"", compare=False, repr=False)

    @property
    def end(self) -> int:
        """The offset behind the array's last byte."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """The bytes of one step along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def grows(self) -> bool:
        """Do further rows belong behind the last byte?"""
        return len(self.shape) > 0 and not (self.fortran and len(self.shape) > 1)

    def reread(self, mapping: MemoryMap) -> Self:
        """The layout that the file has now."""
        if self.row_bytes == 0:
            return self
        rows = max(mapping.size() - self.start, 0) // self.row_bytes
        return self if rows == self.shape[0] else self.with_rows(rows)

    def with_rows(self, rows: int) -> Self:
        """The layout of an array of so many rows at the same place."""
        return replace(self, shape=(rows, *self.shape[1:]))

    def publish(self, mapping: MemoryMap) -> None:
        """Tells the file of this layout, whose rows are there. The size has told it already."""


def make_layout(dtype: Any, shape: int | Shape | None, start: int, size: int) -> Layout:
    """The layout of raw bytes, as a caller describes it; `shape` None is what fits in `size`.

    Raises `ValueError` for what cannot be an array in memory.
    """
    kind = check_dtype(numpy.dtype(dtype))
    if shape is None:
        shape = max(size - start, 0) // kind.itemsize
    try:
        dimensions = tuple(int(n) for n in shape) if isinstance(shape, tuple | list) else (shape,)
        dimensions = tuple(n.__index__() for n in dimensions)
    except (AttributeError, TypeError, ValueError):
        raise TypeError(f"a shape is an int or a tuple of ints, not {shape!r}") from None
    if kind.subdtype is not None:  # as NumPy does: an array of arrays is one with more dimensions
        kind, inner = kind.subdtype
        dimensions += inner
    check_shape(dimensions, kind)
    return Layout(kind, dimensions, start)


def check_dtype(dtype: DType) -> DType:
    """Refuses what cannot lie in a file: addresses, and elements that have no bytes."""
    if dtype.hasobject:
        raise ValueError(
            f"an array of Python objects ({dtype}) cannot lie in a mapping: they are addresses in "
            f"one process. Give it a dtype of numbers, dates or bytes"
        )
    if dtype.itemsize == 0:
        raise ValueError(f"the elements of {dtype!r} have no bytes: say how many, as in 'S10'")
    return dtype


def check_shape(shape: Shape, dtype: DType) -> None:
    """Refuses the shapes that NumPy refuses, however large their numbers are."""
    if any(n < 0 for n in shape):
        raise ValueError(f"a shape has no negative dimensions: {shape}")
    if math.prod(n or 1 for n in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} is larger than any memory")
    numpy.empty((0,) * len(shape), dtype)  # too many dimensions?
