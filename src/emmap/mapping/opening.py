"""`emmap.open`, `emmap.named` and `emmap.anonymous`: how mappings come to be."""

from __future__ import annotations

import errno
import os

from emmap.mapping.backing import file_size, name_of
from emmap.mapping.constants import MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from emmap.mapping.filesystem import warn_of_copy
from emmap.mapping.length import grow_file, take_growth_back
from emmap.mapping.memorymap import MemoryMap, _reserve, check_range
from emmap.mapping.reading import read_mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    from emmap.mapping.flags import Protection

    class HasFileno(Protocol):
        def fileno(self) -> int: ...

    File = str | bytes | os.PathLike[str] | os.PathLike[bytes] | int | HasFileno
    AnyMap = TypeVar("AnyMap", bound=MemoryMap)

# How each mode opens a file: the flags of open(2), of mmap(2), and the protection.
MODES = {
    "r": (os.O_RDONLY, MAP_SHARED, PROT_READ),
    "r+": (os.O_RDWR, MAP_SHARED, PROT_READ | PROT_WRITE),
    "a+": (os.O_RDWR | os.O_CREAT, MAP_SHARED, PROT_READ | PROT_WRITE),
    "w+": (os.O_RDWR | os.O_CREAT, MAP_SHARED, PROT_READ | PROT_WRITE),
    "x+": (os.O_RDWR | os.O_CREAT | os.O_EXCL, MAP_SHARED, PROT_READ | PROT_WRITE),
    "c": (os.O_RDONLY, MAP_PRIVATE, PROT_READ | PROT_WRITE),
}

# Where the memory that has a name lies, as shm_open(3) has it too.
SHARED_MEMORY = "/dev/shm"


def open(
    path: File,
    mode: str = "r",
    *,
    offset: int = 0,
    length: int | None = None,
    size: int | None = None,
    reserve: int | None = None,
    address: int | None = None,
) -> MemoryMap:
    """Maps a file.

    `path` is a path, a descriptor, or an open file. The modes:

    - ``"r"``: read. No descriptor is kept.
    - ``"r+"``: read and write, shared: the file and everybody who maps it see each change at once.
    - ``"a+"``: the same, and a missing file is created.
    - ``"w+"``: the same, and the file is emptied (or created). Give its new `size`.
    - ``"x+"``: the same, and the file must not exist yet.
    - ``"c"``: copy-on-write: changes are private, and the file never sees them.

    `offset` and `length` are bytes, any number of them; `length` None is to the end of the file.
    `size` makes the file at least so many bytes long first, and takes the space on the disk now,
    so that a full disk is an `OSError` (ENOSPC) here.

    `reserve` takes address space for so many bytes (a terabyte costs nothing), so that the mapping
    can `grow` without moving: when any process makes the file longer, all that have it mapped in
    this way see the new bytes at once, `len` follows, and views stay valid. Where address space is
    scarce it is halved, down to 1 GiB; `capacity` tells what there is.

    `address` fixes where the pages lie (that of
    the page which holds `offset`): it must be free, or lie in memory that `anonymous` has
    reserved.

    Raises `OSError` as the built-in `open` does, also for what cannot be mapped, and `ValueError`
    for a range that leaves the file. On a network filesystem (or FUSE) it warns once, by
    `NetworkFilesystemWarning`; where such a filesystem cannot map, mode "r" reads the bytes into
    memory instead. Cost: a few system calls, whatever the size of the file.

    >>> import emmap, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "greeting")
    >>> with emmap.open(path, "x+", size=5) as m:
    ...     m[:] = b"hello"
    >>> with emmap.open(path, offset=1, length=3) as m:
    ...     m[:]
    b'ell'
    >>> reader = emmap.open(path, reserve=1 << 30)
    >>> with emmap.open(path, "r+", reserve=1 << 30) as m:
    ...     m.grow(9)
    ...     m[5:] = b" you"
    >>> reader[:]
    b'hello you'
    """
    return open_as(
        MemoryMap,
        path,
        mode,
        offset=offset,
        length=length,
        size=size,
        reserve=reserve,
        address=address,
    )


def open_as(
    cls: type[AnyMap],
    path: File,
    mode: str,
    *,
    offset: int = 0,
    length: int | None = None,
    size: int | None = None,
    reserve: int | None = None,
    address: int | None = None,
) -> AnyMap:
    """`open`, for a subclass of `MemoryMap`."""
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    for what, number in (
        ("offset", offset),
        ("length", length),
        ("size", size),
        ("reserve", reserve),
    ):
        if number is not None and number < 0:
            raise ValueError(f"{what} is a number of bytes, not {number}")
    if reserve and length is not None:
        raise ValueError(
            "length= fixes where the mapping ends, which reserve= leaves open: give one"
        )
    if reserve and mode == "c":
        raise ValueError("reserve= follows a file as it grows; a private copy (mode 'c') cannot")
    if size is not None and mode in ("r", "c"):
        raise ValueError(f"size= changes the file, which mode {mode!r} does not")
    given = _descriptor_of(path)
    created = False
    if given is not None:
        if mode == "x+":
            raise ValueError("mode 'x+' creates a file: give its path, not an open file")
        fd, name = given, name_of(given)
    else:
        assert not isinstance(path, int)
        assert not hasattr(path, "fileno")
        name = os.path.abspath(os.fsdecode(path))
        fd, created = _open_file(path, MODES[mode][0])
    try:
        before = file_size(fd, name)
        after = max(0 if mode == "w+" else before or 0, size or 0)
        check_range(before if before is None else after, offset, length, name)
        if mode == "w+":
            os.ftruncate(fd, 0)
            before = 0
        if before is not None and after > before:
            before = grow_file(fd, after, name)
        try:
            return map_or_read(cls, fd, name, mode, offset, length, reserve or 0, address)
        except BaseException:
            if before is not None and after > before:
                take_growth_back(fd, before, after, name)
            raise
    except BaseException:
        if created and name is not None:
            os.unlink(name)
        raise
    finally:
        if given is None:
            os.close(fd)


def map_or_read(
    cls: type[AnyMap],
    fd: int,
    name: str | None,
    mode: str,
    offset: int,
    length: int | None,
    reserve: int = 0,
    address: int | None = None,
) -> AnyMap:
    """Maps a part of an open file; for reading, a copy of it where the filesystem cannot map."""
    _, sharing, prot = MODES[mode]
    try:
        return cls._over(
            fd,
            name,
            offset,
            length,
            sharing,
            prot,
            keep=mode not in ("r", "c") or reserve > 0,
            reserve=reserve,
            address=address,
        )
    except OSError as error:
        size = file_size(fd, name)
        if error.errno != errno.ENODEV or mode != "r" or reserve or size is None:
            raise
    warn_of_copy(fd, name)
    length = size - offset if length is None else length
    return read_mapping(cls, fd, name, offset, length, address)


def _open_file(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes], flags: int
) -> tuple[int, bool]:
    """A descriptor, and whether the file was created."""
    # O_NONBLOCK: opening a pipe for reading would wait for a writer, only to be refused.
    flags |= os.O_CLOEXEC | os.O_NONBLOCK
    if flags & os.O_CREAT:
        try:
            return os.open(path, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
    return os.open(path, flags, 0o666), False


def named(
    name: str, mode: str = "a+", *, size: int | None = None, reserve: int | None = None
) -> MemoryMap:
    """Maps shared memory that has a name, by which any process of this machine finds it.

    It is a file in memory, ``/dev/shm/<name>``, with all that `open` does for files: the same
    `mode` ("a+" creates it or takes what is there), `size` and `reserve` (bytes). It is as long as
    it was made, not rounded to pages, and as private as your umask makes new files.

    It stays until `os.unlink(m.name)` removes it, or the machine starts again: not when those who
    use it leave, however they leave. Who has it mapped when it is removed keeps the memory.

    Raises `ValueError` for a name that cannot be a file's, and `OSError` as `open` does: ENOSPC
    when there is not as much memory. Cost: a few system calls.

    >>> import emmap, os
    >>> with emmap.named(f"emmap-example-{os.getpid()}", size=5) as m:
    ...     m[:] = b"hello"
    ...     with emmap.named(f"emmap-example-{os.getpid()}", "r") as other:
    ...         print(other[:])
    ...     os.unlink(m.name)
    b'hello'
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"a name is that of a file, without slashes, not {name!r}")
    return open(f"{SHARED_MEMORY}/{name}", mode, size=size, reserve=reserve)


def anonymous(
    size: int,
    *,
    shared: bool = False,
    reserve: int | None = None,
    protection: Protection | None = None,
    address: int | None = None,
) -> MemoryMap:
    """Maps `size` bytes of zeros that no file holds.

    Memory is taken page by page when it is first written: a gigabyte of which one byte is touched
    costs one page. With `shared=True` children made by fork share it, and so does whoever unpickles
    it: it is handed over while multiprocessing starts a process, and found by any other process of
    this user while we keep it open. `reserve` is room to grow without moving, as in `open`. With
    `protection=Protection.NONE` the addresses are only reserved: other mappings can be placed
    there by their `address=`, and it is given back when they and this one are closed.

    Raises `OSError` (ENOMEM) where there is no address space. Cost: one or two system calls.

    >>> import emmap
    >>> with emmap.anonymous(1 << 30) as m:
    ...     m[1 << 29] = 7
    ...     m[1 << 29], len(m)
    (7, 1073741824)
    """
    for what, number in (("size", size), ("reserve", reserve or 0)):
        if number < 0:
            raise ValueError(f"{what} is a number of bytes, not {number}")
    prot = PROT_READ | PROT_WRITE if protection is None else int(protection)
    reserved = protection is not None and prot == 0
    if reserved and shared:
        raise ValueError("reserved addresses hold nothing that could be shared")
    if reserved and reserve:
        raise ValueError("protection=Protection.NONE reserves size= bytes, which do not grow")
    flags = MAP_SHARED if shared else MAP_PRIVATE
    mapping = MemoryMap._anonymous(size, flags, prot, address, reserve or 0)
    if reserved:
        _reserve(mapping)
    return mapping


def _descriptor_of(path: File) -> int | None:
    if isinstance(path, int):
        return path
    if hasattr(path, "fileno"):
        return path.fileno()
    return None
