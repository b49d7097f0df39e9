"""The file that a lock is made by, when it is given a path."""

from __future__ import annotations

import os

from emmap.errors import CorruptFileError
from emmap.locks.files import absolute, find, refuse_network
from emmap.mapping import open as open_mapping

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
    name = absolute(path)
    place = find(name, create=True)
    try:
        refuse_network(place, name)
    finally:
        os.close(place)
    mapping = open_mapping(name, "a+")
    if len(mapping) == 0:
        mapping.grow(size)
    elif len(mapping) < size:
        raise CorruptFileError(
            f"the file of {len(mapping)} bytes is something else than a lock of {size} bytes",
            name,
        )
    return mapping
