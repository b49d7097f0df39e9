"""`emmap.empty`, `load`, `save` and `share`: how mapped arrays come to be."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy
from numpy.typing import ArrayLike, DTypeLike

from emmap.arrays.array import MappedArray, lay_out
from emmap.arrays.layout import Layout, check_dtype, make_layout
from emmap.arrays.npy import make_npy, read_npy
from emmap.arrays.replacing import Path, Replacement
from emmap.arrays.writing import write_array, write_bytes
from emmap.mapping import anonymous, open
from emmap.mapping.flags import Advice

# From so many bytes on NumPy asks for huge pages, and so do we.
HUGE = 4 << 20


def empty(
    shape: int | tuple[int, ...],
    dtype: DTypeLike = float,
    path: Path | None = None,
    *,
    reserve: int | None = None,
) -> MappedArray:
    """A new array of zeros, in shared memory or in a new file.

    Without a `path` it is in memory that no file holds, and that other processes share when they
    inherit or unpickle it. A path that ends in ".npy" gives a file that `numpy.load` reads, any
    other one raw bytes. A file that is there is replaced, with its permissions kept; whoever has it
    mapped keeps the old one. `reserve` takes address space for so many bytes, so that `append`
    need not map again.

    Raises `OSError` (ENOSPC) on a full disk and `ValueError` for a dtype with Python objects; a
    file that was there is then as it was. Cost: a few system calls, and the space on the disk.

    >>> import emmap
    >>> with emmap.empty((2, 3), "i4") as a:
    ...     a[1] = 7
    ...     a.tolist()
    [[0, 0, 0], [7, 7, 7]]
    """
    layout = make_layout(numpy.dtype(dtype), shape, 0, 0)
    if path is None:
        return in_memory(layout, reserve)
    layout = in_file(layout, path)
    with Replacement(path, layout.end) as new:
        write_bytes(new.fd, layout.header, 0, new.target)
        open(new.fd, "r+", reserve=reserve).close()  # before it is too late to find that it fails
        new.take_place()
        return lay_out(open(new.fd, "r+", reserve=reserve), layout)


def load(
    path: Path,
    mode: str = "r",
    *,
    dtype: DTypeLike | None = None,
    shape: int | tuple[int, ...] | None = None,
    offset: int = 0,
    reserve: int | None = None,
) -> MappedArray:
    """The array that a file holds, mapped: nothing is read before it is used.

    The file is a .npy file, or raw bytes with the given `dtype`, from the byte `offset` on; `shape`
    None gives one dimension, as long as fits. The modes are ``"r"`` (read), ``"r+"`` (read and
    write) and ``"c"`` (write to private pages, which the file never sees). `reserve` takes address
    space for so many bytes, so that `append` and `reload` need not map again.

    Raises `CorruptFileError` for a file that is no .npy file or a damaged one, and `ValueError` for
    elements that are Python objects (nothing is ever unpickled) or for raw bytes that are too few.
    Cost: some tens of microseconds, whatever the size.

    >>> import emmap, numpy, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.npy")
    >>> numpy.save(path, numpy.arange(6).reshape(2, 3))
    >>> with emmap.load(path, "r+") as a:
    ...     a[1] += 10
    >>> numpy.load(path).tolist()
    [[0, 1, 2], [13, 14, 15]]
    """
    if mode not in ("r", "r+", "c"):
        raise ValueError(f"mode is one of r, r+ and c, not {mode!r}; emmap.empty makes new files")
    if dtype is None and (shape is not None or offset):
        raise ValueError("shape= and offset= tell where raw bytes lie: give dtype= with them")
    if offset < 0:
        raise ValueError(f"offset is a number of bytes, not {offset}")
    mapping = open(path, mode, reserve=reserve)
    try:
        layout: Layout
        if dtype is None:
            layout = read_npy(mapping)
            if layout.end > len(mapping):  # somebody has appended since it was mapped
                mapping.close()
                return load(path, mode, reserve=reserve)
        else:
            layout = make_layout(dtype, shape, offset, len(mapping))
            if layout.end > len(mapping):
                raise ValueError(
                    f"an array of shape {layout.shape} and dtype {layout.dtype} at offset {offset} "
                    f"ends at byte {layout.end}, and {mapping.name} has {len(mapping)}"
                )
        return lay_out(mapping, layout)
    except BaseException:
        mapping.close()
        raise


def save(path: Path, array: ArrayLike) -> None:
    """Writes an array to a file, which then takes the place of the one at `path` at once.

    A path that ends in ".npy" gives a file that `numpy.load` reads (also with `mmap_mode`), any
    other one the raw bytes in C order. Whoever opens the path sees the old file or the complete new
    one, also after a power loss; a full disk, or a kill in between, leaves the old one. Its header
    has room for the array to grow by `append`.

    Raises `OSError`, and `ValueError` for a dtype with Python objects. Cost: one copy, and the
    writing to the disk, for which it waits.

    >>> import emmap, numpy, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.npy")
    >>> emmap.save(path, [[1, 2], [3, 4]])
    >>> numpy.load(path).tolist()
    [[1, 2], [3, 4]]
    """
    source = numpy.asarray(array)
    layout = in_file(layout_like(source), path)
    with Replacement(path, layout.end) as new:
        write_bytes(new.fd, layout.header, 0, new.target)
        elements = source.T if layout.fortran else source
        write_array(new.fd, elements, layout.start, new.target)
        os.fsync(new.fd)
        new.take_place()


def share(array: ArrayLike) -> MappedArray:
    """The array in shared memory, so that it pickles by reference: a copy of it.

    An array that is shared already, because it lies in a file or in shared memory, is returned as
    it is. Raises `ValueError` for a dtype with Python objects. Cost: one copy.

    >>> import emmap, numpy, pickle
    >>> a = emmap.share(numpy.arange(1_000_000))
    >>> len(pickle.dumps(a)) < 1000, pickle.loads(pickle.dumps(a[5:8])).tolist()
    (True, [5, 6, 7])
    """
    if isinstance(array, MappedArray):
        mapping = array.mapping
        if mapping is not None and not mapping.closed and mapping.mode != "c":
            return array
    source = numpy.asarray(array)
    layout = layout_like(source)
    result = in_memory(layout)
    result[...] = source
    return result


def layout_like(array: numpy.ndarray[Any, Any]) -> Layout:
    """Raw bytes for the elements of `array`, in its order."""
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return Layout(check_dtype(array.dtype), array.shape, fortran=fortran)


def in_file(layout: Layout, path: Path) -> Layout:
    """The same array in a file of that name: behind a header, or in raw bytes and in C order."""
    if os.fsdecode(path).endswith(".npy"):
        return make_npy(layout.dtype, layout.shape, fortran=layout.fortran)
    return replace(layout, fortran=False)


def in_memory(layout: Layout, reserve: int | None = None) -> MappedArray:
    """An array of zeros in shared memory."""
    mapping = anonymous(layout.end, shared=True, reserve=reserve)
    if layout.end >= HUGE:
        with suppress(OSError):  # a kernel without huge pages
            mapping.advise(Advice.HUGEPAGE)
    return lay_out(mapping, layout)
