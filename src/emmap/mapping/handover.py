"""Hands descriptors of files without a name (shared memory) to other processes, through pickle."""

from __future__ import annotations

import errno
import os
import sys
from weakref import WeakKeyDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What came along with the start of this process: its descriptor, and the one that is kept of it.
_kept: dict[int, int] = {}
# For each process that multiprocessing is about to start: the descriptors it will inherit.
_inherited: WeakKeyDictionary[object, set[int]] = WeakKeyDictionary()


def reference(fd: int) -> tuple[Callable[..., int], tuple[Any, ...]]:
    """A function and its arguments, with which another process gets a descriptor of the same file.

    Where multiprocessing is about to start that process, the descriptor goes along with it. A
    worker offers it to the first that asks, because results are dropped as soon as they are
    pickled. Otherwise the other process takes it from this one, which must keep it open until then.
    """
    status = os.fstat(fd)
    identity = (status.st_dev, status.st_ino)
    context = sys.modules.get("multiprocessing.context")
    starting = context.get_spawning_popen() if context is not None else None
    if starting is None:
        here = (os.getpid(), fd, *identity)
        processes = sys.modules.get("multiprocessing.process")
        if processes is None or processes.parent_process() is None:
            return take_from, here
        from multiprocessing.reduction import DupFd

        return take_offered, (DupFd(fd), *here)
    given = _inherited.setdefault(starting, set())
    if fd in given and starting.method == "spawn":
        # Its number is the same over there, and can be passed on only once.
        return take_from, (None, fd, *identity)
    given.add(fd)
    from multiprocessing.reduction import DupFd

    return take_inherited, (DupFd(fd),)


def take_inherited(passed: Any) -> int:
    """The descriptor that came along with the start of this process."""
    fd: int = passed.detach()
    return fd


def take_offered(offered: Any, process: int, fd: int, device: int, inode: int) -> int:
    """The descriptor that a worker offers once, or has still open."""
    if process != os.getpid():
        try:
            taken: int = offered.detach()
            return taken
        except (OSError, EOFError):  # somebody else took it, or the worker has gone
            pass
    return take_from(process, fd, device, inode)


def note(taken: int, kept: int) -> None:
    """Notes that a mapping keeps the file, which was taken as `taken`, open as `kept`."""
    _kept[taken] = kept


def take_from(process: int | None, fd: int, device: int, inode: int) -> int:
    """A descriptor of the file that another process (None: this one) has open as `fd`.

    Raises `OSError` when it has not any more, or may not be asked.
    """
    name = f"/proc/{process}/fd/{fd}" if process else f"/proc/self/fd/{_kept.get(fd, fd)}"
    try:
        # Looked at before it is opened: to open somebody else's terminal or pipe is not harmless.
        status = os.stat(name)
        if (status.st_dev, status.st_ino) == (device, inode):
            taken = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            status = os.fstat(taken)
            if (status.st_dev, status.st_ino) == (device, inode):
                return taken
            os.close(taken)
    except PermissionError:
        raise
    except OSError:
        pass
    raise OSError(
        errno.ESTALE,
        f"process {process} does not hold this shared memory any more (or is not to be seen from "
        f"here): it must keep it open until it has been unpickled",
    )
