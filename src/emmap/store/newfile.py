"""A file that is whole before anybody finds it."""

from __future__ import annotations

import errno
import os
import stat

# Where the kernel or the filesystem knows no files without a name.
NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


class NewFile:
    """An empty file in the folder that it is going to have its name in, for a `with` block.

    It has no name at first, so that nothing stays of it when its maker is killed; where that cannot
    be had, a random one. Nobody but its owner may read it. What is in it is to be flushed before
    it gets its name.
    """

    def __init__(self, name: str) -> None:
        folder, self._base = os.path.split(name)
        self._name = name
        self._temporary: str | None = None
        self._may_flush = True
        self.fd = -1
        self.folder = self._open_folder(folder)
        try:
            self.fd = self._make()
            os.fchmod(self.fd, 0o600)  # whatever the umask
        except BaseException:
            self.close()
            raise

    def _open_folder(self, folder: str) -> int:
        flags = os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return os.open(folder, os.O_RDONLY | flags)
        except PermissionError:
            # New files can be made in a folder that cannot be listed, but it cannot be flushed.
            self._may_flush = False
            return os.open(folder, os.O_PATH | flags)
        except OSError as error:
            raise self._about_name(error) from None

    def _make(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(".", flags | os.O_TMPFILE, 0o600, dir_fd=self.folder)
        except OSError as error:
            if error.errno not in NO_UNNAMED:
                raise self._about_name(error) from None
        temporary = self._random_name()
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            fd = os.open(temporary, flags, 0o600, dir_fd=self.folder)
        except OSError as error:
            raise self._about_name(error) from None
        self._temporary = temporary
        return fd

    def _about_name(self, error: OSError) -> OSError:
        """The error with the name that the user gave."""
        return OSError(error.errno, error.strerror, self._name)

    def _random_name(self) -> str:
        return f".emmap-{os.urandom(8).hex()}.new"

    def take_permissions(self, old: os.stat_result) -> None:
        """Lets those use it who may use the file that it is going to replace."""
        new = os.fstat(self.fd)
        if new.st_gid != old.st_gid or new.st_uid != old.st_uid:
            try:
                os.fchown(self.fd, old.st_uid, old.st_gid)
            except PermissionError:
                return  # the same letters would let others in
        os.fchmod(self.fd, stat.S_IMODE(old.st_mode))

    def give_name(self) -> None:
        """Gives it its name. Raises `FileExistsError` when somebody has it."""
        self._link(self._base)
        self._flush_folder()

    def take_name(self) -> None:
        """Takes the name from the file that has it."""
        if self._temporary is None:
            temporary = self._random_name()
            self._link(temporary)
            self._temporary = temporary
        os.rename(self._temporary, self._base, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self._temporary = None
        self._flush_folder()

    def _link(self, base: str) -> None:
        unnamed = self._temporary is None
        try:
            os.link(
                f"/proc/self/fd/{self.fd}" if unnamed else str(self._temporary),
                base,
                src_dir_fd=self.folder,
                dst_dir_fd=self.folder,
                follow_symlinks=unnamed,  # what lies in /proc is a link to the file
            )
        except OSError as error:
            raise self._about_name(error) from None

    def _flush_folder(self) -> None:
        if not self._may_flush:
            return
        try:
            os.fsync(self.folder)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a filesystem that keeps nothing to be flushed
                raise

    def close(self) -> None:
        """Removes it, unless it has got its name."""
        if self._temporary is not None:
            os.unlink(self._temporary, dir_fd=self.folder)
            self._temporary = None
        for fd in (self.fd, self.folder):
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
