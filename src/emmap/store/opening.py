"""The file of a store: found, made or replaced, and one `StoreFile` of it in this process."""

from __future__ import annotations

import errno
import os
import stat
from _thread import RLock
from weakref import WeakValueDictionary

from emmap.errors import CorruptFileError, InUseError
from emmap.locks.files import NAMES, absolute, refuse_network
from emmap.mapping.backing import is_named
from emmap.store.file import StoreFile, create_store
from emmap.store.newfile import NewFile
from emmap.store.turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    Identity = tuple[int, int]

# As h5py has them.
MODES = ("r", "r+", "a", "w", "x")

# A file that is another one each time it is looked at has no inode numbers to go by.
MOST_TRIES = 1000

# What this process has open, by device and inode. Guarded by `_opening`, which is taken again where
# a signal handler opens a store while one is being opened.
_files: WeakValueDictionary[Identity, StoreFile] = WeakValueDictionary()
_opening = RLock()


def _begin_anew() -> None:
    """In a forked child: the thread that held the lock may not be there."""
    global _opening
    _opening = RLock()


os.register_at_fork(after_in_child=_begin_anew)


def open_file(path: Path | None, mode: str, reserve: int | None) -> StoreFile:
    """The file of a store, as the mode says; `path` None is a new one in memory."""
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    if path is None:
        return _in_memory(mode, reserve)
    name = absolute(path)
    with _opening:
        for _ in range(MOST_TRIES):
            file = _try_to_open(name, mode, reserve)
            if file is not None:
                return file
    raise OSError(errno.ESTALE, "the file is another one each time it is looked at", name)


def _in_memory(mode: str, reserve: int | None) -> StoreFile:
    if mode in ("r", "r+"):
        raise ValueError(
            f"a store in memory (path None) is a new one, which mode {mode!r} is not for"
        )
    fd = os.memfd_create("emmap-store", os.MFD_CLOEXEC)
    try:
        create_store(fd)
        return StoreFile(fd, None, reserve)
    finally:
        os.close(fd)


def _try_to_open(name: str, mode: str, reserve: int | None) -> StoreFile | None:
    """Opens what is there or makes what is not; None when somebody else made or replaced it."""
    try:
        place = os.open(name, NAMES)
    except FileNotFoundError:
        if mode in ("r", "r+"):
            raise
        return _create(name, mode, reserve)
    try:
        if mode == "x":
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        _refuse_what_is_no_file(place, name)
        file = _files.get(_identity(place))
        if file is None:
            fd = _open_to_write(place, name)
            try:
                return _take(fd, name, mode, reserve)
            finally:
                os.close(fd)
    finally:
        os.close(place)
    if mode == "w":
        raise InUseError(f"{name} is open in this process: close it before mode 'w' empties it")
    return file


def _take(fd: int, name: str, mode: str, reserve: int | None) -> StoreFile | None:
    """Opens it, or puts a new one in its place; None when the name leads elsewhere by now."""
    with Turn(fd, name, alone=mode == "w") as turn:
        if not is_named(fd, name):
            return None
        if mode == "w":
            if turn.is_file_in_use():
                raise InUseError(f"{name} is in use, so mode 'w' would empty it under somebody")
            return _replace(fd, name, reserve)
        if os.fstat(fd).st_size == 0:
            raise CorruptFileError("an empty file is no store: mode 'w' makes it one", name)
        return _keep(StoreFile(fd, name, reserve), fd)


def _create(name: str, mode: str, reserve: int | None) -> StoreFile | None:
    """Makes a file that was not there; None when somebody was quicker."""
    with NewFile(name) as new:
        refuse_network(new.folder, name)
        file = _fill(new, name, reserve)
        try:
            new.give_name()
        except FileExistsError:
            if mode == "x":
                raise
            if os.path.islink(name) and not os.path.exists(name):
                raise FileNotFoundError(
                    errno.ENOENT, "a symbolic link that leads nowhere: make the store there", name
                ) from None
            return None
        return _keep(file, new.fd)


def _replace(fd: int, name: str, reserve: int | None) -> StoreFile | None:
    """Puts a new store in the place of a file that nobody uses.

    Nothing is done to the file itself, for whoever has it mapped without saying so.
    """
    target = os.path.realpath(name)  # not a link to it
    if os.path.islink(target) or not is_named(fd, target):
        return None
    with NewFile(target) as new:
        new.take_permissions(os.fstat(fd))
        file = _fill(new, name, reserve)
        new.take_name()
        return _keep(file, new.fd)


def _fill(new: NewFile, name: str, reserve: int | None) -> StoreFile:
    """Makes a store of a new file, and opens it before anybody finds it."""
    create_store(new.fd)
    os.fsync(new.fd)
    return StoreFile(new.fd, name, reserve)


def _keep(file: StoreFile, fd: int) -> StoreFile:
    """The one that this process has of that file, from now on this one."""
    return _files.setdefault(_identity(fd), file)


def _identity(fd: int) -> Identity:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _refuse_what_is_no_file(place: int, name: str) -> None:
    kind = os.fstat(place).st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "a folder is no store", name)
    if not stat.S_ISREG(kind):
        raise OSError(
            errno.ENOTSUP, "a store lies in a regular file, not in a device or pipe", name
        )
    refuse_network(place, name)


def _open_to_write(place: int, name: str) -> int:
    """A descriptor of the very file that was looked at."""
    try:
        return os.open(f"/proc/self/fd/{place}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OSError(error.errno, error.strerror, name) from None
        raise OSError(
            error.errno,
            f"{error.strerror}: whoever opens a store, to read it too, notes in it what he looks "
            f"at, and so needs the right to write the file",
            name,
        ) from None
