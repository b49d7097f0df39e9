"""What a scan is over: the bytes of a file, mapped window by window, or of an object in memory.

Both kinds have a `size` and give a `view` of any range. Both pickle by reference, and the one that
comes out of the pickle opens nothing before it is used: an error while unpickling would take the
whole worker down.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from emmap.errors import ClosedError, Error, PageLostError, ProtectionError
from emmap.mapping import MemoryMap, open
from emmap.mapping.backing import file_size
from emmap.text.kernels import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from typing_extensions import Buffer

    Path: TypeAlias = str | os.PathLike[str]
    Target: TypeAlias = Path | Buffer
    Progress: TypeAlias = Callable[[int], object]

# So many bytes are read, not mapped: a copy of them costs less than a mapping.
SMALL = 64 << 10


class FileTarget:
    """The bytes that a file had when it was opened here, whatever is appended meanwhile.

    The descriptor stays open, so the file may be renamed or removed during the scan. In another
    process it is opened again by its path, and must be the same file there.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = os.path.abspath(os.fsdecode(path))
        self.write = write
        self._users = (
            0  # who read by the descriptor: a number that was closed may be another file's
        )
        self._closed = False
        self._fd = self._open()
        self.size = self._size()
        self._inode = self.status().st_ino

    def _open(self) -> int:
        # O_NONBLOCK: opening a pipe would wait for a writer, only for the pipe to be refused.
        mode = os.O_RDWR if self.write else os.O_RDONLY
        return os.open(self.path, mode | os.O_CLOEXEC | os.O_NONBLOCK)

    def _size(self) -> int:
        size = file_size(self._fd, self.path) or 0
        if not size and os.pread(self._fd, 1, 0):
            raise OSError(
                errno.ENODEV,
                "the file does not tell how long it is (as those in /proc and /dev): read it, and "
                "scan the bytes",
                self.path,
            )
        return size

    def status(self) -> os.stat_result:
        """What the kernel says of the file now."""
        return os.fstat(self._descriptor())

    @contextmanager
    def _in_use(self) -> Iterator[int]:
        """The descriptor, which stays open for the length of a `with` block."""
        fd = self._descriptor()
        self._users += 1
        try:
            yield fd
        finally:
            self._users -= 1
            if self._closed:
                self.close()

    def _descriptor(self) -> int:
        if self._closed:
            raise ClosedError(f"the file {self.path} was closed")
        if self._fd < 0:
            fd = self._open()
            if os.fstat(fd).st_ino != self._inode:
                os.close(fd)
                raise OSError(
                    errno.ESTALE, "another file has taken the name during the scan", self.path
                )
            self._fd = fd
        return self._fd

    def read(self, start: int, stop: int) -> bytes:
        """A copy of the range. Raises `PageLostError` when the file has become shorter."""
        pieces, at = [], start
        with self._in_use() as fd:
            while at < stop:
                piece = os.pread(fd, stop - at, at)
                if not piece:
                    raise self._lost(at)
                pieces.append(piece)
                at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @contextmanager
    def view(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes of the range, for the length of a `with` block."""
        if stop - start <= SMALL and not self.write:
            with memoryview(self.read(start, stop)) as view:
                yield view
            return
        with self._in_use() as fd:
            try:
                mapping = open(fd, "r+" if self.write else "r", offset=start, length=stop - start)
            except ValueError:  # the range leaves the file
                self._ensure_it_reaches(fd, stop)
                raise
            with mapping, memoryview(mapping) as view:
                yield view
            # The rest of the last page of a truncated file are zeros that no signal tells of.
            self._ensure_it_reaches(fd, stop)

    def _ensure_it_reaches(self, fd: int, stop: int) -> None:
        size = file_size(fd, self.path) or 0
        if size < stop:
            raise self._lost(size)

    def _lost(self, offset: int) -> PageLostError:
        return PageLostError("the file was truncated during the scan", self.path, offset)

    def close(self) -> None:
        """Closes the file, when nobody reads it any more. A later use raises `ClosedError`."""
        self._closed = True
        if self._users:
            return
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if "_fd" in self.__dict__:  # it was opened
            self.close()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_fd": -1, "_users": 0}


class MemoryTarget:
    """The bytes of a mapping, or of any other object with the buffer protocol."""

    def __init__(self, memory: Buffer, *, write: bool = False) -> None:
        self._memory: Buffer | None = memory
        self._reference = b""  # what `memory` is unpickled from, while it is None
        with memoryview(memory) as whole:
            if not whole.c_contiguous:
                raise ValueError("the bytes to scan must lie side by side: copy them first")
            if write and whole.readonly:
                raise ProtectionError(
                    "the target may not be written: a mapping must be open with mode 'r+' or 'c', "
                    "and have no protected range"
                )
            self.size = whole.nbytes

    @contextmanager
    def view(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes of the range, for the length of a `with` block."""
        if self._memory is None:
            import pickle

            self._memory = pickle.loads(self._reference)
        with memoryview(self._memory) as whole:
            flat = whole.cast("B") if whole.nbytes else memoryview(b"")
            with flat[start:stop] as view:
                if len(view) < stop - start:
                    raise ValueError(f"the target was shortened to {len(flat)} bytes in the scan")
                yield view

    def read(self, start: int, stop: int) -> bytes:
        """A copy of the range. Raises `PageLostError` where a page of a mapping is lost."""
        with self.view(start, stop) as view, Watch(view):
            return bytes(view)

    def __getstate__(self) -> dict[str, object]:
        import pickle

        memory = self._memory
        if memory is None:
            return self.__dict__
        if not isinstance(memory, MemoryMap):
            raise TypeError(
                f"other processes cannot scan an object of {type(memory).__name__}, for it would "
                f"have to be copied: give a path or a MemoryMap, or a number of threads as workers="
            )
        if memory.mode == "c":
            raise TypeError(
                "other processes cannot scan private memory (mode 'c'), for they do not see its "
                "changes: give a number of threads as workers="
            )
        if memory.name is not None:
            memory.size()  # raises where the name leads to another file by now
        return {"_memory": None, "_reference": pickle.dumps(memory), "size": self.size}


def target_of(target: Target, *, write: bool = False) -> FileTarget | MemoryTarget:
    """What a user's target is: a path, or an object with the buffer protocol.

    Raises `OSError` for files that cannot be opened or mapped, `TypeError` for anything else, and
    `ProtectionError` when it shall be written and may not.
    """
    if isinstance(target, (str, os.PathLike)):
        return FileTarget(target, write=write)
    try:
        return MemoryTarget(target, write=write)
    except TypeError as error:
        if isinstance(error, Error):
            raise
        raise TypeError(
            f"the target is a path, a MemoryMap or another object with the buffer protocol, not a "
            f"{type(target).__name__}"
        ) from None
