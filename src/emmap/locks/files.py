"""The file of a lock, found without opening it: whoever closes it lets go of POSIX locks."""

from __future__ import annotations

import errno
import os
import stat

from emmap.mapping.filesystem import NETWORK
from emmap.mapping.statfs import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from emmap.mapping.opening import File

# Such a descriptor only names a file. The system lets go of nothing when it is closed.
NAMES = os.O_PATH | os.O_CLOEXEC


def descriptor_of(file: File) -> int | None:
    """The descriptor that was given, or None for a path."""
    if isinstance(file, bool):
        raise TypeError(f"a lock is on a path, a descriptor or an open file, not on {file}")
    if isinstance(file, int):
        fd: int = file
    elif hasattr(file, "fileno"):
        fd = file.fileno()
    else:
        return None
    os.fstat(fd)  # raises where it is none
    return fd


def absolute(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The path from the root on. Not `os.path.abspath`, which takes `link/..` for nothing."""
    name = os.fsdecode(path)
    return name if os.path.isabs(name) or not name else os.path.join(os.getcwd(), name)


def find(name: str, *, create: bool) -> int:
    """A descriptor that names the file, which is created where it does not exist."""
    try:
        return os.open(name, NAMES)
    except FileNotFoundError:
        if not create:
            raise
    # Looked at first, so that nothing is created where the lock is refused.
    folder = os.open(os.path.dirname(name), NAMES)
    try:
        refuse_network(folder, name)
    finally:
        os.close(folder)
    os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666))
    return os.open(name, NAMES)


def find_open(fd: int) -> int:
    """A descriptor that names an open file."""
    return os.open(f"/proc/self/fd/{fd}", NAMES)


def refuse_what_has_no_ranges(fd: int, name: str | None) -> None:
    """Raises for what is no file, or on a filesystem where locks are kept elsewhere."""
    refuse_network(fd, name)
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder has no bytes to lock", name)
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "a pipe, socket or terminal has no ranges to lock", name)


def refuse_devices(fd: int, name: str | None) -> None:
    """Raises for a device: by another node of it nobody would see who is alive."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(
            errno.ENOTSUP, "a lock lies in a file or in shared memory, not on a device", name
        )


def refuse_network(fd: int, name: str | None) -> None:
    """Raises for a filesystem whose locks others may not see, or may hold for ever."""
    _, kind = file_system(fd, name)
    if kind in NETWORK:
        raise OSError(
            errno.ENOTSUP,
            f"locks cannot lie on {NETWORK[kind]}: nobody can tell there who is alive, and others "
            "may not see them, or hold them for ever; put the file on a local filesystem",
            name,
        )
