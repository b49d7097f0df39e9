"""Hands descriptors of files without a name (shared memory) to other processes, through pickle."""

from __future__ import annotations

import errno
import os
import sys
from weakref import finalize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def reference(fd: int, *, write: bool) -> tuple[Callable[..., int], tuple[Any, ...]]:
    """A function and its arguments, with which another process gets a descriptor of the same file.

    Where multiprocessing is about to start that process, the descriptor goes along with it. A
    worker offers it to the first that asks, because results are dropped as soon as they are
    pickled. Otherwise the other process takes it from this one, which must keep it open until then.
    """
    flags = os.O_RDWR if write else os.O_RDONLY
    here = (os.getpid(), fd, flags, _identity(os.fstat(fd)))
    context = sys.modules.get("multiprocessing.context")
    if context is None:
        return take_from, here
    from multiprocessing.process import parent_process
    from multiprocessing.reduction import DupFd

    starting = context.get_spawning_popen()
    if starting is not None:
        # A number can be passed on only once, and the mapping may be gone before the start.
        again = os.dup(fd)
        finalize(starting, os.close, again)
        return take_inherited, (DupFd(again), here[-1])
    if parent_process() is not None:
        return take_offered, (DupFd(fd), *here)
    return take_from, here


def take_inherited(passed: Any, identity: tuple[int, int]) -> int:
    """The descriptor that came along with the start of this process."""
    fd: int = passed.detach()
    if _identity(os.fstat(fd)) != tuple(identity):
        raise OSError(errno.ESTALE, f"descriptor {fd} was to be shared memory, and is another file")
    return fd


def take_offered(offered: Any, process: int, fd: int, flags: int, identity: tuple[int, int]) -> int:
    """The descriptor that a worker offers once, or has still open."""
    if process != os.getpid():
        try:
            taken: int = offered.detach()
            if _identity(os.fstat(taken)) == tuple(identity):
                return taken
            os.close(taken)
        except (OSError, EOFError):  # somebody else took it, or the worker has gone
            pass
    return take_from(process, fd, flags, identity)


def take_from(process: int, fd: int, flags: int, identity: tuple[int, int]) -> int:
    """A descriptor of the file that another process has open as `fd`.

    Raises `OSError` when it has not any more, or may not be asked.
    """
    name = f"/proc/{process}/fd/{fd}"
    try:
        # Looked at before it is opened: to open somebody else's terminal or pipe is not harmless.
        if _identity(os.stat(name)) == tuple(identity):
            taken = os.open(name, flags | os.O_CLOEXEC)
            if _identity(os.fstat(taken)) == tuple(identity):
                return taken
            os.close(taken)
    except FileNotFoundError:
        pass
    raise OSError(
        errno.ESTALE,
        f"process {process} does not hold this shared memory any more (or is not to be seen from "
        f"here): it must keep it open until it has been unpickled",
    )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
