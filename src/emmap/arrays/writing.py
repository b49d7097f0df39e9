"""Elements on their way into a file: by the kernel, which is faster than filling fresh pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]

# The bytes that are gathered at once where elements do not lie side by side.
PIECE = 4 << 20


def write_array(fd: int, array: Array, offset: int, name: str | None) -> None:
    """Writes the elements in C order at `offset` of the open file `fd`, which has this name.

    Raises `OSError`, and then some may have been written.
    """
    for piece in pieces(array):
        data = piece.reshape(-1).view("u1")
        write_bytes(fd, data.data, offset, name)
        offset += len(data)


def write_bytes(fd: int, data: bytes | memoryview, offset: int, name: str | None) -> None:
    """Writes all of `data` at `offset`."""
    rest = memoryview(data)
    try:
        while len(rest):
            written = os.pwrite(fd, rest, offset)
            rest = rest[written:]
            offset += written
    except OSError as error:
        error.filename = name
        raise


def pieces(array: Array) -> Iterator[Array]:
    """The elements in C order, in contiguous arrays, with little copied at a time."""
    if array.size == 0:
        return
    if array.flags.c_contiguous or array.nbytes <= PIECE:
        yield numpy.ascontiguousarray(array)
        return
    step = max(1, PIECE * len(array) // array.nbytes)
    for start in range(0, len(array), step):
        part = array[start : start + step]
        if len(part) == 1 and part.ndim > 1:
            yield from pieces(part[0])
        else:
            yield numpy.ascontiguousarray(part)
