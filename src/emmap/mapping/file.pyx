# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The file under a mapping: its size, growth, and pages that come back. Fourth of five layers."""

from cpython.exc cimport PyErr_CheckSignals

import errno

from emmap.errors import InUseError, PageLostError, ProtectionError
from emmap.mapping.memory cimport check, emmap_guard_resize, emmap_pages
from emmap.mapping.pages cimport MappedPages


cdef extern from "system.h" nogil:
    int PROT_WRITE
    int emmap_pages_resize(emmap_pages *pages, size_t span, int may_move, int fd, long long offset,
                           size_t backed)
    int emmap_pages_repair(emmap_pages *pages, int fd, long long offset, size_t backed)
    int emmap_file_grow(int fd, long long start, long long stop)
    int emmap_file_page(int fd, size_t *page)


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

    def resize(self, newsize, /):
        """Makes the mapping `newsize` bytes long, and a shared mapping's file end where it ends.

        Growing takes space on the disk for every new byte: a full disk raises `OSError` (ENOSPC)
        here, and everything is as it was. A private mapping never changes its file: it grows over
        what the file has, and then with zeros. With exported views it grows in place or raises
        `InUseError`; it does not shrink. Raises `ProtectionError` for a shared mapping that is
        open for reading. Cost: the new bytes on the disk, and one system call where nothing has to
        move.

        >>> import emmap
        >>> with emmap.anonymous(10) as m:
        ...     m.resize(20000)
        ...     len(m)
        20000
        """
        cdef Py_ssize_t length = newsize
        self.ensure_open()
        if length < 0:
            raise ValueError(f"new size out of range: {newsize} bytes")
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
        if self._backing is None:
            self.set_length(length, -1, 0)
        else:
            # Whatever follows lets other threads run; set_length looks again at what they may change.
            with self._backing.descriptor(write=not self.is_private()) as descriptor:
                if self.is_private():
                    self.set_length(length, descriptor.fd, descriptor.size())
                else:
                    self.resize_file(length, descriptor)

    cdef int resize_file(self, Py_ssize_t length, object descriptor) except -1:
        cdef long long before = descriptor.size(), after = self.file_offset + length
        if after > before:
            grow_file(descriptor.fd, before, after, self.file_name())
        try:
            self.set_length(length, descriptor.fd, after)
        except BaseException:
            if after > before:
                descriptor.truncate(before)
            raise
        if after < before:
            descriptor.truncate(after)
        return 0

    cdef int set_length(self, Py_ssize_t length, int fd, long long file_size) except -1:
        """Makes the pages fit `length` bytes, of which the file has those before `file_size`."""
        cdef size_t page = self.pages.page
        cdef size_t span = (self.head + length + page - 1) // page * page if length else 0
        cdef size_t old_base = <size_t>self.pages.base, old_span = self.pages.span
        cdef int rc
        self.ensure_open()
        if length < self.length and self.exports:  # also since `resize` looked
            raise InUseError("a view was taken while the mapping was being resized")
        if old_span == 0 or span == 0:
            self.unmap()
            self.data = NULL
            try:
                self._map(self._backing, fd, self.file_offset, length, self.protection,
                          self.pages.flags, page)
            except OSError:
                self._map(self._backing, fd, self.file_offset, 0, self.protection,
                          self.pages.flags, page)
                raise
            return 0
        # Names, lists and exceptions let other threads run. So the short ways to the bytes are closed
        # until all is true again, and nothing comes between the kernel's pages and `data`, `length`.
        self.readable = self.writable = 0
        try:
            if span < old_span and self.was_exported:
                emmap_guard_resize(self.pages.guard, span)
                self.pages.span = span
                self.length = length
                self.bury(old_base + span, old_span - span, replace=True)
            else:
                rc = emmap_pages_resize(&self.pages, span, self.exports == 0 and not self.fixed, fd,
                                        self.file_offset - self.head, self.backed_by(file_size))
                self.data = self.pages.base + self.head  # SAFETY: head is less than a page.
                if rc == 0:
                    self.length = length
                elif rc == -errno.EFAULT:
                    raise PageLostError("pages are lost: the file was truncated, so the mapping "
                                        "cannot be moved", self.file_name(), self.file_offset)
                elif rc == -errno.EEXIST:
                    raise InUseError(f"mmap can't resize with extant pointers exported: the mapping "
                                     f"cannot grow to {length} bytes where it is, and views or a fixed "
                                     f"address keep it there")
                else:
                    check(rc, f"resize the mapping to {length} bytes", self.file_name())
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
        return 0

    cdef size_t backed_by(self, long long file_size) noexcept:
        """The bytes from the first page's start that lie in pages of a file of this size."""
        cdef size_t page = self.pages.page
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
                check(rc, "map the lost pages again", self.file_name())
            self.protect_again()
        finally:
            self.let_go()


def grow_file(int fd, long long before, long long after, name):
    """Makes the file `fd` `after` bytes long, from `before`, with space on the disk for every byte.

    Raises `OSError` (ENOSPC) on a full disk, and the file is as it was.
    """
    cdef int rc = -errno.EINTR
    while rc == -errno.EINTR:
        PyErr_CheckSignals()
        with nogil:
            rc = emmap_file_grow(fd, before, after)
    check(rc, f"grow the file from {before} to {after} bytes", name)


def file_page(int fd, name):
    """The bytes in a page of the open file: more than usual on hugetlbfs."""
    cdef size_t page = 0
    check(emmap_file_page(fd, &page), "look at the filesystem", name)
    return page
