"""Holds the growth byte of a file, as another process does that changes its length."""

import fcntl
import os
import struct
from pathlib import Path

F_OFD_SETLK, F_OFD_SETLKW = 37, 38
GROWTH_BYTE = (1 << 62) + (1 << 61)


class GrowthLock:
    """The lock on the growth byte of a file, from now until `let_go`."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR)
        self._set(fcntl.F_WRLCK)

    def let_go(self) -> None:
        self._set(fcntl.F_UNLCK)

    def _set(self, kind: int) -> None:
        request = struct.pack("hhqqi4x", kind, os.SEEK_SET, GROWTH_BYTE, 1, 0)
        fcntl.fcntl(self.fd, F_OFD_SETLK, request)

    def __enter__(self) -> "GrowthLock":
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self.fd)


def waits(thread: int) -> bool:
    """Does a thread of this machine wait for such a lock (F_OFD_SETLKW, in fcntl)?"""
    fields = Path(f"/proc/{thread}/syscall").read_text().split()
    return fields[0] in ("72", "25") and int(fields[2], 16) == F_OFD_SETLKW
