"""The file that a lock is made by, when it is given a path."""

from __future__ import annotations

import errno
import os

from emmap.errors import CorruptFileError
from emmap.mapping import open as open_mapping
from emmap.mapping.filesystem import NETWORK
from emmap.mapping.statfs import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from emmap.mapping import MemoryMap

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def open_place(path: Path, size: int) -> MemoryMap:
    """Maps the file, which is made if it is not there, and `size` bytes long if it is empty."""
    if isinstance(path, int) or hasattr(path, "fileno"):
        raise TypeError(
            f"a lock is made at a path or in a MemoryMap, not at {path!r}: map the file, "
            f"lock = Lock(emmap.open(file, 'r+'))"
        )
    name = os.path.abspath(os.fsdecode(path))
    folder = os.open(os.path.dirname(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        refuse_network(folder, name)
    finally:
        os.close(folder)
    mapping = open_mapping(path, "a+")
    if len(mapping) == 0:
        mapping.grow(size)
    elif len(mapping) < size:
        raise CorruptFileError(
            f"the file of {len(mapping)} bytes is something else than a lock of {size} bytes",
            name,
        )
    return mapping


def refuse_network(fd: int, name: str | None) -> None:
    """Raises for files whose locks are kept elsewhere, or by nobody."""
    _, kind = file_system(fd, name)
    if kind in NETWORK:
        raise OSError(
            errno.ENOTSUP,
            f"locks cannot lie on {NETWORK[kind]}: its memory is not shared with other machines, "
            f"and nobody can tell who is alive there; put the file on a local filesystem",
            name,
        )
