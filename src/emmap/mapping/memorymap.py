"""`MemoryMap`: a file or memory, mapped. The last of the five layers."""

from __future__ import annotations

import errno
import os
import stat
import sys
from operator import index
from weakref import WeakSet

from emmap.mapping import constants
from emmap.mapping.backing import Backing, file_size, is_named, name_of
from emmap.mapping.constants import (
    ACCESS_COPY,
    ACCESS_DEFAULT,
    ACCESS_READ,
    ACCESS_WRITE,
    MAP_ANONYMOUS,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_TYPE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)
from emmap.mapping.file import MappedFile
from emmap.mapping.filesystem import NETWORK, warn_of_network
from emmap.mapping.handover import reference
from emmap.mapping.one_class import as_one_class
from emmap.mapping.statfs import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Iterator
    from typing import Any, Self, SupportsIndex, TypeVar

    import numpy

    AnyStructure = TypeVar("AnyStructure", ctypes.Structure, ctypes.Union)

ACCESS_NAMES = {
    ACCESS_DEFAULT: "ACCESS_DEFAULT",
    ACCESS_READ: "ACCESS_READ",
    ACCESS_WRITE: "ACCESS_WRITE",
    ACCESS_COPY: "ACCESS_COPY",
}


@as_one_class
class MemoryMap(MappedFile):
    """Bytes of a file, or memory, in this process's address space.

    `emmap.open` and `emmap.anonymous` make one. The constructor takes what that of the standard
    `mmap.mmap` takes, and all its methods are here with the same results, so the class can take
    its place in working code. It succeeds where the standard raises in these cases only: an empty
    file, an offset inside a page, a flush of any range, resizing a private mapping, closing under
    exported views.

    A mapping is a sequence of bytes (indexing, slices, `find`, the buffer protocol) and a file
    with a position (`read`, `write`, `seek`). Changes of a shared mapping are seen at once by
    everybody who maps or reads the file; those of a private one by nobody else. When the file is
    truncated by somebody, the methods raise `PageLostError`, and views read zeros.

    >>> import emmap, tempfile
    >>> with tempfile.TemporaryFile() as f:
    ...     _ = f.write(b"hello"); f.flush()
    ...     with emmap.MemoryMap(f.fileno(), 0) as m:
    ...         m[0:1] = b"J"
    ...         m[:], len(m)
    (b'Jello', 5)
    """

    # As with the standard class, only subclasses have a __dict__; the names leave theirs alone.
    __slots__ = ("__access", "__mode")

    if TYPE_CHECKING:  # what the type's sequence slot does

        def __iter__(self) -> Iterator[bytes]: ...
        def __reversed__(self) -> Iterator[bytes]: ...
        def __contains__(self, item: object, /) -> bool: ...

    def __new__(
        cls,
        fileno: SupportsIndex,
        length: SupportsIndex,
        flags: SupportsIndex = MAP_SHARED,
        prot: SupportsIndex = PROT_READ | PROT_WRITE,
        access: SupportsIndex = ACCESS_DEFAULT,
        offset: SupportsIndex = 0,
        *,
        trackfd: bool = True,
    ) -> Self:
        """Maps `length` bytes (0: to the end) of an open file, or anonymous memory (`fileno` -1).

        Either `access`, or `flags` and `prot`, say how, as with the standard mmap. `trackfd=False`
        keeps no copy of the descriptor, and then `size`, `resize` and `repair` cannot work.
        """
        fd, size, start = index(fileno), index(length), index(offset)
        if not 0 <= size <= sys.maxsize:
            raise OverflowError(f"memory mapped length must be positive, not {size}")
        if not 0 <= start <= sys.maxsize:
            raise OverflowError(f"memory mapped offset must be positive, not {start}")
        map_flags, protection, kind = _access_to_flags(index(access), index(flags), index(prot))
        sys.audit("mmap.__new__", fd, size, kind, start)
        if fd == -1:
            if size == 0:
                raise OSError(errno.EINVAL, "anonymous memory has no end: say how many bytes")
            self = cls._anonymous(size, map_flags, protection)
        else:
            self = cls._over(
                fd,
                None if trackfd else name_of(fd),
                start,
                size or None,
                map_flags,
                protection,
                keep=trackfd,
                reopen=False,
            )
            if start and len(self) == size == 0:
                raise ValueError(f"mmap offset is greater than file size: {start} is the end")
        self.__access = kind
        return self

    @classmethod
    def _over(
        cls,
        fd: int,
        name: str | None,
        offset: int,
        length: int | None,
        flags: int,
        prot: int,
        *,
        keep: bool,
        reopen: bool = True,
        reserve: int = 0,
        address: int | None = None,
    ) -> Self:
        """Maps a part of the open file `fd`, which stays the caller's."""
        size = file_size(fd, name)
        check_range(size, offset, length, name)
        if length is None:
            assert size is not None
            length = size - offset
        self = super().__new__(cls)
        backing = Backing(fd, name, keep=keep, reopen=reopen)
        page, kind = file_system(fd, name)
        self._place(backing, fd, offset, length, flags, prot, address, page, reserve)
        if kind in NETWORK:
            warn_of_network(fd, name, kind)
        return self

    @classmethod
    def _anonymous(
        cls, size: int, flags: int, prot: int, address: int | None = None, reserve: int = 0
    ) -> Self:
        """Maps memory without a file.

        Shared memory is a memfd, so that it can grow and be handed on; where no descriptor is to
        be had, it is shared with children only, and has a fixed size.
        """
        self = super().__new__(cls)
        if flags & MAP_TYPE == MAP_SHARED and not flags & constants.MAP_HUGETLB:
            try:
                fd = os.memfd_create("emmap", os.MFD_CLOEXEC)
            except OSError:
                fd = -1
            if fd >= 0:
                backing = Backing.owning(fd)
                os.ftruncate(fd, size)
                flags &= ~MAP_ANONYMOUS
                self._place(backing, fd, 0, size, flags, prot, address, constants.PAGESIZE, reserve)
                return self
        flags |= MAP_ANONYMOUS
        if flags & MAP_TYPE == MAP_SHARED:
            reserve = 0  # without a descriptor it cannot grow
        self._place(None, -1, 0, size, flags, prot, address, _anonymous_page(flags), reserve)
        return self

    def _place(
        self,
        backing: Backing | None,
        fd: int,
        offset: int,
        length: int,
        flags: int,
        prot: int,
        address: int | None,
        page: int,
        reserve: int,
    ) -> None:
        reservation = None
        if reserve and (address is not None or page != constants.PAGESIZE):
            raise ValueError("reserve= goes neither with a fixed address nor with huge pages")
        if reserve and fd >= 0 and not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("reserve= is for what can grow, and that is regular files")
        if address is not None:
            if address <= 0 or address % page:
                raise ValueError(f"a fixed address is a multiple of {page}, not {address:#x}")
            span = -(-(offset % page + length) // page) * page
            for candidate in list(_reservations):
                if candidate._offers(address, span):
                    reservation = candidate
        try:
            where = (address or 0, reservation, reserve)
            self._map(backing, fd, offset, length, prot, flags, page, *where)
        except FileExistsError:
            raise ValueError(
                f"the address {address:#x} is taken; only memory that emmap.anonymous(..., "
                f"protection=Protection.NONE) has reserved is replaced"
            ) from None
        self.__access = ACCESS_DEFAULT
        shared_mode = "r+" if prot & PROT_WRITE else "r"
        self.__mode = "c" if flags & MAP_TYPE == MAP_PRIVATE else shared_mode

    # What it is

    @property
    def name(self) -> str | None:
        """The absolute path of the file; None for anonymous memory and for files without a name."""
        return self._backing.name if self._backing is not None else None

    @property
    def mode(self) -> str:
        """How it is open: "r", "r+" or "c", as `emmap.open` takes it."""
        return self.__mode

    def fileno(self) -> int:
        """The descriptor that the mapping keeps of its file; it is closed with the mapping.

        Raises `ValueError` when none is kept: mappings that cannot grow (modes "r" and "c") need
        none.

        >>> import emmap, os
        >>> with emmap.anonymous(10, shared=True) as m:
        ...     os.fstat(m.fileno()).st_size
        10
        """
        if self.closed:
            len(self)  # raises ClosedError
        if self._backing is None or self._backing.fd < 0:
            raise ValueError(
                "the mapping keeps no descriptor: open the file with mode 'r+', or pass an open "
                "file to MemoryMap"
            )
        return self._backing.fd

    def __repr__(self) -> str:
        if self.closed:
            return f"<emmap.{type(self).__name__} closed=True>"
        what = self.name or ("file" if self.mode == "r" else "memory")
        return (
            f"<emmap.{type(self).__name__} closed=False, {what!r}, mode={self.mode!r}, "
            f"access={ACCESS_NAMES[self.__access]}, length={len(self)}, pos={self.tell()}, "
            f"offset={self.offset}>"
        )

    def __reduce_ex__(self, protocol: object) -> Any:
        """Pickles by reference: the receiver maps the same part of the same file or memory."""
        if self.closed:
            len(self)  # raises ClosedError
        length = None if self._room else len(self)
        place = (type(self), self.mode, self.offset, length, self._room)
        fd = self._backing.fd if self._backing is not None else -1
        if self.name is not None and (fd < 0 or is_named(fd, self.name)):
            return _open_again, (self.name, *place)
        if fd < 0:
            raise TypeError(
                "cannot pickle private memory, or a mapping of a file without a name: there is "
                "nothing to refer to; use emmap.anonymous(size, shared=True)"
            )
        take, arguments = reference(fd, write=self.mode == "r+")
        return _take, (take, arguments, *place)

    # Typed views

    def struct(self, kind: type[AnyStructure], offset: int = 0) -> AnyStructure:
        """A `ctypes.Structure` (or Union) laid over the bytes at `offset`, without a copy.

        Its fields are the mapped bytes: a change is seen by all who share the mapping. ctypes
        knows no read-only structure, so where the mapping may not be written the result is a copy.
        It keeps the memory alive. Raises `ValueError` when it does not fit. Cost: about a
        microsecond.

        >>> import ctypes, emmap
        >>> class Header(ctypes.LittleEndianStructure):
        ...     _fields_ = [("magic", ctypes.c_char * 4), ("version", ctypes.c_uint32)]
        >>> with emmap.anonymous(100) as m:
        ...     header = m.struct(Header, 8)
        ...     header.magic, header.version = b"EMMP", 7
        ...     m[8:16]
        b'EMMP\\x07\\x00\\x00\\x00'
        """
        import ctypes

        with memoryview(self) as view:
            if not 0 <= offset <= len(view) - ctypes.sizeof(kind):
                raise ValueError(
                    f"{kind.__name__} has {ctypes.sizeof(kind)} bytes and does not fit at offset "
                    f"{offset} of a mapping of {len(view)}"
                )
            if view.readonly:
                return kind.from_buffer_copy(view, offset)
        return kind.from_buffer(self, offset)

    def array(
        self, dtype: Any = "u1", shape: int | tuple[int, ...] | None = None, offset: int = 0
    ) -> numpy.ndarray[Any, Any]:
        """A NumPy array over the bytes from `offset` on, without a copy.

        `shape` None gives one dimension, as long as fits. The array is read-only where the mapping
        may not be written, and keeps the memory alive after `close`. Raises `ValueError` when it
        does not fit, and `ImportError` without NumPy. Cost: about two microseconds.

        >>> import emmap
        >>> with emmap.anonymous(16) as m:
        ...     numbers = m.array("<i4", (2, 2))
        ...     numbers[1, 0] = 258
        ...     m[8:12]
        b'\\x02\\x01\\x00\\x00'
        """
        import numpy

        kind = numpy.dtype(dtype)
        if kind.hasobject:
            raise ValueError(
                "an array of Python objects cannot lie in a mapping: they are addresses"
            )
        length = len(self)
        if not 0 <= offset <= length:
            raise ValueError(f"offset {offset} leaves the mapping of {length} bytes")
        if shape is None:
            shape = (length - offset) // kind.itemsize if kind.itemsize else 0
        dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
        count = 1
        for n in dimensions:
            if n < 0:
                raise ValueError(f"a shape has no negative dimensions: {dimensions}")
            count *= n
        if count * kind.itemsize > length - offset:
            raise ValueError(
                f"an array of {count * kind.itemsize} bytes does not fit at offset {offset} of a "
                f"mapping of {length}"
            )
        if count == 0 or kind.itemsize == 0:
            return numpy.empty(dimensions, kind)
        # NumPy counts as a view only what it gets through a memoryview.
        return numpy.frombuffer(memoryview(self), kind, count, offset).reshape(dimensions)


_reservations: WeakSet[MemoryMap] = WeakSet()


def _reserve(mapping: MemoryMap) -> None:
    """Lets other mappings be placed inside this one, which is closed to access."""
    mapping._reserve()
    _reservations.add(mapping)


def _open_again(
    file: str | int, cls: type[MemoryMap], mode: str, offset: int, length: int | None, reserve: int
) -> MemoryMap:
    from emmap.mapping.opening import open_as

    return open_as(cls, file, mode, offset=offset, length=length, reserve=reserve)


def _take(take: Callable[..., int], arguments: tuple[Any, ...], *place: Any) -> MemoryMap:
    fd = take(*arguments)
    try:
        return _open_again(fd, *place)
    finally:
        os.close(fd)


def _anonymous_page(flags: int) -> int:
    """The bytes in a page of memory without a file: more than usual with huge pages."""
    if not flags & constants.MAP_HUGETLB:
        return constants.PAGESIZE
    order = flags >> 26 & 63  # MAP_HUGE_SHIFT, MAP_HUGE_MASK
    if order:
        return 1 << order
    with open("/proc/meminfo", "rb") as meminfo:
        sizes = [int(line.split()[1]) for line in meminfo if line.startswith(b"Hugepagesize")]
    return sizes[0] << 10 if sizes else constants.PAGESIZE


def _access_to_flags(access: int, flags: int, prot: int) -> tuple[int, int, int]:
    """What `flags` and `prot` an access means, and the reverse."""
    if access != ACCESS_DEFAULT and (flags != MAP_SHARED or prot != PROT_READ | PROT_WRITE):
        raise ValueError("mmap can't specify both access, flags and prot.")
    if access == ACCESS_READ:
        return MAP_SHARED, PROT_READ, access
    if access == ACCESS_WRITE:
        return MAP_SHARED, PROT_READ | PROT_WRITE, access
    if access == ACCESS_COPY:
        return MAP_PRIVATE, PROT_READ | PROT_WRITE, access
    if access != ACCESS_DEFAULT:
        raise ValueError(f"mmap invalid access parameter: {access}")
    check_flags(flags, prot)
    if not prot & PROT_WRITE:
        access = ACCESS_READ
    elif not prot & PROT_READ:
        access = ACCESS_WRITE
    return flags, prot, access


def check_range(size: int | None, offset: int, length: int | None, name: str | None) -> None:
    """Refuses a range that leaves a file of `size` bytes (None: it has no end)."""
    file = name or "the file"
    if size is None and length is None:
        raise OSError(errno.EINVAL, "the file has no end: say how many bytes of it to map", name)
    if size is not None and offset > size:
        raise ValueError(
            f"mmap offset is greater than file size: {file} has {size} bytes, not {offset}"
        )
    if size is not None and length is not None and length > size - offset:
        raise ValueError(
            f"mmap length is greater than file size: {file} has {size - offset} bytes from offset "
            f"{offset}, not {length}"
        )


def check_flags(flags: int, prot: int) -> None:
    """Refuses what makes no sense, or what no guard could make safe."""
    if flags & MAP_TYPE == 0:
        raise OSError(errno.EINVAL, "flags need MAP_SHARED or MAP_PRIVATE")
    if flags & MAP_TYPE not in (MAP_SHARED, MAP_PRIVATE):
        raise ValueError("a mapping is either MAP_SHARED or MAP_PRIVATE: give one of the two")
    if flags & (constants.MAP_FIXED | constants.MAP_FIXED_NOREPLACE):
        raise ValueError("a fixed address is given as address= to emmap.open or emmap.anonymous")
    if flags & constants.MAP_GROWSDOWN:
        raise ValueError("MAP_GROWSDOWN is for stacks: such a mapping changes its own bounds")
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC):
        raise ValueError(
            f"unknown protection {prot:#x}: combine PROT_READ, PROT_WRITE and PROT_EXEC"
        )
