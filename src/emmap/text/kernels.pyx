# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Scans of anything that has bytes: counting, searching, finding lines, translating.

A target is any object with the buffer protocol, and a scan is of its bytes [start, stop); `stop`
None is the end. Scans of 32 KiB and more release the GIL. When a page of a mapping is lost they
raise `PageLostError`: its zeros are never taken for data. The mapping is found if it is the target
itself, or if the target is a memoryview or a NumPy array of one.

These are the kernels of the public functions, which add files, windows and workers.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t

from array import array

from emmap.errors import ClosedError, ProtectionError
from emmap.mapping.memory cimport LARGE, MappedMemory


cdef extern from "sys/mman.h":
    int PROT_READ, PROT_WRITE

cdef extern from "string.h" nogil:
    void *memrchr(const void *haystack, int byte, size_t n)

# What `count` counts, to be combined by |.
LINES = EMMAP_LINES
WORDS = EMMAP_WORDS
CHARACTERS = EMMAP_CHARACTERS
LONGEST = EMMAP_LONGEST

cdef enum:
    TO_THE_END = -(1 << 31)  # no range ends there

# The kernels in use: at first the best that this machine has.
cdef const emmap_kernels *kernels = emmap_kernels_find(0)


def instruction_sets():
    """The names of the instruction sets that this machine has kernels for, best first.

    >>> instruction_sets()[-1]
    'portable'
    """
    cdef unsigned i = 0
    names = []
    while emmap_kernels_find(i) != NULL:
        names.append(emmap_kernels_find(i).name.decode())
        i += 1
    return tuple(names)


def use_instruction_set(name, /):
    """Uses the kernels of this instruction set in the whole process, and returns the one before.

    It is for tests and measurements: the best is in use from the beginning. Raises `ValueError` for
    one that this machine has not.

    >>> before = use_instruction_set("portable")
    >>> use_instruction_set(before)
    'portable'
    """
    global kernels
    names = instruction_sets()
    if name not in names:
        raise ValueError(f"this machine has no instruction set {name!r}, but {', '.join(names)}")
    before = kernels.name.decode()
    kernels = emmap_kernels_find(names.index(name))
    return before


cdef MappedMemory mapping_behind(object target):
    """The mapping that the bytes of a view or an array come from, or None."""
    for _ in range(1000):
        if target is None or isinstance(target, MappedMemory):
            return target
        target = target.obj if isinstance(target, memoryview) else getattr(target, "base", None)
    raise ValueError("the target is a view of a view of a view ...: it cannot be told of what")


