# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The bytes of a mapping: who may touch them, and for how long they live.

This is the lowest of the five layers that make a `MemoryMap`: bytes, cursor, pages, file, map. It
holds the only copy of the SIGBUS guard in the process. Each access has the same three parts: one
comparison tells whether the bytes are there and may be touched, then they are copied, then one
load tells whether a page was lost on the way.
"""

from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE,
                             PyBuffer_Release, PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.string cimport memcpy, memmove

cimport cython

import os

from emmap.errors import ClosedError, PageLostError, ProtectionError


cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object item, object error) except? -1
    int PyIndex_Check(object item)
    int PySlice_Check(object item)
    int PySlice_Unpack(object item, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1
    Py_ssize_t PySlice_AdjustIndices(Py_ssize_t length, Py_ssize_t *start, Py_ssize_t *stop,
                                     Py_ssize_t step)
    object PyLong_FromLong(long value)

cdef extern from "access.h" nogil:
    Py_ssize_t emmap_small_index(PyObject *item, Py_ssize_t length)
    int emmap_small_slice(PyObject *item, Py_ssize_t *start, Py_ssize_t *stop)

cdef extern from "sys/mman.h":
    int PROT_READ, PROT_WRITE, PROT_EXEC, MAP_NORESERVE
    int munmap(void *start, size_t span)

# What an empty mapping points at: nothing to read, but not NULL, which means closed.
cdef unsigned char NOTHING[1]


cdef int check(int rc, str doing, object name) except -1:
    """Raises `OSError` for a negative errno of the C functions."""
    if rc < 0:
        raise OSError(-rc, f"{os.strerror(-rc)}, when trying to {doing}", name)
    return rc


@cython.no_gc_clear  # __dealloc__ needs `reservation`
cdef class MappedMemory:
    """Bytes that lie in mapped pages; the base of `MemoryMap`, which is made by `emmap.open`."""

    def _map(self, object backing, int fd, long long offset, Py_ssize_t length, int prot, int flags,
             size_t page, size_t address=0, MappedMemory reservation=None, Py_ssize_t reserve=0):
        """Maps `length` bytes from `offset` of `fd` (-1: anonymous), at `address` unless that is 0.

        Inside `reservation` the pages replace what is reserved there, and give it back in the end.
        With `reserve` the pages go on past the end, for as many bytes as there are addresses for.
        """
        cdef Py_ssize_t head = offset % <long long>page
        cdef size_t filled = (head + length + page - 1) // page * page
        cdef int rc
        if self.data != NULL:
            raise ValueError("this object is mapped already")
        self.pages.page = page
        self.pages.prot = prot
        self.pages.flags = flags
        if length or reserve:
            if reserve:
                self.pages.flags |= MAP_NORESERVE
                self.pages.span = (head + max(reserve, length) + page - 1) // page * page
                rc = emmap_pages_reserve(&self.pages, max(filled, page), fd, offset - head)
            else:
                self.pages.span = filled
                rc = emmap_pages_map(&self.pages, <void *>address, reservation is not None, fd,
                                     offset - head)
            if rc < 0:
                self.pages.span = 0
                check(rc, f"map {length} bytes", backing.name if backing is not None else None)
            # SAFETY: head < page <= span, so data lies in the first page.
            self.data = self.pages.base + head
        else:
            self.data = NOTHING
        self.length = length
        self.room = min(max(reserve, length), <Py_ssize_t>self.pages.span - head) if reserve else 0
        self.farthest = length if reserve else 0
        if reserve:
            emmap_guard_fill(self.pages.guard, filled)
        self.head = head
        self.file_offset = offset
        self.protection = prot
        self.protections = None
        self._backing = backing
        self.fixed = address != 0
        self.update_rights()
        if reservation is not None and length:
            self.reservation = reservation
            reservation.placed.append((address, address + self.pages.span))
            reservation.hold()
        self.look()

    def _reserve(self):
        """Makes the pages a range of addresses to place other mappings in."""
        self.placed = []
        if self.pages.guard != NULL:
            # Reserved pages cannot be lost, and whoever is placed here is guarded by himself.
            emmap_guard_resize(self.pages.guard, 0)

    def _offers(self, size_t address, size_t span):
        """Does this reserved range hold these addresses? `ValueError` where they are in use."""
        cdef size_t base = <size_t>self.pages.base
        if self.data == NULL or address < base or address + span > base + self.pages.span:
            return False
        if self.exports != len(self.placed):
            raise ValueError(f"the reserved range at {base:#x} is viewed by somebody: release the "
                             f"views before something is placed there")
        for start, end in self.placed:
            if address < end and start < address + span:
                raise ValueError(f"the addresses {start:#x} to {end:#x} of the reserved range hold "
                                 f"another mapping")
        return True

    # Lifetime

    def __dealloc__(self):
        # No view is left, and nobody holds a pointer any more who holds this object.
        self.was_exported = False
        self.unmap()
        if self.graves is not None:
            for start, span in self.graves:
                munmap(<void *><size_t>start, <size_t>span)

    def close(self):
        """Ends the use of the mapping. It always succeeds, and a second call does nothing.

        Views (memoryviews, arrays, ctypes structures) stay valid: the memory is unmapped when the
        last one has gone. Other calls raise `ClosedError` from now on. Changes of a shared mapping
        reach the file by themselves; `flush` first where they must survive a power loss.

        Raises `PageLostError`, after having closed, when a page was lost that no exception told of.
        Cost: one munmap.

        >>> import emmap
        >>> m = emmap.anonymous(5)
        >>> view = memoryview(m)
        >>> m.close()
        >>> bytes(view)
        b'\\x00\\x00\\x00\\x00\\x00'
        """
        if self.data == NULL:
            return
        try:
            self.raise_if_lost(0, 0)
        finally:
            self.data = NULL
            self.length = self.settled = self.room = self.readable = self.writable = 0
            if self.exports == 0:
                self.unmap()
            if self._backing is not None:
                self._backing.close()

    cdef void unmap(self) noexcept:
        """Unmaps. No view that we know of is left."""
        cdef MappedMemory reservation = self.reservation
        cdef size_t base = <size_t>self.pages.base, span = self.pages.span, seen
        if span == 0:
            return
        if reservation is not None:
            emmap_pages_return(&self.pages)
            self.reservation = None
            reservation.placed.remove((base, base + span))
            reservation.let_go()
        elif self.was_exported:
            emmap_pages_end_guard(&self.pages)
            self.pages.span = 0
            if self.farthest:  # no pointer leads further into the reserved pages
                seen = self.head + self.farthest + self.pages.page - 1
                seen -= seen % self.pages.page
                if seen < span:
                    munmap(<void *>(base + seen), span - seen)
                    span = seen
            if not self.bury(base, span, replace=True):
                munmap(<void *>base, span)
        else:
            emmap_pages_unmap(&self.pages)

    cdef bint bury(self, size_t start, size_t span, bint replace) noexcept:
        """Keeps addresses taken, by zeros, until this object dies. False where that fails.

        NumPy's `ndarray(buffer=m)` keeps a pointer without an export, which we cannot see. But it
        keeps `m` too: so such an array reads zeros when the pages have gone, and never crashes.
        """
        if emmap_bury(<void *>start, span, replace) != 0:
            return False
        if self.graves is None:
            self.graves = []
        self.graves.append((start, span))
        return True

    cdef void hold(self) noexcept:
        self.exports += 1

    cdef void let_go(self) noexcept:
        self.exports -= 1
        if self.exports == 0 and self.data == NULL:
            self.unmap()

    @property
    def closed(self):
        """Has `close` been called?"""
        return self.data == NULL

    @property
    def address(self):
        """The address of the first byte in this process, for `ctypes` and for debugging. It is
        valid as long as the mapping is open and not resized; 0 for an empty mapping.
        """
        self.ensure_open()
        return <size_t>self.data if self.length else 0

    @property
    def offset(self):
        """The place of the first byte in the file, in bytes."""
        return self.file_offset

    @property
    def _room(self):
        return self.room

    @property
    def lost(self):
        """Has a page been lost? It stays true until `repair`."""
        return self.pages.guard != NULL and emmap_lost_any(&self.pages.guard.lost) != 0

    def __enter__(self):
        self.ensure_open()
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        try:
            MappedMemory.close(self)
        except PageLostError:
            if exc_type is None:
                raise

    cdef int expect(self, int rc, str doing) except -1:
        """Raises `OSError` for a negative errno. To be given a constant text: what runs Python before
        the C function has been called could close the mapping."""
        if rc < 0:
            check(rc, doing, self._backing.name if self._backing is not None else None)
        return rc

    # Rights and losses

    cdef int update_rights(self) except -1:
        """Derives the two bounds that each access compares with."""
        # Where pages may be written they may be read, on every processor that Linux runs on.
        cdef int everywhere = self.protection
        if self.protections is not None:
            everywhere = PROT_READ | PROT_WRITE | PROT_EXEC
            for _, _, protection in self.protections:
                everywhere &= protection | (PROT_READ if protection & PROT_WRITE else 0)
        self.settled = 0 if self.room else self.length
        self.readable = self.length if everywhere & (PROT_READ | PROT_WRITE) else 0
        self.writable = self.length if everywhere & PROT_WRITE else 0
        return 0

    cdef int require(self, Py_ssize_t start, Py_ssize_t stop, int right) except -1:
        """Raises unless the mapping is open and [start, stop) may be read (or written)."""
        cdef size_t first, end
        cdef int wanted = PROT_WRITE if right == PROT_WRITE else PROT_READ | PROT_WRITE
        if self.data == NULL:
            raise ClosedError("mmap closed or invalid: this mapping has been closed")
        if right == 0 or start >= stop or (self.protections is None and self.protection & wanted):
            return 0
        for first, end, protection in self.protections or ((0, self.pages.span, self.protection),):
            if self.protections is not None:
                first *= self.pages.page
                end *= self.pages.page
            if protection & wanted == 0 and start + self.head < <Py_ssize_t>end and \
                    stop + self.head > <Py_ssize_t>first:
                at = max(start, <Py_ssize_t>first - self.head) + self.file_offset
                raise ProtectionError(
                    f"mmap can't modify a readonly memory map: the byte at file offset {at} is "
                    f"protected" if right == PROT_WRITE else
                    f"the byte at file offset {at} may not be read: its page is protected")
        return 0

    cdef int require_writable(self) except -1:
        """Raises unless the mapping is open and something of it may be written."""
        if self.writable == 0:
            self.ensure_open()
            if self.protections is None and not self.protection & PROT_WRITE:
                raise ProtectionError("mmap can't modify a readonly memory map.")
        return 0

    cdef int prepare_write(self, Py_ssize_t start, Py_ssize_t stop) except -1:
        """Raises, with nothing changed, unless [start, stop) (which is inside) may be written."""
        if self.writable == 0:
            self.require(start, stop, PROT_WRITE)
        return self.raise_if_lost(start, stop)

    cdef int raise_if_lost(self, Py_ssize_t start, Py_ssize_t stop) except -1:
        """After a touch of [start, stop): raises when one of its pages is lost, and once for any
        other loss that nobody has been told of."""
        cdef size_t base, first = 0, end
        if self.pages.guard == NULL or not emmap_lost_any(&self.pages.guard.lost):
            return 0
        # SAFETY: addresses are compared, none is followed.
        base = <size_t>self.pages.base
        if start < stop and emmap_lost_find(
                &self.pages.guard.lost, base + self.head + start, base + self.head + stop,
                &first, &end):
            emmap_lost_claim_report(&self.pages.guard.lost)
        elif emmap_lost_claim_report(&self.pages.guard.lost):
            emmap_lost_find(&self.pages.guard.lost, base, base + self.pages.span, &first, &end)
        else:
            return 0
        self._raise_lost(first)

    cdef int raise_if_lost_since(self, size_t repairs, Py_ssize_t start, Py_ssize_t stop) except -1:
        """The same after a touch without the GIL: `repair` may have taken away the marks of zeros
        that were read before."""
        self.raise_if_lost(start, stop)
        if repairs != self.repairs:
            self._raise_lost(<size_t>self.pages.base + self.head + start)
        return 0

    def _raise_lost(self, size_t address):
        name = self._backing.name if self._backing is not None else None
        at = self.file_offset - self.head + <long long>(address - <size_t>self.pages.base)
        raise PageLostError(
            f"page lost: the bytes from file offset {max(at, self.file_offset)} on cannot be had; the "
            f"file was truncated, or the disk is full or failed", name, max(at, self.file_offset))

    # Copies: small ones from warm memory are done before the GIL could be given away and had back.

    cdef bytes copy_out(self, Py_ssize_t start, Py_ssize_t n):
        """The bytes [start, start + n), which lie inside."""
        cdef bytes result
        cdef char *target
        cdef unsigned char *source
        cdef size_t repairs
        if n == 0:
            self.ensure_open()
            return b""
        if self.readable == 0:
            self.require(start, start + n, PROT_READ)
        result = PyBytes_FromStringAndSize(NULL, n)
        target = PyBytes_AS_STRING(result)
        source = self.data + start
        if n < LARGE:
            memcpy(target, source, n)  # SAFETY: inside, and the GIL keeps close and resize away.
            if emmap_lost_any(&self.pages.guard.lost):
                self.raise_if_lost(start, start + n)
            return result
        repairs = self.repairs
        self.hold()
        try:
            with nogil:  # SAFETY: inside, and the hold keeps the pages mapped and in place.
                memcpy(target, source, n)
            self.raise_if_lost_since(repairs, start, start + n)
        finally:
            self.let_go()
        return result

    cdef int copy_in(self, Py_ssize_t start, const unsigned char *source, Py_ssize_t n) except -1:
        """Writes `n` bytes to [start, start + n), which lies inside. `source` may overlap it."""
        cdef unsigned char *target = self.data + start
        cdef size_t repairs = self.repairs
        if n == 0:
            return 0
        self.prepare_write(start, start + n)
        if n < LARGE:
            memmove(target, source, n)  # SAFETY: inside, and the GIL keeps others away.
            return self.raise_if_lost(start, start + n)
        self.hold()
        self.writers += 1  # nobody takes the right to write away meanwhile
        try:
            with nogil:  # SAFETY: inside, held, and the caller holds `source`.
                memmove(target, source, n)
            return self.raise_if_lost_since(repairs, start, start + n)
        finally:
            self.writers -= 1
            self.let_go()

    cdef int follow(self) except -1:
        """Sees how long the file has become, where there is room to grow. MappedFile knows."""
        return 0

    def __len__(self):
        self.look()
        return self.length

    cdef Py_ssize_t index_of(self, object item) except -1:
        cdef Py_ssize_t i = PyNumber_AsSsize_t(item, IndexError)
        self.look()
        if i < 0:
            i += self.length
        if not 0 <= i < self.length:
            raise IndexError(f"mmap index out of range: {item} in a mapping of {self.length} bytes")
        return i

    def __getitem__(self, item):
        cdef Py_ssize_t start, stop, step, i = emmap_small_index(<PyObject *>item, self.settled)
        cdef unsigned char byte
        if 0 <= i < self.readable:
            # SAFETY: inside; the GIL keeps close and resize away; the guard answers a lost page.
            byte = (<volatile unsigned char *>self.data)[i]
            if emmap_lost_any(&self.pages.guard.lost):
                self.raise_if_lost(i, i + 1)
            return PyLong_FromLong(byte)
        if emmap_small_slice(<PyObject *>item, &start, &stop):
            if stop > self.length:
                self.look()
                stop = self.length if stop > self.length else stop
            return self.copy_out(start, max(stop - start, 0))
        if PyIndex_Check(item):
            i = self.index_of(item)
            return self.copy_out(i, 1)[0]
        if not PySlice_Check(item):
            raise TypeError(f"mmap indices must be integers or slices, not {type(item).__name__}")
        PySlice_Unpack(item, &start, &stop, &step)
        self.look()
        i = PySlice_AdjustIndices(self.length, &start, &stop, step)
        return self.copy_out(start, i) if step == 1 else self.pick(start, i, step)

    cdef bytes pick(self, Py_ssize_t start, Py_ssize_t n, Py_ssize_t step):
        """Every `step`-th byte, `n` of them, from `start` on; all lie inside."""
        cdef Py_ssize_t low = start if step > 0 else start + (n - 1) * step
        cdef Py_ssize_t high = start + (n - 1) * step if step > 0 else start
        cdef bytes result = PyBytes_FromStringAndSize(NULL, n)
        cdef unsigned char *target = <unsigned char *>PyBytes_AS_STRING(result)
        cdef Py_ssize_t k
        if n:
            self.require(low, high + 1, PROT_READ)
            for k in range(n):  # SAFETY: between low and high, and the GIL keeps others away.
                target[k] = self.data[start + k * step]
            self.raise_if_lost(low, high + 1)
        return result

    def __setitem__(self, item, value):
        cdef Py_ssize_t i = emmap_small_index(<PyObject *>item, self.settled)
        cdef Py_ssize_t byte = emmap_small_index(<PyObject *>value, 0)
        if 0 <= i < self.writable and 0 <= byte < 256 and \
                not emmap_lost_any(&self.pages.guard.lost):
            # SAFETY: inside; the GIL keeps close and resize away; the guard answers a lost page.
            (<volatile unsigned char *>self.data)[i] = <unsigned char>byte
            if emmap_lost_any(&self.pages.guard.lost):
                self.raise_if_lost(i, i + 1)
            return
        self.require_writable()
        if PyIndex_Check(item):
            self.set_byte(item, value)
        elif PySlice_Check(item):
            self.set_slice(item, value)
        else:
            raise TypeError(f"mmap indices must be integers or slices, not {type(item).__name__}")

    cdef int set_byte(self, object item, object value) except -1:
        cdef Py_ssize_t number, i = self.index_of(item)
        cdef unsigned char byte
        if not PyIndex_Check(value):
            raise TypeError(f"mmap item value must be an int, not {type(value).__name__}")
        number = PyNumber_AsSsize_t(value, TypeError)
        if not 0 <= number < 256:
            raise ValueError(f"mmap item value must be in range(0, 256), not {number}")
        byte = <unsigned char>number
        # The value's __index__ may have closed or resized the mapping.
        return self.copy_in(self.index_of(i), &byte, 1)

    cdef int set_slice(self, object item, object value) except -1:
        cdef Py_ssize_t start, stop, step, n
        cdef Py_buffer source
        PyObject_GetBuffer(value, &source, PyBUF_SIMPLE)
        try:
            if emmap_small_slice(<PyObject *>item, &start, &stop):
                step = 1
            else:
                PySlice_Unpack(item, &start, &stop, &step)
            self.look()
            n = PySlice_AdjustIndices(self.length, &start, &stop, step)
            if n != source.len:
                raise IndexError(f"mmap slice assignment is wrong size: {source.len} bytes into {n}")
            if step == 1:
                self.copy_in(start, <unsigned char *>source.buf, n)
            else:
                self.spread(start, <unsigned char *>source.buf, n, step)
        finally:
            PyBuffer_Release(&source)
        return 0

    cdef int spread(self, Py_ssize_t start, const unsigned char *source, Py_ssize_t n,
                    Py_ssize_t step) except -1:
        """Writes `n` bytes to every `step`-th place from `start` on; all lie inside."""
        cdef Py_ssize_t low = start if step > 0 else start + (n - 1) * step
        cdef Py_ssize_t high = start + (n - 1) * step if step > 0 else start
        cdef Py_ssize_t k
        if n:
            self.prepare_write(low, high + 1)
            for k in range(n):  # SAFETY: between low and high, and the GIL keeps others away.
                self.data[start + k * step] = source[k]
            self.raise_if_lost(low, high + 1)
        return 0

    def __delitem__(self, item):
        self.ensure_open()
        raise TypeError("mmap object doesn't support item deletion: a mapping has a fixed length")

    # Views

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef bint readonly
        self.look()
        self.require(0, self.length, PROT_READ)
        if self.lost:
            self.raise_if_lost(0, self.length)
        readonly = self.writable == 0 if self.length else not self.protection & PROT_WRITE
        if flags & PyBUF_WRITABLE and readonly:
            raise BufferError("Object is not writable: the mapping is open for reading, or a range of "
                              "it is protected")
        buffer.buf = self.data
        buffer.obj = self
        buffer.len = self.length
        buffer.itemsize = 1
        buffer.readonly = readonly
        buffer.ndim = 1
        buffer.format = NULL
        if flags & PyBUF_FORMAT:
            buffer.format = b"B"
        buffer.shape = &buffer.len if flags & PyBUF_ND == PyBUF_ND else NULL
        buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL
        self.was_exported = True
        self.writers += not readonly
        self.hold()

    def __releasebuffer__(self, Py_buffer *buffer):
        self.writers -= not buffer.readonly
        self.let_go()

    cdef int range_of(self, object offset, object length, Py_ssize_t *start,
                      Py_ssize_t *stop) except -1:
        """The bounds of (offset, length) as a caller gives them: `length` None is to the end."""
        cdef Py_ssize_t first = offset, n
        self.look()
        n = self.length - first if length is None else length
        if first < 0 or n < 0 or first > self.length or n > self.length - first:
            raise ValueError(f"the range (offset {offset}, length {length}) leaves the mapping of "
                             f"{self.length} bytes")
        start[0] = first
        stop[0] = first + n
        return 0
