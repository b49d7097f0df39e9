"""`MappedArray`: a NumPy array in mapped memory. It grows in place, and pickles by reference."""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy
from numpy.typing import ArrayLike

from emmap.arrays.layout import DType, Layout, Shape
from emmap.arrays.writing import write_array
from emmap.errors import AddressSpaceError, PageLostError, ProtectionError
from emmap.mapping import MemoryMap, open
from emmap.mapping.handover import reference
from emmap.mapping.length import take_growth_back

if TYPE_CHECKING:
    Array = numpy.ndarray[Any, DType]
else:
    Array = numpy.ndarray

# Address space for an array that outgrows its mapping. It costs nothing, and a process has 128 TiB.
ROOM = 64 << 30

# How another process finds the file: by its path, or by a function that gets a descriptor.
Source = str | tuple[Any, tuple[Any, ...]]


class MappedArray(Array):
    """A NumPy array whose elements are the bytes of a file, or of shared memory.

    `emmap.empty`, `load` and `share` make one. It is an `ndarray`, and NumPy's functions cost what
    they cost on any other. Slices, transposes and fields of it are mapped arrays over the same
    bytes; the results of computations are plain arrays, and copies hold no mapping.

    It pickles by reference: another process gets some hundred bytes, whatever the size, and maps
    the same memory, of a slice only the bytes that it spans. A write there is seen here. An array
    in shared memory must be kept until the other process has unpickled it (for what a worker of
    multiprocessing or an executor returns, that is seen to). `numpy.asarray` makes a plain view,
    which pickles by value as all plain arrays do; so does an array without a mapping.

    Python objects cannot be elements. When somebody truncates the file, NumPy reads zeros, and the
    next `flush`, `append` or `close` raises `PageLostError`.

    >>> import emmap, pickle
    >>> with emmap.empty((1000, 1000), "i4") as a:
    ...     message = pickle.dumps(a[::-1, 500])
    ...     a[999, 500] = 7
    ...     int(pickle.loads(message)[0]), len(message) < 1000
    (7, True)
    """

    # Only the array that a file holds has one; views and copies do not.
    _layout: Layout | None = None

    if TYPE_CHECKING:  # NumPy's stubs promise plain arrays, and so none of what is here

        def __getitem__(self, item: Any, /) -> Any: ...

    @property
    def mapping(self) -> MemoryMap | None:
        """The mapping that the elements lie in; None when this is a copy.

        >>> import emmap
        >>> with emmap.empty(3) as a:
        ...     a[1:].mapping is a.mapping, a.copy().mapping
        (True, None)
        """
        holder: Any = self.base
        while holder is not None and not isinstance(holder, MemoryMap):
            is_view = isinstance(holder, memoryview)
            holder = holder.obj if is_view else getattr(holder, "base", None)
        return holder

    def _mapped(self) -> MemoryMap:
        mapping = self.mapping
        if mapping is None:
            raise ValueError("this array is a copy: it lies in no mapping. emmap.save writes it")
        return mapping

    def _whole(self) -> tuple[MemoryMap, Layout]:
        if self._layout is None or not self._layout.grows:
            raise ValueError(
                "only an array as emmap.empty, load, share or append return it can become longer, "
                "along its first axis: this is a view or a copy of one, or has Fortran's order, or "
                "no axis"
            )
        mapping = self._mapped()
        if mapping.mode == "c":
            raise ProtectionError("a private copy (mode 'c') does not follow its file")
        len(mapping)  # raises ClosedError
        return mapping, self._layout

    # Growth

    def append(self, rows: ArrayLike) -> MappedArray:
        """Writes rows behind the last one and returns the longer array, over the same memory.

        `rows` has the shape of this array but for the first axis. Nothing that is there is copied
        or moved, and this array and its views stay as they are. In a file the rows come first, and
        the header tells of them when they are complete: after a kill in between it holds what it
        held before. (Raw bytes have no header: there some of the rows may stay, each complete.)
        Other processes see the rows by `reload`. After a power loss the file is sure to have what
        was flushed.

        One process may append at a time, and to the longest array. Where its mapping has no room,
        the file is mapped again, with 64 GiB of address space or twice the size, whichever is more;
        `reserve=` takes it at the start.

        Raises `OSError` (ENOSPC) on a full disk, with all as it was; `ValueError` for another
        shape, for views, for Fortran's order, for a header without room, and where others have
        appended meanwhile; `ProtectionError` when open for reading; `AddressSpaceError` where
        there are no addresses. Cost: a few system calls, and the new bytes.

        >>> import emmap, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "log.npy")
        >>> a = emmap.empty((0, 2), "i4", path)
        >>> a = a.append([[1, 2], [3, 4]])
        >>> a = a.append([[5, 6]])
        >>> a.tolist()
        [[1, 2], [3, 4], [5, 6]]
        """
        mapping, layout = self._whole()
        if mapping.mode != "r+" or not self.flags.writeable:
            raise ProtectionError("the array is open for reading: load it with mode 'r+' to append")
        size = mapping.size()
        if mapping.lost or size < layout.end:
            raise PageLostError(
                "the file was truncated, so nothing is appended", mapping.name, size
            )
        new = numpy.asarray(rows, layout.dtype)
        if new.ndim != len(layout.shape) or new.shape[1:] != layout.shape[1:]:
            expected = ", ".join(["n", *map(str, layout.shape[1:])])
            raise ValueError(f"the rows have shape {new.shape}, and should have ({expected})")
        if layout.row_bytes == 0:
            raise ValueError(f"rows without bytes cannot be counted: the shape is {layout.shape}")
        now = layout.reread(mapping)
        if now.shape != layout.shape:
            raise ValueError(
                f"the file holds {now.shape[0]} rows by now, not {layout.shape[0]}: append to the "
                f"array that append or reload() returned last"
            )
        longer = now.with_rows(layout.shape[0] + len(new))
        try:
            # By the kernel, which lets the file end where it has written: who counts rows by the
            # file's size never sees any that are not there yet.
            write_array(mapping.fileno(), new, layout.end, mapping.name)
            if longer.end > mapping.capacity:
                mapping = map_with_room(mapping, longer.end)
            mapping.grow(longer.end)
        except BaseException:
            take_growth_back(mapping.fileno(), size, longer.end, mapping.name)
            raise
        longer.publish(mapping)
        return lay_out(mapping, longer)

    def reload(self) -> MappedArray:
        """The array as long as its file is now: with the rows that another process has appended.

        This one and its views stay as they are. It follows the file that was loaded, also when
        another one has taken its name (by `emmap.save`); `emmap.load` gives that one. Raises
        `OSError` when a file that was loaded for reading without `reserve=` has lost its name, and
        `ValueError` for a view. Cost: microseconds, or one mapping where the old one has no room.

        >>> import emmap, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "log.npy")
        >>> writer = emmap.empty(0, "i4", path)
        >>> reader = emmap.load(path)
        >>> writer = writer.append([1, 2])
        >>> reader.reload().tolist(), len(reader)
        ([1, 2], 0)
        """
        mapping, layout = self._whole()
        now = layout.reread(mapping)
        if now.end > len(mapping):
            mapping = map_with_room(mapping, now.end)
        return lay_out(mapping, now, writeable=self.flags.writeable)

    # The mapping's end

    def flush(self) -> None:
        """Waits until the whole file of the array is on the disk.

        Raises `PageLostError` when the file was truncated, `ClosedError` after `close`, and
        `ValueError` for a copy. Cost: that of the disk, for the pages that have changed.

        >>> import emmap, os, tempfile
        >>> a = emmap.empty(3, path=os.path.join(tempfile.mkdtemp(), "a.npy"))
        >>> a += 1
        >>> a.flush()
        """
        self._mapped().flush()

    def close(self) -> None:
        """Ends the use of the file, for all arrays over the same mapping; not of the elements.

        They stay valid until the last array has gone. From now on `flush`, `append`, `reload` and
        pickling raise `ClosedError`. Does nothing for a copy, or when called again. Raises
        `PageLostError`, after having closed, when the file was truncated and nobody has been told.

        >>> import emmap
        >>> a = emmap.empty(3)
        >>> a.close()
        >>> float(a.sum())
        0.0
        """
        mapping = self.mapping
        if mapping is not None:
            mapping.close()

    def __enter__(self) -> Self:
        self._mapped().__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._mapped().__exit__(exc_type, exc_value, traceback)

    # What NumPy and pickle ask

    def __array_wrap__(self, array: Any, *asked: Any) -> Any:
        """The result of a computation: a plain array, unless it lies in a mapping."""
        if array is self:
            return array
        if array.base is not None:  # not a result: squeeze, for one, gives a view
            view = array.view(MappedArray)
            if view.mapping is not None:
                return view
        # NumPy 2 asks with (context, return_scalar), NumPy 1 with (context,).
        scalar = asked[1] if len(asked) > 1 else array.ndim == 0
        return array[()] if scalar else array.view(numpy.ndarray)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles by reference: the receiver maps the same bytes of the same file or memory."""
        mapping = self.mapping
        if mapping is None:
            return self.view(numpy.ndarray).__reduce_ex__(protocol)
        len(mapping)  # raises ClosedError
        if mapping.mode == "c":
            raise TypeError(
                "a private copy (mode 'c') cannot be pickled by reference, which would lose its "
                "changes: send emmap.share(array), or by value numpy.array(array)"
            )
        writeable = self.flags.writeable
        if self._layout is not None:
            return whole_array, (mapping, self._layout, writeable)
        start, stop = span_of(self, mapping)
        source: Source | None = mapping.name
        if source is None:
            source = reference(mapping.fileno(), write=mapping.mode == "r+")
        place = (mapping.mode, mapping.offset + start, stop - start)
        first = address_of(self) - mapping.address - start if self.size else 0
        return part_of_array, (
            source,
            place,
            (self.shape, self.dtype, first, self.strides),
            writeable,
        )


def address_of(array: Array) -> int:
    """Where the element of index 0 lies in this process."""
    return int(array.__array_interface__["data"][0])


def span_of(array: Array, mapping: MemoryMap) -> tuple[int, int]:
    """The bytes of the mapping from the array's lowest to its highest one."""
    if array.size == 0:
        return 0, 0
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    first = address_of(array) - mapping.address
    start = first + sum(step for step in steps if step < 0)
    stop = first + sum(step for step in steps if step > 0) + array.itemsize
    if not 0 <= start <= stop <= len(mapping):
        raise ValueError("the array's strides lead out of its mapping")
    return start, stop