cdef class Scan:
    """A scan under way: it keeps the bytes in place, and asks afterwards whether all were real."""

    cdef int begin(self, object target, object start, object stop, bint writes) except -1:
        # Numbers first: what they call may change the target.
        cdef Py_ssize_t first = start
        cdef Py_ssize_t end = TO_THE_END if stop is None else stop
        self.writes = writes
        if isinstance(target, MappedMemory):
            return self.take_mapping(target, first, end)
        return self.take_buffer(target, first, end)

    cdef int take_mapping(self, MappedMemory memory, Py_ssize_t start, Py_ssize_t stop) except -1:
        memory.look()
        self.set_range(memory.length, start, stop)
        if self.writes:
            memory.prepare_write(self.start, self.start + self.length)
        else:
            memory.require(self.start, self.start + self.length, PROT_READ)
        memory.hold()
        memory.writers += self.writes  # nobody takes the right to write away meanwhile
        self.memory = memory
        self.repairs = memory.repairs
        self.place = self.start
        self.data = memory.data + self.start  # SAFETY: inside, by set_range.
        return 0

    cdef int take_buffer(self, object target, Py_ssize_t start, Py_ssize_t stop) except -1:
        cdef MappedMemory memory
        cdef size_t first, base
        PyObject_GetBuffer(target, &self.buffer, PyBUF_WRITABLE if self.writes else PyBUF_SIMPLE)
        self.exported = True
        self.set_range(self.buffer.len, start, stop)
        self.data = <uint8_t *>self.buffer.buf + self.start  # SAFETY: inside, by set_range.
        memory = mapping_behind(target)
        if memory is None:
            return 0
        # NumPy's `ndarray(buffer=m)` keeps a pointer that nobody counts.
        if memory.pages.span == 0 and self.length:
            raise ClosedError("the mapping behind the target was closed, and its bytes have gone")
        # SAFETY: addresses are compared, none is followed. The buffer keeps the pages mapped.
        first = <size_t>self.data
        base = <size_t>memory.pages.base
        if base <= first and first + self.length <= base + memory.pages.span:
            self.memory = memory
            self.repairs = memory.repairs
            self.place = <Py_ssize_t>(first - base) - memory.head
            if memory.data != NULL:
                memory.require(self.place, self.place + self.length,
                               PROT_WRITE if self.writes else PROT_READ)
            memory.raise_if_lost(self.place, self.place + self.length)
        return 0

    cdef int set_range(self, Py_ssize_t size, Py_ssize_t first, Py_ssize_t stop) except -1:
        cdef Py_ssize_t end = size if stop == TO_THE_END else stop
        if not 0 <= first <= end <= size:
            raise ValueError(f"the range [{first}, {end}) leaves the target of {size} bytes")
        self.start = first
        self.length = end - first
        self.behind = size - end
        return 0

    cdef Py_ssize_t look_ahead(self) except -1:
        """How many bytes behind the range may be looked at."""
        cdef Py_ssize_t ahead = min(self.behind, EMMAP_LOOK_AHEAD), stop = self.start + self.length
        if ahead and not self.exported:
            try:
                self.memory.require(stop, stop + ahead, PROT_READ)
            except ProtectionError:
                return 0
        return ahead

    cdef int ensure_real(self, Py_ssize_t touched) except -1:
        """Raises if one of the first `touched` bytes was lost."""
        if self.memory is not None and touched > 0:
            self.memory.raise_if_lost_since(self.repairs, self.place, self.place + touched)
        return 0

    cdef void end(self) noexcept:
        if self.exported:
            self.exported = False
            PyBuffer_Release(&self.buffer)
        elif self.memory is not None:
            self.memory.writers -= self.writes
            self.memory.let_go()
        self.memory = None


cdef class Watch:
    """Looks on, in a `with` block, while others read the bytes of a target. At its end it raises
    `PageLostError` if one of them was lost, also if it has been repaired by then.

    >>> with Watch(b"real bytes"):
    ...     pass
    """

    def __cinit__(self, target, /):
        self.scan = Scan()
        self.scan.begin(target, 0, None, False)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if error is None:
                self.scan.ensure_real(self.scan.length)
        finally:
            self.scan.end()


# Counting

