# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The file under a mapping: its size, growth, and pages that come back. Fourth of five layers."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

import errno
from operator import index

from emmap.errors import AddressSpaceError, InUseError, PageLostError, ProtectionError
from emmap.mapping.backing import is_named
from emmap.mapping.memory cimport check, emmap_guard_fill, emmap_guard_resize, emmap_pages
from emmap.mapping.pages cimport MappedPages


cdef extern from "system.h" nogil:
    int PROT_WRITE
    int emmap_pages_resize(emmap_pages *pages, size_t span, int may_move, int fd, long long offset,
                           size_t backed)
    int emmap_pages_repair(emmap_pages *pages, int fd, long long offset, size_t backed)
    int emmap_pages_shorten(emmap_pages *pages, size_t length)
    int emmap_file_look(int fd, emmap_file *file)
    int emmap_file_may_be_copied_up(int fd)
    int emmap_file_show_copy(emmap_pages *pages, int fd, long long offset, emmap_file *file)


cdef class MappedFile(MappedPages):
    """Mapped pages that follow their file: they are resized with it, and repaired from it."""

    def size(self):
        """The size of the file in bytes, which may differ from the mapping's length; of anonymous
        memory, the length. Cost: one system call.

        >>> import emmap
        >>> with emmap.anonymous(10) as m:
        ...     m.size()
        10
        """
        self.ensure_open()
        return self.length if self._backing is None else self._backing.size()

    @property
    def capacity(self):
        """The bytes it can grow to without being moved: what `reserve=` got, else the length."""
        self.ensure_open()
        return self.room or self.length

    def resize(self, newsize, /):
        """Makes the mapping `newsize` bytes long, and a shared mapping's file end where it ends.

        Growing takes space on the disk for every new byte: a full disk raises `OSError` (ENOSPC)
        here, and everything is as it was. A private mapping never changes its file: it grows over
        what the file has, and then with zeros. With exported views it grows in place or raises
        `InUseError`; it does not shrink. With `reserve=` it is never moved, and growing past
        `capacity` raises `AddressSpaceError`. Raises `ProtectionError` for a shared mapping that is
        open for reading. Where several processes make a file longer, use `grow`. Cost: the new bytes
        on the disk, and one system call where nothing has to move.

        >>> import emmap
        >>> with emmap.anonymous(10) as m:
        ...     m.resize(20000)
        ...     len(m)
        20000
        """
        cdef Py_ssize_t length = newsize
        self.look()
        if length < 0:
            raise ValueError(f"new size out of range: {newsize} bytes")
        self.change_length(length, False)

    def grow(self, size, /):
        """Makes the mapping at least `size` bytes long; never shorter.

        As `resize`, but what other processes have added to the file stays. With `reserve=` every
        process that has the file mapped sees the new bytes at once, at unchanged addresses.

        >>> import emmap
        >>> with emmap.anonymous(10, shared=True, reserve=1 << 30) as m:
        ...     view = memoryview(m)
        ...     m.grow(20000)
        ...     len(view), len(m), m.capacity
        (10, 20000, 1073741824)
        """
        cdef Py_ssize_t length = size
        self.look()
        if length > self.length:
            self.change_length(length, True)

    cdef int change_length(self, Py_ssize_t length, bint only_longer) except -1:
        """Raises with nothing changed, or makes the mapping `length` bytes long."""
        if not self.is_private() and not self.pages.prot & PROT_WRITE:
            raise ProtectionError("mmap can't resize a readonly memory map: open it with mode 'r+'")
        if self.reservation is not None or self.placed is not None:
            raise InUseError("a range of reserved addresses has a fixed size")
        if self.lost:
            self.raise_if_lost(0, self.length)
            raise PageLostError("pages are lost: repair() the mapping before it is resized",
                                self.file_name())
        if length < self.length and self.exports:
            raise InUseError(f"mmap can't resize with extant pointers exported: a view of the mapping "
                             f"is held, so it cannot shrink from {self.length} to {length} bytes")
        if self._backing is None and not self.is_private() and length > self.length:
            raise OSError(errno.ENOTSUP, "shared anonymous memory without a descriptor has a fixed "
                          "size; use emmap.anonymous(size, shared=True)")
        if self.room:
            return self.change_in_room(length)
        if self._backing is None:
            return self.set_length(length, length, -1, 0)
        # Whatever follows lets other threads run; set_length looks again at what they may change.
        with self._backing.descriptor(write=not self.is_private()) as descriptor:
            if self.is_private():
                self.set_length(length, length, descriptor.fd, descriptor.size())
            else:
                self.resize_file(length, descriptor, only_longer)
        return 0

    cdef int change_in_room(self, Py_ssize_t length) except -1:
        """The pages are there already: only the file becomes longer or shorter."""
        if length > self.room:
            raise AddressSpaceError(
                f"a mapping with room for {self.room} bytes cannot grow to {length}: open it again "
                f"with a larger reserve= (ulimit -v may limit the addresses of a process)")
        if self._backing is None:
            if length < self.length:
                self.prepare_write(length, self.length)  # its page is cleared
                check(emmap_pages_shorten(&self.pages, self.head + length), "shrink the mapping", None)
            return self.fill(length)
        with self._backing.descriptor() as descriptor:
            if length < self.length:
                self.shrink_file(length, descriptor.fd)
            # Also where it becomes shorter: somebody may have shortened the file even more.
            self._backing.length.grow(descriptor.fd, self.file_offset + length, self.file_name())
        self.ensure_open()
        return self.follow()

    cdef int shrink_file(self, Py_ssize_t length, int fd) except -1:
        self.ensure_open()
        if self.exports > 0:  # also since `resize` looked
            raise InUseError("a view was taken while the mapping was being resized")
        # The mapping comes first: no view of what goes away can be taken from now on, in any thread.
        self.shrinking += 1
        self.limit = min(self.limit, length) if self.shrinking > 1 else length
        self.fill(length)
        try:
            self._backing.length.shrink(fd, self.file_offset + length, self.file_name())
        finally:
            self.shrinking -= 1
            if self.data != NULL:
                self.follow()
        return 0

    cdef int fill(self, Py_ssize_t length) except -1:
        """`length` bytes of the reserved pages hold something from now on."""
        cdef size_t page = self.pages.page
        self.length = length
        self.farthest = max(self.farthest, length)
        emmap_guard_fill(self.pages.guard, (self.head + self.farthest + page - 1) // page * page)
        return self.update_rights()

    cdef int follow(self) except -1:
        """Sees how long the file has become. A mapping never becomes shorter by itself: when the file
        does, pages are lost."""
        cdef emmap_file now
        cdef Py_ssize_t length
        if self._backing is None or emmap_file_look(self._backing.fd, &now) != 0:
            return 0
        if self.seen.changed == 0:
            self.seen = now
            self.may_be_copied_up = emmap_file_may_be_copied_up(self._backing.fd)
        if self.may_be_copied_up and now.changed != self.seen.changed:
            self.show_copy(now)
        if now.device != self.seen.device or now.inode != self.seen.inode:
            return 0  # somebody closed our descriptor, and its number is another file's
        length = min(max(now.size - self.file_offset, 0), self.room)
        if self.shrinking:
            length = min(length, self.limit)
        if length > self.length:
            self.fill(length)
        return 0

    cdef int show_copy(self, emmap_file now) except -1:
        """A file on overlayfs that was opened for reading is one of a lower layer. When somebody writes
        to it, it is copied to the upper layer, and changes only there. So map that one, in place: it
        begins with the same bytes."""
        cdef int rc
        if (now.device != self.seen.device or now.inode != self.seen.inode) and \
                not is_named(self._backing.fd, self.file_name() or ""):
            return 0
        self.hold()
        try:
            rc = emmap_file_show_copy(&self.pages, self._backing.fd, self.file_offset - self.head, &now)
            if rc == -errno.ESTALE:
                return 0
            self.expect(rc, "map the file's copy in the upper layer")
            self.may_be_copied_up = False
            self.seen = now
            self._backing.identify()
            return self.protect_again()
        finally:
            self.let_go()

    cdef int resize_file(self, Py_ssize_t length, object descriptor, bint only_longer) except -1:
        cdef long long before = descriptor.size(), after = self.file_offset + length
        cdef Py_ssize_t old
        name = self.file_name()
        file = self._backing.length
        if after > before:
            return self.lengthen_file(length, descriptor, before)
        old = self.length
        self.set_length(length, length, descriptor.fd, before)
        if after < before and not only_longer:
            try:
                file.shrink(descriptor.fd, after, name)
            except BaseException:
                if self.data != NULL and self.length == length and self.exports == 0:
                    self.set_length(old, old, descriptor.fd, before)
                raise
        return 0

    cdef int lengthen_file(self, Py_ssize_t length, object descriptor, long long before) except -1:
        """The space comes first, then the pages, then the file's end, and then the bytes are shown: so
        nobody sees a length that is taken back, or bytes that are not there yet."""
        cdef long long after = self.file_offset + length
        file, name = self._backing.length, self.file_name()
        file.take_space(descriptor.fd, after, name)
        try:
            self.set_length(length, self.length, descriptor.fd, after)
            file.grow(descriptor.fd, after, name)
        except BaseException:
            file.shrink(descriptor.fd, after, name, before)  # gives the space back
            raise
        self.ensure_open()
        if self.head + length > <Py_ssize_t>self.pages.span:
            raise InUseError("another thread has made the mapping shorter meanwhile")
        self.length = max(self.length, length)
        return self.update_rights()

    def splice(self, start, stop, data, /):
        """Replaces the bytes from `start` to `stop` by `data`, whose length may differ.

        What lies behind moves, and a shared mapping's file becomes longer or shorter. `start` and
        `stop` are as in a slice. Everything is checked and the disk space taken before a byte
        moves; but a process that is killed or interrupted later leaves the bytes moved in part, or
        the file longer than it should be. Raises as
        `resize` does, and `ValueError` when the file goes on behind the mapping. Cost: a copy of
        all that follows `start`, without the GIL.

        >>> import emmap
        >>> with emmap.anonymous(10) as m:
        ...     m[:] = b"one, three"
        ...     m.splice(5, 5, b"two, ")
        ...     m.splice(0, 3, b"1")
        ...     m[:]
        b'1, two, three'
        """
        cdef Py_ssize_t first, end, before, after
        cdef Py_buffer source
        # Numbers first: what they call may change the mapping.
        start = None if start is None else index(start)
        stop = None if stop is None else index(stop)
        self.look()
        self.require_writable()
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            # SAFETY: addresses are compared, none is followed.
            if source.buf < self.data + self.length and source.buf + source.len > self.data:
                return MappedFile.splice(self, start, stop, bytes(data))
            if not self.is_private() and self._backing is not None and \
                    self._backing.size() > self.file_offset + self.length:
                raise ValueError("the file goes on behind the mapping: map it to its end to splice it")
            first, end, _ = slice(start, stop).indices(self.length)
            end = max(first, end)
            before = self.length
            after = before - (end - first) + source.len
            if after < before and self.exports:
                raise InUseError("a view of the mapping is held, so it cannot become shorter")
            self.prepare_write(first, before)
            if after > before:
                self.change_length(after, False)
            try:
                if after != before and end < before:
                    self.move(first + source.len, end, before - end)
            except BaseException:
                if after > before and self.data != NULL and self.exports == 0:
                    self.change_length(before, False)
                raise
            if first + source.len > self.length:
                raise InUseError("another thread has made the mapping shorter meanwhile")
            self.copy_in(first, <const unsigned char *>source.buf, source.len)
        finally:
            PyBuffer_Release(&source)
        if after < before:
            self.change_length(after, False)

    cdef int set_length(self, Py_ssize_t length, Py_ssize_t shown, int fd,
                        long long file_size) except -1:
        """Makes the pages fit `length` bytes, of which the file has those before `file_size`; `shown` of
        them are the mapping's from now on."""
        cdef size_t page = self.pages.page
        cdef size_t span = (self.head + length + page - 1) // page * page if length else 0
        cdef size_t old_base = <size_t>self.pages.base, old_span = self.pages.span
        cdef bint may_move
        cdef int rc
        self.ensure_open()
        if length < self.length and self.exports:  # also since `resize` looked
            raise InUseError("a view was taken while the mapping was being resized")
        if old_span == 0 or span == 0:
            copied = max(file_size - self.file_offset, 0) if self.is_private() else length
            self.begin_again(length, fd if copied else -1, min(copied, length) or length)
            self.length = shown
            return self.update_rights()
        # Names, lists and exceptions let other threads run. So the short ways to the bytes are closed
        # until all is true again, and nothing comes between the kernel's pages and `data`, `length`.
        self.readable = self.writable = 0
        may_move = self.exports == 0 and not self.fixed
        self.hold()
        try:
            if span < old_span and self.was_exported:
                emmap_guard_resize(self.pages.guard, span)
                self.pages.span = span
                self.length = shown
                self.bury(old_base + span, old_span - span, replace=True)
            else:
                rc = emmap_pages_resize(&self.pages, span, may_move, fd,
                                        self.file_offset - self.head, self.backed_by(file_size))
                self.data = self.pages.base + self.head  # SAFETY: head is less than a page.
                if rc == 0:
                    self.length = shown
                elif rc == -errno.EFAULT:
                    raise PageLostError("pages are lost: the file was truncated, so the mapping "
                                        "cannot be moved", self.file_name(), self.file_offset)
                elif rc == -errno.EEXIST:
                    raise InUseError(f"mmap can't resize with extant pointers exported: the mapping "
                                     f"cannot grow to {length} bytes where it is, and views or a fixed "
                                     f"address keep it there")
                else:
                    self.expect(rc, f"resize the mapping to {length} bytes")
            if <size_t>self.pages.base != old_base and self.was_exported:
                self.bury(old_base, old_span, replace=False)
            if self.protections is not None:
                kept = [(a, min(b, span // page), p) for a, b, p in self.protections
                        if a < span // page]
                kept[-1] = (kept[-1][0], span // page, kept[-1][2])
                self.protections = kept
            self.protect_again()
        finally:
            self.update_rights()
            self.let_go()
        return 0

    cdef int begin_again(self, Py_ssize_t length, int fd, Py_ssize_t first) except -1:
        """Maps what was empty, or becomes empty: `first` bytes of it at once, and then the rest."""
        cdef size_t page = self.pages.page
        self.unmap()
        self.data = NULL
        try:
            self._map(self._backing, fd, self.file_offset, first, self.protection, self.pages.flags,
                      page)
            if first < length:
                self.set_length(length, length, fd, self.file_offset + first)
        except OSError:
            self.unmap()
            self.data = NULL
            self._map(self._backing, fd, self.file_offset, 0, self.protection, self.pages.flags, page)
            raise
        return 0

    cdef size_t backed_by(self, long long file_size) noexcept:
        """The bytes from the first page's start that lie in pages of a file of this size."""
        cdef size_t page = self.pages.page
        if self.room and not self.is_private():
            return self.pages.span
        return (max(file_size - self.file_offset + self.head, 0) + page - 1) // page * page

    # Lost pages

    def repair(self):
        """Maps the lost pages again, once the file has grown back; does nothing when none is lost.

        What was written to lost pages meanwhile is gone. Raises `PageLostError` when the file is
        still too short, and `OSError` when it cannot be opened again or is another one now. Cost:
        one system call for each lost run.

        >>> import emmap, os, tempfile
        >>> with tempfile.NamedTemporaryFile() as f, emmap.open(f.name, "r+", size=5000) as m:
        ...     os.truncate(f.name, 0)
        ...     try:
        ...         m[0]
        ...     except emmap.PageLostError as error:
        ...         print(error.offset)
        ...     os.truncate(f.name, 5000)
        ...     m.repair()
        ...     m[0]
        0
        0
        """
        cdef int rc
        self.ensure_open()
        if not self.lost:
            return
        if self._backing is None:
            raise PageLostError("anonymous memory that a child was not given cannot be repaired")
        self.hold()  # before a file is opened, which lets other threads run: one may close us
        try:
            with self._backing.descriptor(write=not self.is_private() and
                                         self.pages.prot & PROT_WRITE != 0) as descriptor:
                size = descriptor.size()
                if self.room and self.exports == 1 and size >= self.file_offset:
                    # Somebody has shortened it, and no view (but our own hold) is in the way.
                    self.fill(min(self.length, size - self.file_offset))
                if not self.is_private() and size < self.file_offset + self.length:
                    raise PageLostError(
                        f"pages are still lost: the file has {size} bytes, and the mapping ends at "
                        f"{self.file_offset + self.length}", self.file_name(), size)
                self.repairs += 1
                rc = emmap_pages_repair(&self.pages, descriptor.fd, self.file_offset - self.head,
                                        self.backed_by(size))
                if rc == -errno.ENXIO:
                    raise PageLostError(f"pages are still lost: the file has {size} bytes",
                                        self.file_name(), size)
                self.expect(rc, "map the lost pages again")
            self.protect_again()
        finally:
            self.let_go()