def bytes_of(mapping: MemoryMap) -> Array:
    """All bytes of the mapping; also of an empty one, which arrays without elements lie in."""
    # NumPy counts as a view only what it gets through a memoryview.
    return numpy.frombuffer(memoryview(mapping), "u1")


def lay_out(mapping: MemoryMap, layout: Layout, *, writeable: bool = True) -> MappedArray:
    """The array that lies so in the mapping."""
    array = MappedArray(
        layout.shape,
        layout.dtype,
        buffer=bytes_of(mapping),
        offset=layout.start,
        order="F" if layout.fortran else "C",
    )
    array._layout = layout
    if not writeable:
        array.flags.writeable = False
    return array


def whole_array(mapping: MemoryMap, layout: Layout, writeable: bool) -> MappedArray:  # noqa: FBT001
    """Unpickles an array that has a layout."""
    if len(mapping) < layout.end:
        raise PageLostError("the file was truncated on the way", mapping.name, len(mapping))
    return lay_out(mapping, layout, writeable=writeable)


def part_of_array(
    source: Source,
    place: tuple[str, int, int],
    form: tuple[Shape, DType, int, Shape],
    writeable: bool,  # noqa: FBT001
) -> MappedArray:
    """Unpickles a view: maps the bytes that it spans, and no others."""
    mode, offset, length = place
    shape, dtype, first, strides = form
    if isinstance(source, str):
        mapping = open(source, mode, offset=offset, length=length)
    else:
        take, arguments = source
        fd = take(*arguments)
        try:
            mapping = open(fd, mode, offset=offset, length=length)
        finally:
            os.close(fd)
    array = MappedArray(
        shape,
        dtype,
        buffer=bytes_of(mapping),
        offset=first,
        strides=strides,
    )
    if not writeable:
        array.flags.writeable = False
    return array


def map_with_room(mapping: MemoryMap, size: int) -> MemoryMap:
    """Maps the same file from its start, `size` bytes or more, with addresses for many more."""
    if mapping._backing is None:
        raise ValueError("this shared memory has no descriptor, so it has a fixed size")
    with mapping._backing.descriptor(write=mapping.mode == "r+") as descriptor:
        try:
            return open(descriptor.fd, mapping.mode, reserve=max(ROOM, 2 * size))
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise AddressSpaceError(
                f"there are no addresses to map the {size} bytes of {mapping.name or 'the memory'} "
                f"again: raise the limit (ulimit -v), or close other mappings"
            ) from error