cdef class Tally:
    """What was counted in a range: `bytes`, and those of `lines`, `words`, `characters` and
    `longest` that were wanted.

    `a + b` are the counts of a range and the one right behind it, as if they had been counted as
    one, wherever they were cut. `Tally(wanted)` is empty. It pickles in some 100 bytes.

    >>> one, two = count(b"two wo", WORDS), count(b"rds\\n", WORDS)
    >>> one.words, two.words, (one + two).words
    (2, 1, 2)
    """

    def __init__(self, wanted, /):
        if not 0 <= wanted <= 15:
            raise ValueError(f"wanted is made of LINES, WORDS, CHARACTERS and LONGEST, "
                             f"not {wanted}")
        self.wanted = wanted

    cdef int require(self, unsigned int which, str name) except -1:
        if not self.wanted & which:
            raise AttributeError(f"{name} were not counted: ask `count` for {name.upper()}")
        return 0

    @property
    def bytes(self):
        """The length of the range."""
        return self.counts.bytes

    @property
    def lines(self):
        """The newlines, as `wc -l` counts."""
        self.require(EMMAP_LINES, "lines")
        return self.counts.lines

    @property
    def words(self):
        """The words, as `wc -w` counts in the C locale: a word begins with a byte from 0x21 to 0x7e
        and goes on to the next white space; all other bytes neither begin nor end one."""
        self.require(EMMAP_WORDS, "words")
        return self.counts.words

    @property
    def characters(self):
        """The characters of UTF-8, as `wc -m` counts in C.UTF-8: bytes that begin none are passed
        over. The C library takes encodings of up to six bytes."""
        self.require(EMMAP_CHARACTERS, "characters")
        return self.counts.characters

    @property
    def longest(self):
        """The columns of the longest line, as `wc -L` counts in the C locale: a tab goes to the
        next multiple of 8, and what is not printable takes none. A range that is part of a text
        is taken for all of it."""
        self.require(EMMAP_LONGEST, "longest")
        return emmap_counts_longest(&self.counts)

    def __add__(self, other):
        cdef Tally result, right
        if not isinstance(other, Tally):
            return NotImplemented
        right = other
        if self.wanted != right.wanted:
            raise ValueError("these tallies cannot be joined: they are of different counts")
        result = Tally(self.wanted)
        result.counts = self.counts
        emmap_counts_join(&result.counts, &right.counts)
        return result

    def __eq__(self, other):
        if not isinstance(other, Tally):
            return NotImplemented
        return self.wanted == (<Tally>other).wanted and self.__getstate__() == other.__getstate__()

    def __reduce__(self):
        return Tally, (self.wanted,), self.__getstate__()

    def __getstate__(self):
        cdef emmap_counts *c = &self.counts
        return (c.bytes, c.lines, c.words, c.characters, c.before, c.after, c.inner, c.open, c.tab,
                c.ended, c.first, c.last)

    def __setstate__(self, state):
        cdef emmap_counts *c = &self.counts
        (c.bytes, c.lines, c.words, c.characters, c.before, c.after, c.inner, c.open, c.tab,
         c.ended, c.first, c.last) = state

    def __repr__(self):
        parts = [f"bytes={self.counts.bytes}"]
        for which, name in ((EMMAP_LINES, "lines"), (EMMAP_WORDS, "words"),
                            (EMMAP_CHARACTERS, "characters"), (EMMAP_LONGEST, "longest")):
            if self.wanted & which:
                parts.append(f"{name}={getattr(self, name)}")
        return f"<Tally {' '.join(parts)}>"


def count(target, wanted=EMMAP_LINES | EMMAP_WORDS, start=0, stop=None):
    """Counts what is `wanted` in a range: LINES, WORDS, CHARACTERS, LONGEST, combined by |.

    A character counts where it begins; up to 5 bytes behind the range are looked at to see where it
    ends. Raises `ValueError` for a range that is not inside, `PageLostError`. Cost: what is not
    wanted costs nothing. Lines and words are about as fast as memory where there are vectors;
    characters that are not ASCII and the longest line take about twice as long.

    >>> count(b"a line\\nand another", LINES | WORDS | LONGEST)
    <Tally bytes=18 lines=1 words=4 longest=11>
    """
    cdef Tally tally = Tally(wanted)
    cdef Scan scan = Scan()
    cdef size_t ahead = 0
    try:
        scan.begin(target, start, stop, False)
        if tally.wanted & EMMAP_CHARACTERS:
            ahead = scan.look_ahead()
        # SAFETY: inside; the scan keeps the bytes in place. Writers may change them meanwhile.
        if scan.length < LARGE:
            kernels.count(scan.data, scan.length, ahead, tally.wanted, &tally.counts)
        else:
            with nogil:
                kernels.count(scan.data, scan.length, ahead, tally.wanted, &tally.counts)
        scan.ensure_real(scan.length + ahead)
    finally:
        scan.end()
    return tally


# Searching

cdef size_t count_from(const emmap_needle *needle, const uint8_t *data, size_t n) noexcept nogil:
    """Occurrences that do not overlap."""
    cdef size_t found, at = 0, occurrences = 0
    while True:
        found = kernels.find(needle, data + at, n - at)  # SAFETY: at <= n
        if found == EMMAP_NOWHERE:
            return occurrences
        occurrences += 1
        at += found + needle.length


