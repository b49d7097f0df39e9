"""Taking turns at opening a file, so that none is replaced while somebody opens it."""

from __future__ import annotations

import errno
import os
import struct
from fcntl import F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_UNLCK, F_WRLCK, fcntl

# The bytes by which processes show that they have the file open (locks/life.h), and the one that is
# locked while it is opened. That at 2**62 + 2**61 is for its length (mapping/length.h).
IDS, ID_BYTES = 1 << 62, 1 << 60
TURN = (1 << 62) + (1 << 61) + 1

# struct flock: l_type, l_whence (0: from the file's start), l_start, l_len, l_pid.
FLOCK = struct.Struct("hhqqi4x")

# Descriptors by which a turn is held. A forked child shares them, and could hold it for ever.
_held: set[int] = set()


def _let_go_in_child() -> None:
    for fd in _held:
        # Not closed: where a signal handler forked, the child goes on to where they are.
        nothing = os.open("/", os.O_PATH | os.O_CLOEXEC)
        os.dup2(nothing, fd, inheritable=False)
        os.close(nothing)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


class Turn:
    """For the length of a `with` block: others may open the file too, or, `alone`, nobody.

    The descriptor is that of this opening, and not a copy of another one's.
    """

    def __init__(self, fd: int, name: str, *, alone: bool) -> None:
        self._fd = fd
        self._name = name
        self._kind = F_WRLCK if alone else F_RDLCK

    def __enter__(self) -> Turn:
        _held.add(self._fd)
        try:
            self._wait()
        except BaseException:
            _held.discard(self._fd)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._fd in _held:  # not in a child that was forked meanwhile
            _held.discard(self._fd)
            self._call(F_OFD_SETLK, F_UNLCK)

    def is_file_in_use(self) -> bool:
        """Does anybody have it open, this process too?"""
        # A read lock is asked for: who may only read the file cannot feign to be somebody.
        return self._call(F_OFD_GETLK, F_RDLCK, IDS, ID_BYTES)[0] != F_UNLCK

    def _wait(self) -> None:
        try:
            self._call(F_OFD_SETLK, self._kind)
        except (BlockingIOError, PermissionError):
            kind, _, start, n, pid = self._call(F_OFD_GETLK, self._kind)
            if kind != F_UNLCK and (start, n) != (TURN, 1):
                who = f"process {pid}" if pid > 0 else "somebody"
                raise OSError(
                    errno.EBUSY,
                    f"{who} has locked the whole file, also the bytes behind 2**62 by which "
                    f"processes tell that they are alive: lock its real bytes only "
                    f"(emmap.RangeLock does)",
                    self._name,
                ) from None
            self._call(F_OFD_SETLKW, self._kind)

    def _call(self, command: int, kind: int, start: int = TURN, n: int = 1) -> tuple[int, ...]:
        return FLOCK.unpack(fcntl(self._fd, command, FLOCK.pack(kind, 0, start, n, 0)))
