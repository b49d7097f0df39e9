# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""A mapping as a file: a position that reading and writing move. Second of a MemoryMap's five
layers."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memchr, memcmp

import sys

from emmap.mapping.memory cimport LARGE, MappedMemory, emmap_lost_any


cdef extern from "sys/mman.h":
    int PROT_READ, PROT_WRITE

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t n, const void *needle, size_t needle_length)
    void *memrchr(const void *haystack, int byte, size_t n)

# `seek` tells the new position from CPython 3.13 on, where the standard mmap began to.
cdef bint SEEK_TELLS = sys.version_info >= (3, 13)


cdef class MappedCursor(MappedMemory):
    """Mapped memory with a position, as `io.RawIOBase` has one."""

    cdef Py_ssize_t rest(self) noexcept:
        return max(self.length - self.position, 0)

    def tell(self):
        """The current position, in bytes from the start.

        >>> import emmap
        >>> with emmap.anonymous(4) as m:
        ...     m.read(3), m.tell()
        (b'\\x00\\x00\\x00', 3)
        """
        self.ensure_open()
        return self.position

    def seekable(self):
        """True: a mapping has a position that can be set.

        >>> import emmap
        >>> emmap.anonymous(1).seekable()
        True
        """
        return True

    def seek(self, pos, whence=0, /):
        """Sets the position to `pos` bytes from the start (`os.SEEK_SET`), from the current
        position (`os.SEEK_CUR`) or from the end (`os.SEEK_END`).

        Raises `ValueError` where that lies outside. The new position is returned from CPython 3.13
        on, as by the standard mmap.

        >>> import emmap, os
        >>> with emmap.anonymous(4) as m:
        ...     _ = m.seek(-1, os.SEEK_END)
        ...     m.tell()
        3
        """
        cdef Py_ssize_t distance = pos, origin = whence, start
        self.look()
        if origin == 0:
            start = 0
        elif origin == 1:
            start = self.position
        elif origin == 2:
            start = self.length
        else:
            raise ValueError(f"unknown seek type: whence is 0, 1 or 2, not {whence}")
        if not -start <= distance <= self.length - start:
            raise ValueError(f"seek out of range: {pos} bytes from {start} in a mapping of "
                             f"{self.length} bytes")
        self.position = start + distance
        return self.position if SEEK_TELLS else None

    def read(self, n=None, /):
        """Up to `n` bytes from the position on (all that follow for None or a negative number), and
        moves behind them. Raises `PageLostError`. Cost: one copy, without the GIL from 32 KiB on.

        >>> import emmap
        >>> with emmap.anonymous(4) as m:
        ...     m.read(2), m.read(), m.read(1)
        (b'\\x00\\x00', b'\\x00\\x00', b'')
        """
        cdef Py_ssize_t wanted = -1 if n is None else n
        cdef bytes result
        self.look()
        if not 0 <= wanted <= self.rest():
            wanted = self.rest()
        result = self.copy_out(self.position, wanted)
        self.position += wanted
        return result

    def read_byte(self):
        """The byte at the position as an int, and moves behind it. Raises `ValueError` at the end.

        >>> import emmap
        >>> with emmap.anonymous(1) as m:
        ...     m.read_byte()
        0
        """
        cdef unsigned char byte
        self.look()
        if self.position >= self.length:
            raise ValueError(f"read byte out of range: the position is at the end, {self.position}")
        if self.readable == 0:
            self.require(self.position, self.position + 1, PROT_READ)
        byte = (<volatile unsigned char *>self.data)[self.position]  # SAFETY: inside; the GIL.
        if emmap_lost_any(&self.pages.guard.lost):
            self.raise_if_lost(self.position, self.position + 1)
        self.position += 1
        return byte

    def readline(self):
        """The bytes up to and with the next newline (or to the end), and moves behind them.

        >>> import emmap
        >>> with emmap.anonymous(7) as m:
        ...     m[:] = b"one\\ntwo"
        ...     m.readline(), m.readline(), m.readline()
        (b'one\\n', b'two', b'')
        """
        cdef Py_ssize_t start = self.position, n
        cdef const unsigned char *place = self.data + start
        cdef const unsigned char *newline
        cdef bytes line
        self.look()
        n = self.rest()
        self.require(start, start + n, PROT_READ)
        if n == 0:
            return b""
        # Lines are short: most end within what is searched with the GIL.
        newline = <const unsigned char *>memchr(place, 10, min(n, LARGE))  # SAFETY: inside; the GIL.
        if newline == NULL and n > LARGE:
            self.hold()
            with nogil:  # SAFETY: inside and held.
                newline = <const unsigned char *>memchr(place + LARGE, 10, n - LARGE)
            self.let_go()
            self.ensure_open()  # and no shorter, for it was held until now
        line = self.copy_out(start, newline + 1 - place if newline != NULL else n)
        self.position = start + len(line)
        return line

    def write(self, data, /):
        """Writes a bytes-like object at the position and moves behind it. Returns its length.

        Raises `ValueError` when it does not fit (a mapping has a fixed length; see `resize`),
        `ProtectionError` when the mapping or the range may not be written; nothing is written then.

        >>> import emmap
        >>> with emmap.anonymous(4) as m:
        ...     m.write(b"abc"), m[:]
        (3, b'abc\\x00')
        """
        cdef Py_buffer source
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            self.require_writable()
            self.look()
            if self.position > self.length or source.len > self.rest():
                raise ValueError(f"data out of range: {source.len} bytes at position "
                                 f"{self.position} of {self.length}")
            self.copy_in(self.position, <const unsigned char *>source.buf, source.len)
            self.position += source.len
            return source.len
        finally:
            PyBuffer_Release(&source)

    def write_byte(self, byte, /):
        """Writes one int from 0 to 255 at the position and moves behind it. Raises as `write` does.

        >>> import emmap
        >>> with emmap.anonymous(1) as m:
        ...     m.write_byte(65)
        ...     m[:]
        b'A'
        """
        cdef Py_ssize_t number = byte
        cdef unsigned char value = <unsigned char>number
        if number != value:
            raise OverflowError(f"a byte is an int from 0 to 255, not {number}")
        self.require_writable()
        self.look()
        if self.position >= self.length:
            raise ValueError(f"write byte out of range: the position is at the end, {self.position}")
        self.copy_in(self.position, &value, 1)
        self.position += 1

    def move(self, dest, src, count, /):
        """Copies `count` bytes from offset `src` to offset `dest`; the two ranges may overlap.

        Raises `ValueError` when a range leaves the mapping, `ProtectionError` when `dest` may not
        be written, `PageLostError`; nothing is changed in the first two cases.

        >>> import emmap
        >>> with emmap.anonymous(6) as m:
        ...     m[:] = b"abc..."
        ...     m.move(2, 0, 3)
        ...     m[:]
        b'ababc.'
        """
        cdef Py_ssize_t to = dest, start = src, n = count, at
        cdef unsigned char touched
        cdef unsigned char *data
        cdef size_t page, repairs = self.repairs
        self.require_writable()
        self.look()
        if min(to, start, n) < 0 or self.length - to < n or self.length - start < n:
            raise ValueError(f"source, destination, or count out of range: {n} bytes from {start} to "
                             f"{to} in a mapping of {self.length}")
        self.require(start, start + n, PROT_READ)
        if n == 0:
            return
        self.prepare_write(to, to + n)
        data, page = self.data, self.pages.page
        self.hold()
        try:
            with nogil:  # SAFETY: both ranges inside, and held (`self.data` is not: close clears it).
                # A lost page of the source shall be found before its zeros are copied.
                at = start
                while at < start + n:
                    touched = (<volatile unsigned char *>data)[at]
                    at += page
                touched = (<volatile unsigned char *>data)[start + n - 1]
            self.raise_if_lost(start, start + n)
            self.ensure_open()
            self.copy_in(to, data + start, n)
            self.raise_if_lost_since(repairs, start, start + n)
        finally:
            self.let_go()

    # Search

    cdef Py_ssize_t search(self, object sub, object start, object end, bint backwards) except -2:
        cdef Py_buffer needle
        cdef Py_ssize_t low, high, found = -1
        cdef size_t repairs
        PyObject_GetBuffer(sub, &needle, PyBUF_SIMPLE)
        try:
            self.look()
            low = min(self.position, self.length) if start is ... else self.clamp(start)
            high = self.length if end is ... else self.clamp(end)
            self.require(low, high, PROT_READ)
            if low > high or high - low < needle.len:
                return -1
            if needle.len == 0:
                return high if backwards else low
            repairs = self.repairs
            self.hold()
            try:
                found = self.search_in(low, high, &needle, backwards)
                if found < 0:
                    self.raise_if_lost_since(repairs, low, high)
                    return -1
                self.raise_if_lost_since(repairs, low + found,
                                         high if backwards else low + found + needle.len)
                return low + found
            finally:
                self.let_go()
        finally:
            PyBuffer_Release(&needle)

    cdef Py_ssize_t clamp(self, object offset) except -1:
        """An offset as slices take it: negative ones count from the end, far ones mean the end."""
        cdef Py_ssize_t at = offset
        if at < 0:
            at = max(at + self.length, 0)
        return min(at, self.length)

    cdef Py_ssize_t search_in(self, Py_ssize_t low, Py_ssize_t high, Py_buffer *needle,
                              bint backwards) noexcept:
        cdef unsigned char *place = self.data + low
        cdef unsigned char *sub = <unsigned char *>needle.buf
        cdef Py_ssize_t found, n = high - low
        # SAFETY: inside, and the caller holds both the mapping and `needle`.
        if n < LARGE:
            found = find_in(place, n, sub, needle.len, backwards)
        else:
            with nogil:
                found = find_in(place, n, sub, needle.len, backwards)
        return found

    def rfind(self, sub, start=..., end=..., /):
        """The last offset at which `sub` lies whole between `start` and `end`, or -1.

        `start` defaults to the current position, `end` to the end; negative ones count from the
        end. Raises `PageLostError` when a page that the answer depends on is lost. Cost: the bytes
        passed.

        >>> import emmap
        >>> with emmap.anonymous(8) as m:
        ...     m[:] = b"one, one"
        ...     m.find(b"one", 1), m.rfind(b"one"), m.rfind(b"two")
        (5, 5, -1)
        """
        return self.search(sub, start, end, True)

    def find(self, sub, start=..., end=..., /):
        """The first offset at which `sub` lies whole between `start` and `end`, or -1.

        `start` defaults to the current position, `end` to the end; negative ones count from the
        end. Raises `PageLostError` when a page that the answer depends on is lost. Cost: the bytes
        passed, without the GIL.

        >>> import emmap
        >>> with emmap.anonymous(8) as m:
        ...     m[:] = b"one, two"
        ...     m.find(b"two"), m.find(b"two", 0, 7)
        (5, -1)
        """
        return self.search(sub, start, end, False)


cdef Py_ssize_t find_in(const unsigned char *bytes, Py_ssize_t n, const unsigned char *needle,
                        Py_ssize_t length, bint backwards) noexcept nogil:
    """Where `needle` lies in `bytes`, which are at least as many, or -1."""
    cdef const unsigned char *at
    cdef Py_ssize_t candidates = n - length + 1
    if not backwards:
        at = <const unsigned char *>memmem(bytes, n, needle, length)
        return at - bytes if at != NULL else -1
    while candidates > 0:
        at = <const unsigned char *>memrchr(bytes, needle[0], candidates)
        if at == NULL:
            return -1
        if memcmp(at, needle, length) == 0:
            return at - bytes
        candidates = at - bytes
    return -1
