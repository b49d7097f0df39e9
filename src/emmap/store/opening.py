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

# A file that is another one each time it is looked at has no inode number to go by.
MOST_TRIES = 1000

# What this process has open, by device and inode. Guarded by `_opening`, which is taken again where
# a signal handler opens a store while one is being opened.
_files: WeakValueDictionary[Identity, StoreFile] = WeakValueDictionary()
_opening = RLock()


def _begin_anew() -> None:
    """In a forked child: the thread that held the lock may not be there."""
    global _opening
    _opening = RLock()
    # Who was in a transaction when he forked may open the file anew, but not go on with it.
    for identity, file in list(_files.items()):
        if file.inherited:
            del _files[identity]


os.register_at_fork(after_in_child=_begin_anew)


def open_file(path: Path | None, mode: str, reserve: int | None) -> StoreFile:
    """The file of a store, as the mode says; `path` None is a new one in memory."""
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    if path is None:
        return _in_memory(mode, reserve)
    name = absolute(path)
    with _opening:
        made = mode in ("r", "r+")
        for _ in range(MOST_TRIES):
            made = made or _make(name, mode)
            file = _open(name, reserve) if made else None
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


# Making


def _make(name: str, mode: str) -> bool:
    """Sees to it that there is a file, a new one where the mode says so. False: look again."""
    try:
        place = os.open(name, NAMES)
    except FileNotFoundError:
        return _create(name, mode)
    try:
        if mode == "x":
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        return mode == "a" or _replace(place, name)
    finally:
        os.close(place)


def _create(name: str, mode: str) -> bool:
    """Makes a file that was not there; False when somebody was quicker."""
    with NewFile(name) as new:
        refuse_network(new.folder, name)
        _fill(new)
        try:
            new.give_name()
        except FileExistsError:
            if mode == "x":
                raise
            if os.path.islink(name) and not os.path.exists(name):
                raise FileNotFoundError(
                    errno.ENOENT, "a symbolic link that leads nowhere: make the store there", name
                ) from None
            return False
    return True


def _replace(place: int, name: str) -> bool:
    """Puts a new file in the place of one that nobody uses; False when somebody was quicker.

    Nothing is done to the old one, for whoever has it mapped without saying so.
    """
    _refuse_what_is_no_file(place, name)
    if _identity(place) in _files:
        raise InUseError(f"{name} is open in this process: close it before mode 'w' empties it")
    fd = _open_to_write(place, name)
    try:
        with Turn(fd, name, alone=True) as turn:
            target = os.path.realpath(name)  # and not the link that leads to it
            if not is_named(fd, target):
                return False
            if turn.is_file_in_use():
                raise InUseError(f"{name} is in use, so mode 'w' would empty it under somebody")
            with NewFile(target) as new:
                new.take_permissions(os.fstat(fd))
                _fill(new)
                new.take_name()
            return True
    finally:
        os.close(fd)


def _fill(new: NewFile) -> None:
    try:
        create_store(new.fd)
    except OSError as error:
        raise new._about_name(error) from None
    os.fsync(new.fd)


# Opening


def _open(name: str, reserve: int | None) -> StoreFile | None:
    """Opens what is there; None when the name leads elsewhere by now."""
    place = os.open(name, NAMES)
    try:
        _refuse_what_is_no_file(place, name)
        file = _files.get(_identity(place))
        if file is not None:
            return file
        fd = _open_to_write(place, name)
    finally:
        os.close(place)
    try:
        with Turn(fd, name, alone=False):
            if not is_named(fd, name):
                return None
            if os.fstat(fd).st_size == 0:
                raise CorruptFileError("an empty file is no store: mode 'w' makes it one", name)
            return _files.setdefault(_identity(fd), StoreFile(fd, name, reserve))
    finally:
        os.close(fd)


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
