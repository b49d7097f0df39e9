"""Bytes that are read where mapping them is slow or impossible."""

from __future__ import annotations

import os

from emmap.errors import PageLostError
from emmap.mapping.constants import MAP_SHARED, PROT_READ, PROT_WRITE
from emmap.mapping.memorymap import MemoryMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from emmap.mapping.opening import AnyMap

# The most to ask for in one call: many requests of a network filesystem, yet Ctrl-C is answered.
PIECE = 16 << 20


def read_mapping(
    cls: type[AnyMap], fd: int, name: str | None, offset: int, length: int, address: int | None
) -> AnyMap:
    """A mapping like that of mode "r", but of memory that the bytes were read into.

    Raises `PageLostError` when the file ends before they do.
    """
    memory = os.memfd_create("emmap", os.MFD_CLOEXEC)
    readonly = -1
    try:
        # The bytes have the places of the file, so that the mapping has its offset: memory is taken
        # only where something is written.
        os.ftruncate(memory, offset + length)
        _copy(fd, name, memory, offset, length)
        # Opened for reading, it can never be made writable.
        readonly = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
        return cls._over(
            readonly,
            name,
            offset,
            length,
            MAP_SHARED,
            PROT_READ,
            keep=False,
            reopen=False,
            address=address,
        )
    finally:
        os.close(memory)
        if readonly >= 0:
            os.close(readonly)


def _copy(fd: int, name: str | None, memory: int, offset: int, length: int) -> None:
    """Reads a range of a file into the same range of another, which is memory."""
    done, prot = 0, PROT_READ | PROT_WRITE
    with (
        MemoryMap._over(memory, None, offset, length, MAP_SHARED, prot, keep=False) as target,
        memoryview(target) as view,
    ):
        while done < length:
            n = os.preadv(fd, [view[done : done + PIECE]], offset + done)
            if n == 0:
                raise PageLostError(
                    f"the file ends at {offset + done}, and {length - done} more bytes were to be "
                    f"read: it was truncated, or has fewer bytes than it says",
                    name,
                    offset + done,
                )
            done += n
