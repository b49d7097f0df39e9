"""`emmap.windows`: a walk over a file of any size, a part of it at a time."""

from __future__ import annotations

import os

from emmap.errors import PageLostError
from emmap.mapping.backing import Backing, file_size, name_of
from emmap.mapping.filesystem import NETWORK
from emmap.mapping.flags import Advice
from emmap.mapping.memorymap import MemoryMap, check_range
from emmap.mapping.opening import MODES, _descriptor_of, _open_file, map_or_read
from emmap.mapping.reading import read_mapping
from emmap.mapping.statfs import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from emmap.mapping.opening import File


def windows(
    path: File,
    size: int,
    overlap: int = 0,
    *,
    advice: Advice = Advice.SEQUENTIAL,
    mode: str = "r",
    offset: int = 0,
    length: int | None = None,
) -> Windows:
    """Walks a file by mappings of `size` bytes, so that it may be larger than the memory.

    The mappings come one after the other; the last may be shorter. Each after the first begins
    `overlap` bytes before the end of the one before, so that what lies across a border is whole in
    one of them. `offset` and `length` are the part of the file to walk, in bytes. None of these
    numbers has to fit pages. An empty file gives no window.

    Use a window before you ask for the next, which closes it; its pages leave the process unless a
    view holds them. So at most two windows of addresses are taken, and one of memory. The modes
    are "r", "r+" (change the file in place) and "c", as with `open`.

    `advice` tells how the bytes of a window will be used: `Advice.SEQUENTIAL` lets the kernel read
    far ahead, from one window into the next; `Advice.RANDOM` reads what is touched and nothing
    around it, which suits few touches and sparse files; `Advice.NORMAL` leaves it to the kernel. On
    a network filesystem mode "r" reads each window into memory by large requests, without the GIL,
    so that no thread waits for a page.

    The file is opened and its end is taken now, so that what is appended during the walk is not
    seen. Bytes that are truncated meanwhile raise `PageLostError`. Raises `ValueError` for numbers
    that make no sense and for a range that leaves the file, and `OSError` as `open` does. The file
    is closed when the walk ends, by itself or by an exception or its `close()`, or is dropped.
    Cost: about 20 microseconds a window.

    >>> import emmap, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "letters")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(b"abcdefghij")
    >>> [(window.offset, window[:]) for window in emmap.windows(path, 4, overlap=1)]
    [(0, b'abcd'), (3, b'defg'), (6, b'ghij')]
    """
    if size <= 0:
        raise ValueError(f"size is a positive number of bytes, not {size}")
    if not 0 <= overlap < size:
        raise ValueError(f"overlap is at least 0 and less than the size ({size}), not {overlap}")
    if advice not in (Advice.NORMAL, Advice.RANDOM, Advice.SEQUENTIAL):
        raise ValueError(f"advice is Advice.NORMAL, RANDOM or SEQUENTIAL, not {advice!r}")
    if mode not in ("r", "r+", "c"):
        raise ValueError(f"mode is one of r, r+, c, not {mode!r}")
    for what, number in (("offset", offset), ("length", length)):
        if number is not None and number < 0:
            raise ValueError(f"{what} is a number of bytes, not {number}")
    file = _file_of(path, mode)
    end = file_size(file.fd, file.name)
    check_range(end, offset, length, file.name)
    stop = end if length is None else offset + length
    assert stop is not None
    return Windows(file, size, overlap, advice, mode, offset, stop)


def _file_of(path: File, mode: str) -> Backing:
    """The file with a descriptor of our own, which is closed with it."""
    fd = _descriptor_of(path)
    if fd is not None:
        return Backing(fd, name_of(fd), keep=True)
    assert not isinstance(path, int)
    assert not hasattr(path, "fileno")
    fd, _ = _open_file(path, MODES[mode][0])
    try:
        return Backing(fd, os.path.abspath(os.fsdecode(path)), keep=True)
    finally:
        os.close(fd)


class Windows:
    """An iterator over the windows of a file; `emmap.windows` makes it."""

    __slots__ = (
        "_advice", "_file", "_mode", "_overlap", "_reading", "_size", "_start", "_stop", "_window"
    )  # fmt: skip

    def __init__(
        self,
        file: Backing,
        size: int,
        overlap: int,
        advice: Advice,
        mode: str,
        start: int,
        stop: int,
    ) -> None:
        self._file = file
        self._size = size
        self._overlap = overlap
        self._advice = advice
        self._mode = mode
        self._start = start
        self._stop = stop
        self._window: MemoryMap | None = None
        self._reading = mode == "r" and file_system(file.fd, file.name)[1] in NETWORK

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MemoryMap:
        try:
            self._close_window()
            if self._start >= self._stop:
                raise StopIteration
            self._window = window = self._next_window()
        except BaseException:
            self.close()
            raise
        return window

    def close(self) -> None:
        """Ends the walk: closes the file and the window in use. A second call does nothing."""
        self._start = self._stop
        self._file.close()
        self._close_window()

    def _close_window(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.close()

    def _next_window(self) -> MemoryMap:
        start, stop = self._start, min(self._start + self._size, self._stop)
        with self._file.descriptor() as file:
            size = file_size(file.fd, self._file.name)
            if size is not None and size < stop:
                raise PageLostError(
                    f"the file was truncated during the walk: it has {size} bytes, and the window "
                    f"from {start} ends at {stop}",
                    self._file.name,
                    max(size, start),
                )
            window = self._show(file.fd, start, stop - start)
        self._start = stop - self._overlap if stop < self._stop else stop
        return window

    def _show(self, fd: int, start: int, length: int) -> MemoryMap:
        # The kernel's read-ahead belongs to the open file, which is the same for all windows: it
        # goes on from one into the next, and to ask for more by posix_fadvise only disturbs it.
        if self._reading:
            return read_mapping(MemoryMap, fd, self._file.name, start, length, None)
        window = map_or_read(MemoryMap, fd, self._file.name, self._mode, start, length)
        if self._advice != Advice.NORMAL:
            window.advise(self._advice)
        return window
