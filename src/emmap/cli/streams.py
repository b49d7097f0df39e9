"""Standard input, and other bytes that come as they come."""

from __future__ import annotations

import os

import emmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 1 << 20


def pieces_read(descriptor: int) -> Iterator[bytes]:
    """Read the file to its end and yield what comes, as it comes."""
    while piece := os.read(descriptor, PIECE):
        yield piece


def lines_read(descriptor: int) -> Iterator[bytes]:
    """The same in pieces of whole lines: only the last may lack its newline."""
    begun: list[bytes] = []
    for piece in pieces_read(descriptor):
        stop = piece.rfind(b"\n") + 1
        if stop:
            yield b"".join((*begun, piece[:stop]))
            begun.clear()
        if stop < len(piece):
            begun.append(piece[stop:])
    if begun:
        yield b"".join(begun)


def map_rest(descriptor: int) -> emmap.MemoryMap | None:
    """Map a file from its position on; None where it has to be read: a pipe, a terminal.

    The file then stands at its end, as if it had been read.
    """
    try:
        mapping = emmap.open(descriptor, offset=os.lseek(descriptor, 0, os.SEEK_CUR))
    except (OSError, ValueError):
        return None
    if not mapping:
        mapping.close()
        return None  # Empty, or a file of /proc, which has bytes but no size.
    os.lseek(descriptor, 0, os.SEEK_END)
    return mapping
