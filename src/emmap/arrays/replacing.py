"""A file that is written beside another one, and then takes its place at once."""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import Self

from emmap.mapping.length import grow_file

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Replacement:
    """A new file, in a `with` block. At its end it is gone, unless it took the place of `path`.

    Whoever has the old file open or mapped keeps it: it is never truncated. The new one gets its
    permissions. A symbolic link stays, and what it points to is replaced.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Makes the new file, of `size` zeros with space on the disk for each."""
        self.target = os.path.realpath(os.fsdecode(path))
        permissions = None
        try:
            old = os.stat(self.target)
        except FileNotFoundError:
            pass
        else:
            if not stat.S_ISREG(old.st_mode):
                raise FileExistsError(
                    errno.EEXIST, "only a regular file can be replaced by an array", self.target
                )
            permissions = stat.S_IMODE(old.st_mode)
        name = os.path.join(os.path.dirname(self.target), f".emmap-{os.urandom(8).hex()}")
        self.fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._name: str | None = name
        try:
            if permissions is not None:
                os.fchmod(self.fd, permissions)
            grow_file(self.fd, size, self.target)
        except BaseException:
            self.close()
            raise

    def take_place(self) -> None:
        """Gives the file the name of the old one, in one step."""
        assert self._name is not None
        os.rename(self._name, self.target)
        self._name = None

    def close(self) -> None:
        """Ends the use of the descriptor, and of the file where it has not taken its place."""
        if self._name is not None:
            os.unlink(self._name)
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