cdef class Needle:
    """Bytes to search for, prepared once. With `ignore_case`, ASCII letters match in either case.

    Raises `ValueError` when there are none. Searches are linear whatever the bytes are.

    >>> needle = Needle(b"mmap", ignore_case=True)
    >>> needle.find(b"emmap, MMAP"), needle.count(b"emmap, MMAP")
    (1, 2)
    """

    def __cinit__(self, pattern, /, *, ignore_case=False):
        # The needle points into these bytes, so they are a copy of our own.
        cdef bytes searched = bytes(memoryview(pattern))
        if not searched:
            raise ValueError("there is nothing to search for: the pattern is empty")
        self.pattern = searched.lower() if ignore_case else searched
        self.ignore_case = ignore_case
        emmap_needle_prepare(&self.needle, self.pattern, len(searched), self.ignore_case)

    def __reduce__(self):
        from functools import partial

        return partial(Needle, ignore_case=self.ignore_case), (self.pattern,)

    def find(self, target, start=0, stop=None):
        """The first offset in the target at which the pattern lies whole in the range, or -1.

        Raises `ValueError` for a range that is not inside, and `PageLostError` when a page that the
        answer depends on is lost. Cost: the bytes passed, at the speed of memory where the pattern
        has bytes that are rare in the target.

        >>> Needle(b"o").find(b"one, two", 1)
        7
        """
        cdef Scan scan = Scan()
        cdef size_t found
        try:
            scan.begin(target, start, stop, False)
            # SAFETY: inside; the scan keeps the bytes in place. Writers may change them meanwhile.
            if scan.length < LARGE:
                found = kernels.find(&self.needle, scan.data, scan.length)
            else:
                with nogil:
                    found = kernels.find(&self.needle, scan.data, scan.length)
            if found == EMMAP_NOWHERE:
                scan.ensure_real(scan.length)
                return -1
            scan.ensure_real(found + self.needle.length)
            return scan.start + <Py_ssize_t>found
        finally:
            scan.end()

    def count(self, target, start=0, stop=None):
        """How often the pattern occurs in the range, without overlaps. Raises and costs as `find`.

        >>> Needle(b"aa").count(b"aaaaa")
        2
        """
        cdef Scan scan = Scan()
        cdef size_t occurrences
        try:
            scan.begin(target, start, stop, False)
            # SAFETY: inside; the scan keeps the bytes in place. Writers may change them meanwhile.
            if scan.length < LARGE:
                occurrences = count_from(&self.needle, scan.data, scan.length)
            else:
                with nogil:
                    occurrences = count_from(&self.needle, scan.data, scan.length)
            scan.ensure_real(scan.length)
        finally:
            scan.end()
        return occurrences


# Lines

cdef enum:
    BATCH = 1024  # offsets that fit on the stack


def line_starts(target, first=1, every=1, start=0, stop=None):
    """Where every n-th line of a range begins: `(offsets, newlines)`.

    The offsets in the target just behind the newlines number `first`, `first + every`, ... of the
    range (counted from 1), as an `array` of 64-bit numbers, and how many newlines the range has. So
    the next range goes on with `first + every * len(offsets) - newlines`.

    Raises `ValueError` for a range that is not inside or numbers below 1, `PageLostError`. Cost:
    the bytes passed, at the speed of memory, and 8 bytes for each offset.

    >>> offsets, newlines = line_starts(b"1\\n2\\n3\\n4\\n", 1, 2)
    >>> list(offsets), newlines
    ([2, 6], 4)
    """
    cdef Scan scan = Scan()
    cdef uint64_t batch[BATCH]
    cdef uint64_t seen, newlines = 0, until = require_positive(first, "first")
    cdef uint64_t step = require_positive(every, "every")
    cdef size_t i, n = BATCH
    cdef const uint8_t *data
    cdef Py_ssize_t left, at = 0
    offsets = array("Q")
    try:
        scan.begin(target, start, stop, False)
        while n == BATCH:
            # SAFETY: inside, at <= length; the scan keeps the bytes in place.
            data, left = scan.data + at, scan.length - at
            if left < LARGE:
                n = kernels.newlines(data, left, until, step, batch, BATCH, &seen)
            else:
                with nogil:
                    n = kernels.newlines(data, left, until, step, batch, BATCH, &seen)
            for i in range(n):
                batch[i] += scan.start + at
            offsets.frombytes((<char *>batch)[:n * sizeof(uint64_t)])
            newlines += seen
            until = step
            if n == BATCH:
                at = batch[n - 1] - scan.start
        scan.ensure_real(scan.length)
    finally:
        scan.end()
    return offsets, newlines


