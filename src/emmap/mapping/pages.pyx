# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The pages of a mapping, and what the kernel does with them. Third of a MemoryMap's five layers.

Ranges are (offset, length) in bytes and may begin and end anywhere. What the kernel can only do
with whole pages is done with each page that the range touches; advice that destroys bytes leaves
out those it only touches.
"""

import errno
import sys

from emmap.errors import InUseError, PageLostError
from emmap.mapping import constants
from emmap.mapping.cursor cimport MappedCursor
from emmap.mapping.memory cimport check, emmap_pages


cdef extern from "system.h" nogil:
    int MAP_TYPE, MAP_PRIVATE, MS_SYNC, MS_ASYNC, MS_INVALIDATE
    int PROT_READ, PROT_WRITE, PROT_EXEC, MADV_POPULATE_READ, MADV_POPULATE_WRITE
    int emmap_pages_protect(emmap_pages *pages, size_t start, size_t stop, int prot)
    int emmap_pages_flush(emmap_pages *pages, size_t start, size_t stop, int flags, int fd,
                          long long offset)
    int emmap_pages_advise(emmap_pages *pages, size_t start, size_t stop, int advice)
    int emmap_pages_populate(emmap_pages *pages, size_t start, size_t stop, int write)
    int emmap_pages_pin(emmap_pages *pages, size_t start, size_t stop, int pinned)
    int emmap_pages_evict(emmap_pages *pages, size_t start, size_t stop, int fd, long long offset)

# Others are refused: they make pages that answer with signals which are not ours to catch.
KNOWN_ADVICE = frozenset(
    value for name, value in vars(constants).items() if name.startswith("MADV_")
) - {constants.MADV_HWPOISON, constants.MADV_SOFT_OFFLINE}

# Advice that is carried out at once, on bytes that must be there.
ABOUT_CONTENT = frozenset(
    (constants.MADV_WILLNEED, constants.MADV_COLD, constants.MADV_PAGEOUT, constants.MADV_COLLAPSE))


cdef class MappedPages(MappedCursor):
    """Mapped memory whose pages can be protected, flushed, advised, loaded, dropped and resized."""

    cdef object file_name(self):
        return self._backing.name if self._backing is not None else None

    cdef bint is_private(self) noexcept:
        return self.pages.flags & MAP_TYPE == MAP_PRIVATE

    cdef int span_of(self, object offset, object length, size_t *start, size_t *stop) except -1:
        """The range in bytes from the first page's start. Raises where nothing may be called."""
        cdef Py_ssize_t first = 0, end = 0
        self.range_of(offset, length, &first, &end)
        self.raise_if_lost(0, 0)
        # What lies beside the bytes in the first and the last page belongs to nobody else.
        start[0] = first + self.head if first else 0
        stop[0] = end + self.head
        return end > first

    cdef size_t with_room(self, size_t stop) noexcept:
        """Where a range ends for what shall hold for the bytes to come too: a range to the end of what
        is there goes on to the end of the reserved pages."""
        return self.pages.span if stop == <size_t>(self.head + self.length) else stop

    # Protection

    def protect(self, protection, offset=0, length=None):
        """Sets what may be done with every page that the range touches (mprotect(2)).

        `protection` is a `Protection`. From then on a write (or a read) that is not allowed raises
        `ProtectionError`, never a signal. Raises `InUseError` when that would pull a right from
        under an exported view, and `PermissionError` when the file was not opened for writing;
        nothing is changed then. Only this process is concerned. Cost: one system call.

        >>> import emmap
        >>> with emmap.anonymous(1) as m:
        ...     m.protect(emmap.Protection.READ)
        ...     m[0] = 1
        Traceback (most recent call last):
        emmap.errors.ProtectionError: mmap can't modify a readonly memory map: the byte at file ...
        """
        cdef size_t start = 0, stop = 0
        cdef int prot = protection
        if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC):
            raise ValueError(f"unknown protection {protection!r}: combine the values of Protection")
        if not self.span_of(offset, length, &start, &stop):
            return
        stop = self.with_room(stop)
        if self.placed is not None and self.exports:
            raise InUseError("the reserved range holds other mappings, and stays closed to access")
        if self.writers and not prot & PROT_WRITE:
            raise InUseError("a writable view of the mapping is held: release it before the right to "
                             "write is taken away")
        if self.exports and not prot & (PROT_READ | PROT_WRITE):
            raise InUseError("a view of the mapping is held: release it before the right to read is "
                             "taken away")
        self.hold()  # whatever runs Python from here on may close the mapping
        try:
            self.expect(emmap_pages_protect(&self.pages, start, stop, prot), "protect the pages")
            self.record(start // self.pages.page, (stop - 1) // self.pages.page + 1, prot)
        finally:
            self.let_go()

    cdef int record(self, size_t first, size_t end, int prot) except -1:
        """Notes that the pages [first, end) are protected by `prot`."""
        cdef list before = self.protections or [
            (0, self.pages.span // self.pages.page, self.protection)]
        cdef list after = []
        cut = [(a, min(b, first), p) for a, b, p in before if a < first]
        cut.append((first, end, prot))
        cut += [(max(a, end), b, p) for a, b, p in before if b > end]
        for a, b, p in cut:
            if after and after[-1][2] == p:
                after[-1] = (after[-1][0], b, p)
            else:
                after.append((a, b, p))
        if len(after) == 1:
            self.protection = after[0][2]
        self.protections = after if len(after) > 1 else None
        return self.update_rights()

    cdef int protect_again(self) except -1:
        """Gives fresh pages the protection that is noted for them."""
        cdef size_t start, stop, page = self.pages.page
        cdef int prot
        if self.data == NULL:
            return 0
        self.hold()  # whatever runs Python may close the mapping
        try:
            for first, end, protection in self.protections or (
                    (0, self.pages.span // page, self.protection),):
                start, stop, prot = first * page, end * page, protection
                if prot != self.pages.prot:
                    self.expect(emmap_pages_protect(&self.pages, start, stop, prot),
                                "protect the pages")
        finally:
            self.let_go()
        return 0

    # To and from the disk

    def flush(self, offset=0, length=None, /, *, flags=None, wait=True, invalidate=False):
        """Writes the changes of a range to the disk (msync(2)). The default is the whole mapping.

        Returns when they are there, so that they survive a power loss; with `wait=False`, as soon
        as the writing has begun. `invalidate=True` also asks that other mappings of the file see
        them, which on Linux they do anyway. `flags` takes MS_SYNC, MS_ASYNC and MS_INVALIDATE
        instead. Private changes are never written. Raises `PageLostError` when a page is lost,
        until `repair`; `OSError` when the disk fails, and then nothing may be assumed of what was
        not flushed before. Cost: the dirty pages, without the GIL.

        >>> import emmap, tempfile
        >>> with tempfile.NamedTemporaryFile() as f, emmap.open(f.name, "r+", size=100) as m:
        ...     m[10:15] = b"kept."
        ...     m.flush(10, 5)
        """
        cdef size_t start = 0, stop = 0
        cdef int rc, how, fd
        if flags is None:
            how = (MS_SYNC if wait else MS_ASYNC) | (MS_INVALIDATE if invalidate else 0)
        else:
            how = flags
            if how & MS_SYNC and how & MS_ASYNC:
                raise ValueError("MS_SYNC and MS_ASYNC exclude each other: wait, or do not")
        if not self.span_of(offset, length, &start, &stop):
            return
        if self.lost:
            self.raise_if_lost(0, self.length)
        fd = self._backing.fd if self._backing is not None else -1
        self.hold()
        try:
            with nogil:  # SAFETY: held, so the pages stay mapped.
                rc = emmap_pages_flush(&self.pages, start, stop, how, fd, self.file_offset - self.head)
            if self.lost:
                self.raise_if_lost(0, self.length)
            self.raise_if_file_ends_before(min(<Py_ssize_t>stop - self.head, self.length))
        finally:
            self.let_go()
        check(rc, "flush (MS_INVALIDATE needs pages that are not pinned)" if rc == -errno.EBUSY
              else "flush", self.file_name())

    cdef int raise_if_file_ends_before(self, Py_ssize_t stop) except -1:
        """msync does not notice that the file was truncated and the changes went nowhere."""
        size = None if self._backing is None or self.is_private() else self._backing.end()
        if size is not None and size < self.file_offset + stop:
            raise PageLostError(
                f"page lost: what was flushed ends at file offset {self.file_offset + stop}, but the "
                f"file was truncated to {size} bytes", self.file_name(), max(size, self.file_offset))
        return 0

    def advise(self, advice, offset=0, length=None):
        """Tells the kernel how a range will be used (madvise(2)).

        `advice` is an `Advice`. Advice that destroys bytes (REMOVE, FREE, DONTNEED of private
        memory) spares a page that the range only touches. A child made after DONTFORK sees the
        mapping as lost. Raises `OSError` where the kernel refuses. Cost: one system call, without
        the GIL.

        >>> import emmap
        >>> with emmap.anonymous(1 << 22) as m:
        ...     m.advise(emmap.Advice.NOHUGEPAGE)
        """
        cdef size_t start = 0, stop = 0
        cdef int rc
        cdef Py_ssize_t how = advice
        if how not in KNOWN_ADVICE:
            raise ValueError(f"unknown advice {advice!r}: use one of Advice")
        if how == MADV_POPULATE_READ or how == MADV_POPULATE_WRITE:
            return self.populate(offset, length, write=how == MADV_POPULATE_WRITE)
        if not self.span_of(offset, length, &start, &stop):
            return
        if how not in ABOUT_CONTENT:
            stop = self.with_room(stop)
        self.hold()
        try:
            with nogil:  # SAFETY: held, so the pages stay mapped.
                rc = emmap_pages_advise(&self.pages, start, stop, <int>how)
        finally:
            self.let_go()
        check(rc, f"advise {advice!r}", self.file_name())

    def madvise(self, option, start=0, length=None, /):
        """`advise` under the name and with the arguments of the standard mmap: a `length` that goes
        past the end is cut.

        >>> import emmap
        >>> with emmap.anonymous(10) as m:
        ...     m.madvise(emmap.MADV_NORMAL, 0, 1000)
        """
        cdef Py_ssize_t number = option, first = start, n
        self.look()
        n = self.length if length is None else length
        if not 0 <= first < self.length:
            raise ValueError(f"madvise start out of bounds: {first} in a mapping of {self.length}")
        if n < 0:
            raise ValueError(f"madvise length invalid: {n}")
        if n > sys.maxsize - first:
            raise OverflowError("madvise length too large")
        if (first + self.head) % <Py_ssize_t>self.pages.page or number not in KNOWN_ADVICE:
            raise OSError(errno.EINVAL, f"madvise({number}) from {first}: it takes the start of a page, "
                          f"where advise takes any range", self.file_name())
        self.advise(number, first, min(n, self.length - first))

    def populate(self, offset=0, length=None, *, write=False):
        """Loads a range into memory now, so that no later access waits for the disk.

        With `write=True` the pages are also made ready to be written, without a change. Raises
        `PageLostError` when a page cannot be had. Cost: the pages that are not resident, without
        the GIL (MADV_POPULATE_READ; a touch of each page before Linux 5.14).

        >>> import emmap
        >>> with emmap.anonymous(10000) as m:
        ...     m.populate(5000)
        """
        cdef size_t start = 0, stop = 0
        cdef Py_ssize_t first = 0, end = 0
        cdef bint writing = write
        cdef int rc
        if not self.span_of(offset, length, &start, &stop):
            return
        first = max(<Py_ssize_t>start - self.head, 0)
        end = min(<Py_ssize_t>stop - self.head, self.length)
        self.require(first, end, PROT_WRITE if writing else PROT_READ)
        self.hold()
        self.writers += writing
        try:
            with nogil:  # SAFETY: held; the guard answers a lost page.
                rc = emmap_pages_populate(&self.pages, start, stop, writing)
            self.raise_if_lost(first, end)
        finally:
            self.writers -= writing
            self.let_go()
        check(rc, "populate", self.file_name())

    def pin(self, offset=0, length=None):
        """Loads a range and keeps it in memory until `unpin`, `close` or the process's end
        (mlock(2)).

        Raises `OSError` (ENOMEM or EPERM) past what `ulimit -l` allows. Cost: the pages that are
        not resident, without the GIL.

        >>> import emmap
        >>> with emmap.anonymous(100) as m:
        ...     m.pin()
        ...     m.unpin()
        """
        self.set_pinned(offset, length, True)

    def unpin(self, offset=0, length=None):
        """Lets the kernel drop the pages of a range again (munlock(2)). Cost: one system call.

        >>> import emmap
        >>> with emmap.anonymous(100) as m:
        ...     m.pin()
        ...     m.unpin(50)
        """
        self.set_pinned(offset, length, False)

    cdef int set_pinned(self, object offset, object length, bint pinned) except -1:
        cdef size_t start = 0, stop = 0
        cdef bint readable
        cdef int rc
        if not self.span_of(offset, length, &start, &stop):
            return 0
        readable = self.readable > 0
        self.hold()
        try:
            with nogil:  # SAFETY: held, so the pages stay mapped; and all of them may be read.
                rc = emmap_pages_pin(&self.pages, start, stop, pinned)
                if rc < 0 and pinned and readable:  # The kernel does not say whether a page is lost.
                    emmap_pages_populate(&self.pages, start, stop, False)
            if rc < 0:
                self.raise_if_lost(0, self.length)
        finally:
            self.let_go()
        check(rc, "pin the pages (ulimit -l tells how much may be pinned)" if pinned else "unpin",
              self.file_name())
        return 0

    def evict(self, offset=0, length=None):
        """Drops a range from memory. The bytes stay: shared changes are written to the file first,
        and private ones are kept (or swapped out). What other processes have mapped stays
        resident.

        Cost: the dirty pages, without the GIL.

        >>> import emmap
        >>> with emmap.open(emmap.__file__) as m:
        ...     m.evict()
        """
        cdef size_t start = 0, stop = 0
        cdef int rc, fd = -1
        if not self.span_of(offset, length, &start, &stop):
            return
        if self.lost:
            self.raise_if_lost(0, self.length)
        descriptor = None
        self.hold()  # before a file is opened, which lets other threads run
        try:
            if self._backing is not None:
                descriptor = self._backing.try_descriptor()
            fd = descriptor.fd if descriptor is not None else -1
            with nogil:  # SAFETY: held, so the pages stay mapped.
                rc = emmap_pages_evict(&self.pages, start, stop, fd, self.file_offset - self.head)
        finally:
            self.let_go()
            if descriptor is not None:
                descriptor.close()
        check(rc, "evict", self.file_name())
