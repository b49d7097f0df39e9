"""Every exception of emmap, by occasion. Each is also the builtin that a user would catch."""

import errno


class Error(Exception):
    """The base of all exceptions that emmap itself defines."""


# The caller's side: the mapping is not in a state for this.


class ClosedError(Error, ValueError):
    """The mapping was closed."""


class ProtectionError(Error, TypeError):
    """The bytes may not be read or written: the mapping, or this range of it, is protected.

    It is a `TypeError` because that is what the standard `mmap` raises for a write to a mapping
    that was opened for reading.
    """


class InUseError(Error, BufferError):
    """A view of the memory is held by somebody, and what was asked would pull it away."""


# The world's side: there is no more room, or the bytes are gone or damaged.


class AddressSpaceError(Error, MemoryError):
    """A mapping would have to grow past the addresses that it has reserved.

    What is mapped stays readable and writable. Open the file again with a larger `reserve=`.
    """


class CorruptFileError(Error, ValueError):
    """The bytes are not what they should be: damaged, cut short, or never of this format.

    `filename` is the file where it is known, `offset` the place of the first wrong byte.

    >>> error = CorruptFileError("no arena", "/tmp/data", 64)
    >>> str(error), isinstance(error, ValueError)
    ("no arena: '/tmp/data', offset 64", True)
    """

    def __init__(self, message: str, filename: str | None = None, offset: int = 0) -> None:
        super().__init__(message, filename, offset)
        self.filename = filename
        self.offset = offset

    def __str__(self) -> str:
        where = f"offset {self.offset}"
        return (
            f"{self.args[0]}: {self.filename!r}, {where}"
            if self.filename
            else f"{self.args[0]} ({where})"
        )


class PageLostError(Error, OSError):
    """Bytes of a mapping cannot be had: the file was truncated, or the disk is full or failed.

    `offset` is the place of the first lost byte in the file, `filename` the file where it is known.
    `MemoryMap.repair` maps the lost pages again once the file has grown back.

    >>> error = PageLostError("page lost", "/tmp/data", 4096)
    >>> error.filename, error.offset, isinstance(error, OSError)
    ('/tmp/data', 4096, True)
    """

    def __init__(self, message: str, filename: str | None = None, offset: int = 0) -> None:
        super().__init__(errno.EIO, message, filename)
        self.offset = offset

    def __reduce__(self) -> tuple[type["PageLostError"], tuple[str, str | None, int]]:
        return type(self), (self.strerror or "", self.filename, self.offset)


class NetworkFilesystemWarning(UserWarning):
    """A file was mapped that lies on another machine, or in another program's filesystem.

    It comes once for each such filesystem and process, and says what is slow or unsafe there.

    >>> issubclass(NetworkFilesystemWarning, UserWarning)
    True
    """


class OwnerDiedWarning(UserWarning):
    """A lock was acquired whose owner had died while it held it.

    What the lock guards may be half-written. It comes once for each death, to whoever gets the lock
    next; `on_owner_death=` takes its place.

    >>> issubclass(OwnerDiedWarning, UserWarning)
    True
    """
