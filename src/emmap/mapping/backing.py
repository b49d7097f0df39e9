"""The file behind a mapping: which one it is, and a descriptor of it when one is needed."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

from emmap.mapping.length import FileLength

# ioctl: the size of a block device in bytes (linux/fs.h).
BLKGETSIZE64 = 0x80081272


def file_size(fd: int, name: str | None = None) -> int | None:
    """The bytes that a file or block device holds, or None where that has no meaning (/dev/zero).

    Raises `OSError` for what can never be mapped.
    """
    status = os.fstat(fd)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return status.st_size
    if kind == stat.S_IFBLK:
        return int.from_bytes(fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)), sys.byteorder)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "a folder cannot be mapped", name)
    if kind in (stat.S_IFIFO, stat.S_IFSOCK):
        raise OSError(errno.ENODEV, "a pipe or socket has no pages to map; read it instead", name)
    return None


def name_of(fd: int) -> str | None:
    """The path of an open file, where it still has one."""
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    return name if is_named(fd, name) else None


def is_named(fd: int, name: str) -> bool:
    """Does the path lead to the open file? It may have been removed, or replaced by another."""
    try:
        return os.path.samestat(os.stat(name), os.fstat(fd))
    except OSError:
        return False


def _identity(fd: int) -> tuple[int, int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_rdev


class Descriptor:
    """A descriptor of a mapping's file, for the length of a `with` block."""

    def __init__(self, fd: int, name: str | None, owner: Backing | None = None) -> None:
        """`owner` keeps the descriptor; without it, it is closed in the end."""
        self.fd = fd
        self._name = name
        self._owner = owner
        if owner is not None:
            owner.users += 1

    def size(self) -> int:
        return file_size(self.fd, self._name) or 0

    def close(self) -> None:
        if self._owner is None:
            os.close(self.fd)
        else:
            self._owner.let_go()

    def __enter__(self) -> Descriptor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Backing:
    """The file that a mapping shows.

    A descriptor is kept only where the mapping may have to grow; otherwise the file is opened
    again by its name when it is needed, so that thousands of mappings need no descriptors. Either
    way it must still be the same file: names are given to other files, and so are numbers of
    descriptors that somebody else has closed.
    """

    fd = -1
    users = 0  # descriptors that are in use: a number that was closed could be another file's
    _closing = False
    _length: FileLength | None = None

    def __init__(self, fd: int, name: str | None, *, keep: bool, reopen: bool = True) -> None:
        """`fd` is borrowed. `keep` makes a copy of it that lives as long as the mapping is open;
        without it and without `reopen`, there is no descriptor ever."""
        self._name = name
        self._reopen = reopen and name is not None
        self._identity = _identity(fd)
        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0) if keep else -1

    @classmethod
    def owning(cls, fd: int) -> Backing:
        """The backing that `fd`, from now on, belongs to. The file has no name."""
        backing = cls(fd, None, keep=False)
        backing.fd = fd
        return backing

    @property
    def name(self) -> str | None:
        """The path of the file; None where it has none."""
        if self._name is None and self.fd >= 0:
            self._name = name_of(self.fd)
        return self._name

    def close(self) -> None:
        """Closes the kept descriptor, unless somebody else did and its number means another
        file."""
        if self.users:
            self._closing = True
            return
        fd, self.fd = self.fd, -1
        if self._length is not None:
            self._length.close()
        if fd >= 0 and self._is(fd):
            os.close(fd)

    def let_go(self) -> None:
        """Ends one use of the kept descriptor."""
        self.users -= 1
        if self._closing:
            self.close()

    @property
    def length(self) -> FileLength:
        """What changes the length of the file."""
        if self._length is None:
            self._length = FileLength()
        return self._length

    def __del__(self) -> None:
        self.close()

    def _is(self, fd: int) -> bool:
        try:
            return _identity(fd) == self._identity
        except OSError:
            return False

    def identify(self) -> None:
        """Takes what the kept descriptor shows now for the mapped file."""
        self._identity = _identity(self.fd)

    def descriptor(self, *, write: bool = False) -> Descriptor:
        """A descriptor, to be used in a `with` block. Raises `OSError` when the file is not there
        any more, or is another one."""
        if self.fd >= 0:
            if not self._is(self.fd):
                raise OSError(
                    errno.EBADF, f"descriptor {self.fd} was closed behind the mapping", self.name
                )
            return Descriptor(self.fd, self.name, self)
        if not self._reopen or self.name is None:
            raise ValueError(
                "the mapping keeps no descriptor (trackfd=False, or a file without a name), so its "
                "file cannot be reached"
            )
        # O_NONBLOCK: a pipe may have taken the name, and opening it would wait.
        flags = os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.name, (os.O_RDWR if write else os.O_RDONLY) | flags)
        if not self._is(fd):
            os.close(fd)
            raise OSError(errno.ESTALE, "another file has taken the mapped file's name", self.name)
        return Descriptor(fd, self.name)

    def size(self) -> int:
        """The size of the file in bytes. Raises `OSError` when it cannot be reached."""
        if self.fd < 0 and not self._reopen:
            raise OSError(errno.EBADF, "the mapping keeps no descriptor of its file", self.name)
        with self.descriptor() as descriptor:
            return descriptor.size()

    def end(self) -> int | None:
        """Where the file ends, as the kept descriptor tells; None where it cannot."""
        return file_size(self.fd) if self.fd >= 0 and self._is(self.fd) else None

    def try_descriptor(self) -> Descriptor | None:
        """A descriptor, or None where there is none to be had."""
        try:
            return self.descriptor()
        except (OSError, ValueError):
            return None
