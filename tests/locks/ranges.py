"""What the tests of range locks share."""

import fcntl
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from emmap import RangeLock
from mapping.growth_lock import waits

F_OFD_SETLK = 37
FUTEX, WAIT_BITSET_PRIVATE = ("202", "98"), 0x89


def free(lock: RangeLock) -> bool:
    """Can it be had at once? It is let go again."""
    if not lock.acquire(blocking=False):
        return False
    lock.release()
    return True


def write_lock(fd: int, start: int, length: int) -> object:
    """Locks a range as a stranger does, by the description of `fd`."""
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    return fcntl.fcntl(fd, F_OFD_SETLK, request)


def descriptors(path: Path) -> list[int]:
    """The numbers of this process's descriptors of a file."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == str(path):
                found.append(int(number))
        except FileNotFoundError:
            pass
    return found


def until(condition: Callable[[], bool]) -> None:
    """Looks until something is as it should be."""
    while not condition():
        os.sched_yield()


def wait_for_kernel(thread: threading.Thread) -> None:
    """Until a thread waits for a lock of somebody else."""
    until(lambda: thread.native_id is not None and waits(thread.native_id))


def wait_for_gate(thread: threading.Thread) -> None:
    """Until a thread waits for another one of this process that has the same object."""

    def waits_at_gate() -> bool:
        fields = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
        return fields[0] in FUTEX and [int(n, 16) for n in fields[2:4]] == [WAIT_BITSET_PRIVATE, 2]

    until(waits_at_gate)


def status_of(child: int) -> int:
    """The exit status of a child, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(action: Callable[[], object]) -> int:
    """The exit status of a forked child: 0 when the action is true there."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if action() else 1
        finally:
            os._exit(status)
    return status_of(pid)
