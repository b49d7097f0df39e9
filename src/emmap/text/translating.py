"""Translating bytes in place."""

from __future__ import annotations

from emmap.text import kernels
from emmap.text.splitting import windows
from emmap.text.targets import target_of
from emmap.text.workers import check_workers, in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

    from emmap.text.targets import FileTarget, MemoryTarget, Target
    from emmap.text.workers import Workers

# The bytes that one task maps and translates.
WINDOW = 64 << 20


def translate(target: Target, table: Buffer, *, workers: Workers = None) -> int:
    """Replaces each byte of a target by `table[byte]`, in place, and returns how many changed.

    `target` is the path of a file, a `MemoryMap` or any other object with the buffer protocol, and
    may be written. `table` has 256 bytes, as for `bytes.translate` (`bytes.maketrans` makes one).
    `workers` are as for `count`.

    Raises `ValueError` for another table, `OSError` as opening the file for writing does, and
    `ProtectionError` where the target may not be written, with nothing changed. `PageLostError`
    when the file is truncated meanwhile, or the disk is full where it had a hole: the bytes that
    were translated by then stay so.

    An executor that does a task again when its worker has died (as Dask's does) translates some
    bytes twice: give it only tables for which that makes no difference, as upper case.

    Others see each byte change once, in any order, and should not write meanwhile. Pages in which
    nothing changes are not written and stay clean. Cost: that of reading the file, and of writing
    the pages that change.

    >>> import emmap
    >>> with emmap.anonymous(5) as m:
    ...     m[:] = b"hello"
    ...     emmap.translate(m, bytes.maketrans(b"lo", b"LO")), m[:]
    (3, b'heLLO')
    """
    bytes_of_table = bytes(memoryview(table))
    if len(bytes_of_table) != 256:
        raise ValueError(f"a table has a byte for each of the 256, not {len(bytes_of_table)}")
    check_workers(workers)
    source = target_of(target, write=True)
    tasks = ((source, bytes_of_table, *window) for window in windows(source, WINDOW))
    return sum(changed for _, changed in in_order(translate_window, tasks, workers, tries=1))


def translate_window(source: FileTarget | MemoryTarget, table: bytes, start: int, stop: int) -> int:
    """What workers do."""
    with source.view(start, stop) as view:
        return kernels.translate(view, table)