cdef uint64_t require_positive(object number, str name) except 0:
    if not 1 <= number < 1 << 63:
        raise ValueError(f"{name} is a number of lines, from 1 on, not {number}")
    return number


def line_start(target, number, start=0, stop=None):
    """The offset in the target just behind newline `number` (from 1) of the range, or -1.

    Raises `ValueError` for a range that is not inside or a number below 1, `PageLostError`. Cost:
    the bytes passed, at the speed of memory.

    >>> line_start(b"one\\ntwo\\nthree", 2), line_start(b"one\\ntwo", 2)
    (8, -1)
    """
    cdef Scan scan = Scan()
    cdef uint64_t offset = 0, seen, wanted = require_positive(number, "number")
    cdef size_t n
    try:
        scan.begin(target, start, stop, False)
        # SAFETY: inside; the scan keeps the bytes in place. Writers may change them meanwhile.
        if scan.length < LARGE:
            n = kernels.newlines(scan.data, scan.length, wanted, 1, &offset, 1, &seen)
        else:
            with nogil:
                n = kernels.newlines(scan.data, scan.length, wanted, 1, &offset, 1, &seen)
        scan.ensure_real(<Py_ssize_t>offset if n else scan.length)
    finally:
        scan.end()
    return scan.start + <Py_ssize_t>offset if n else -1


def last_newline(target, start=0, stop=None):
    """The offset in the target of the last newline of the range, or -1.

    Raises `ValueError` for a range that is not inside, `PageLostError`. Cost: the bytes behind it.

    >>> last_newline(b"one\\ntwo\\nthree"), last_newline(b"one")
    (7, -1)
    """
    cdef Scan scan = Scan()
    cdef const uint8_t *found
    try:
        scan.begin(target, start, stop, False)
        # SAFETY: inside; the scan keeps the bytes in place. Writers may change them meanwhile.
        if scan.length < LARGE:
            found = <const uint8_t *>memrchr(scan.data, 10, scan.length)
        else:
            with nogil:
                found = <const uint8_t *>memrchr(scan.data, 10, scan.length)
        scan.ensure_real(scan.length)
        return scan.start + (found - scan.data) if found != NULL else -1
    finally:
        scan.end()


# Translating

def translate(target, table, start=0, stop=None):
    """Replaces each byte of the range by `table[byte]`, in place, and returns how many changed.

    The table has 256 bytes, as for `bytes.translate`. Pages of 4 KiB in which nothing changes are
    not written, so that in a mapped file they stay clean. In the others, bytes that stay as they
    are may be written too: whoever writes to the range meanwhile may find his bytes undone.

    Raises `ValueError` for a range that is not inside or another table, `ProtectionError` or
    `BufferError` when the target may not be written, and nothing is changed then; `PageLostError`.
    Cost: the bytes read and the pages written that change, at about the speed of memory.

    >>> data = bytearray(b"hello")
    >>> translate(data, bytes(range(256)).upper()), data
    (5, bytearray(b'HELLO'))
    """
    cdef Scan scan = Scan()
    cdef emmap_translation translation
    cdef bytes bytes_of_table = bytes(memoryview(table))
    cdef uint64_t changed
    if len(bytes_of_table) != 256:
        raise ValueError(f"a table has a byte for each of the 256, not {len(bytes_of_table)}")
    emmap_translation_prepare(&translation, bytes_of_table)
    try:
        scan.begin(target, start, stop, True)
        # SAFETY: inside; the scan keeps the bytes in place, and the right to write them.
        if scan.length < LARGE:
            changed = kernels.translate(&translation, scan.data, scan.length)
        else:
            with nogil:
                changed = kernels.translate(&translation, scan.data, scan.length)
        scan.ensure_real(scan.length)
    finally:
        scan.end()
    return changed
