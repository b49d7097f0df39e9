"""Where the lines of a file begin: found out by the block, and kept in a file if wanted."""

from __future__ import annotations

import errno
import os
import struct
import time
import zlib
from array import array
from bisect import bisect_left
from itertools import chain, pairwise
from threading import Lock

from emmap.errors import ClosedError
from emmap.text import kernels
from emmap.text.targets import FileTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from emmap.text.targets import Progress

# The newlines are counted by blocks of so many bytes: however long the lines are, one is found by
# looking at one block. For a terabyte that is an index of 128 MiB.
BLOCK = 64 << 10
# The bytes that are mapped at once to count them.
WINDOW = 64 << 20

# The file that keeps an index: this header, in the machine's byte order, and the counts.
# magic, version, block, size, device, inode, mtime, ctime, crc32
HEADER = struct.Struct("=8sIIQQQqqI")
MAGIC, VERSION = b"emmapLNS", 2
# A file that was changed this recently may be changed again without a new time: no index is kept.
UNSETTLED = 1_000_000_000


def require_index(path: str, text: str | os.PathLike[str]) -> None:
    """Raises `ValueError` for a file that is no index, and so shall not be replaced by one."""
    try:
        file = FileTarget(path)
    except OSError:  # it is not there, or it will be told when it is written
        return
    if os.path.samefile(path, text) or not MAGIC.startswith(file.read(0, min(file.size, 8))):
        raise ValueError(f"{path} holds something else than an index of lines: give another path")


class LineIndex:
    """The newlines of a file up to the end of each block, counted as far as they were needed.

    `kept` is the path of a file that the whole of it is read from, or else written to.
    """

    def __init__(
        self, path: str | os.PathLike[str], kept: str | None, progress: Progress | None = None
    ) -> None:
        self._file = FileTarget(path)
        self._closed = False
        self._status = self._file.status()
        self._newlines = array("Q")
        self._blocks = -(-self._file.size // BLOCK)
        self._growing = Lock()
        self._kept = kept
        self._progress = progress
        if kept is not None and self._load(kept):
            self._kept = None

    @property
    def file(self) -> FileTarget:
        """The file. Raises `ClosedError` when it has been closed."""
        if self._closed:
            raise ClosedError("the lines were closed")
        return self._file

    def close(self) -> None:
        self._closed = True
        self._file.close()

    def lines(self) -> int:
        """The number of lines. What comes behind the last newline is one, unless it is empty."""
        file = self.file
        self._grow(until=None)
        if not self._newlines:
            return 0
        return self._newlines[-1] + (file.read(file.size - 1, file.size) != b"\n")

    def start(self, line: int) -> int | None:
        """The offset at which a line begins (the first is line 0); None if there is none."""
        file = self.file
        if line == 0:
            return 0 if file.size else None
        self._grow(until=line)
        block = bisect_left(self._newlines, line)  # that of the newline before the line
        if block == len(self._newlines):
            return None
        before = self._newlines[block - 1] if block else 0
        begin = block * BLOCK
        data = file.read(begin, min(begin + BLOCK, file.size))
        offset = kernels.line_start(data, line - before)
        if offset < 0:
            raise OSError(
                errno.ESTALE,
                "the file was changed after its lines were counted: open it again (and remove its "
                "index, if it has one)",
                file.path,
            )
        return begin + offset if begin + offset < file.size else None

    def _grow(self, until: int | None) -> None:
        """Counts on, until there are so many newlines, or to the end of the file."""
        if self._is_enough(until):
            return
        file, newlines = self.file, self._newlines
        with self._growing:
            while not self._is_enough(until):
                start = len(newlines) * BLOCK
                total = newlines[-1] if newlines else 0
                counted = array("Q")  # to be believed when the view was left without an exception
                with file.view(start, min(start + WINDOW, file.size)) as view:
                    for at in range(0, len(view), BLOCK):
                        stop = min(at + BLOCK, len(view))
                        total += kernels.count(view, kernels.LINES, at, stop).lines
                        counted.append(total)
                newlines.extend(counted)
                if self._progress is not None:
                    self._progress(min(len(newlines) * BLOCK, file.size))
            if len(newlines) == self._blocks and self._kept is not None:
                kept, self._kept = self._kept, None
                self._save(kept)

    def _is_enough(self, until: int | None) -> bool:
        newlines = self._newlines
        if len(newlines) == self._blocks:
            return True
        return until is not None and len(newlines) > 0 and newlines[-1] >= until

    # The file that keeps it

    def _header(self, counts: bytes) -> bytes:
        status = self._status
        what = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        return HEADER.pack(MAGIC, VERSION, BLOCK, self._file.size, *what, zlib.crc32(counts))

    def _load(self, path: str) -> bool:
        """Takes the counts from a file that was kept, if it is of this file as it is now."""
        try:
            file = FileTarget(path)
            if file.status().st_uid not in (os.geteuid(), self._status.st_uid, 0):
                return False  # it could be a stranger's
            size = HEADER.size + 8 * self._blocks
            data = file.read(0, size) if file.size == size else b""
        except OSError:
            return False
        counts = data[HEADER.size :]
        if data[: HEADER.size] != self._header(counts):
            return False
        newlines = array("Q")
        newlines.frombytes(counts)
        if not all(0 <= b - a <= BLOCK for a, b in pairwise(chain((0,), newlines))):
            return False  # nobody has counted that
        self._newlines = newlines
        return True

    def _save(self, path: str) -> None:
        """Keeps the counts in a file, unless they may be of different states of this one."""
        now = self._file.status()
        for field in ("st_size", "st_dev", "st_ino", "st_mtime_ns", "st_ctime_ns"):
            if getattr(now, field) != getattr(self._status, field):
                return
        if self._status.st_mtime_ns > time.time_ns() - UNSETTLED:
            return
        counts = self._newlines.tobytes()
        unfinished = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(unfinished, flags, 0o666)
        try:
            with open(fd, "wb") as file:
                file.write(self._header(counts))
                file.write(counts)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise
