# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Arena`: an allocator in a mapping. The C core beside it knows the bytes; this knows the mapping."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memset

cimport cython

import os
from collections import namedtuple

from emmap.errors import CorruptFileError, ProtectionError
from emmap.mapping.memory cimport LARGE, MappedMemory, emmap_lost_any


cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object item, object error) except? -1
    object PyMemoryView_FromObject(object buffer)

cdef extern from "access.h" nogil:
    Py_ssize_t emmap_small_index(PyObject *item, Py_ssize_t length)

cdef extern from "errno.h":
    int EFBIG, EINVAL, ENODATA, ENOEXEC, ENOMEM, ENOSPC, ENXIO, EOPNOTSUPP, EOWNERDEAD

cdef extern from "sys/mman.h":
    int PROT_READ, PROT_WRITE

cdef extern from "arena.h" nogil:
    size_t EMMAP_ARENA_FEWEST
    struct emmap_arena:
        unsigned char *base
        size_t length
        uint64_t at
    struct emmap_arena_statistics:
        uint64_t size, blocks, used, free, largest
    int emmap_arena_open(emmap_arena *arena)
    int emmap_arena_format(emmap_arena *arena, uint64_t key)
    int emmap_arena_extend(emmap_arena *arena, uint64_t n, uint64_t *needed)
    int emmap_arena_allocate(emmap_arena *arena, uint64_t n, uint64_t *offset, uint64_t *dirty)
    int emmap_arena_free(emmap_arena *arena, uint64_t offset)
    int emmap_arena_length_of(emmap_arena *arena, uint64_t offset, uint64_t *n)
    int emmap_arena_root(emmap_arena *arena, uint64_t *offset)
    int emmap_arena_set_root(emmap_arena *arena, uint64_t offset)
    int emmap_arena_statistics_of "emmap_arena_statistics"(emmap_arena *arena,
                                                           emmap_arena_statistics *statistics)
    int emmap_arena_check(emmap_arena *arena)
    int emmap_arena_repair(emmap_arena *arena)
    uint64_t emmap_arena_size(const unsigned char *base, size_t length)

# A full arena grows by half of its size, within these bounds: few steps, and little space taken ahead.
cdef enum:
    LEAST_STEP = 1 << 16
    LARGEST_STEP = 1 << 26


class Statistics(namedtuple("Statistics", "size blocks used free largest")):
    """What `Arena.statistics` tells.

    `size` is the bytes of the arena, its own administration included; `blocks` how many blocks are
    handed out; `used` the bytes in them, as they were asked for; `free` the bytes in no block; and
    `largest` the most that `allocate` can give at once before the arena is full or grows.
    """

    __slots__ = ()


cdef inline Py_ssize_t offset_of(object offset) except? -1:
    """The number that a caller gives; a negative one is no offset of a block."""
    cdef Py_ssize_t at = emmap_small_index(<PyObject *>offset, 0)
    return at if at >= 0 else PyNumber_AsSsize_t(offset, ValueError)


@cython.no_gc_clear  # whatever a finalizer calls needs the mapping
cdef class Arena:
    """One's own allocator, over any mapping: a file, shared memory, or `anonymous` memory.

    Its blocks are named by *offsets* from the mapping's first byte, which stay true wherever the
    bytes are mapped next: in another process, or after a restart. So data structures with offsets
    in the place of pointers live in a file. 0 is no block, as NULL is no address.

    A mapping whose first bytes are all zero (a new file, new memory) is made an arena: it must be
    writable, and zero all over. An empty mapping with `reserve=` is made long enough. Anything else
    must be an arena already, else it is a `CorruptFileError`. Raises `ValueError` for a mapping that
    is too short, or does not begin at a multiple of 16 bytes.

    The arena has no lock of its own. Threads of one process need none for its methods; processes
    that share it take a lock of theirs around all of them but `view` and `root`, which are safe
    beside changes. A process that is killed in the middle of a change leaves an arena that refuses
    everything else with `CorruptFileError` until somebody calls `repair`. What a power loss leaves
    is not defined: `check` tells.

    An arena pickles with its mapping, by reference. Cost: 8 bytes for each block and rounding up to
    a multiple of 16, at least 32 together; 2.6 KB for the arena.

    >>> import emmap
    >>> arena = emmap.Arena(emmap.anonymous(1 << 20))
    >>> offset = arena.allocate(5)
    >>> arena.view(offset)[:] = b"hello"
    >>> arena.root = offset
    >>> again = emmap.Arena(arena.mapping)
    >>> bytes(again.view(again.root))
    b'hello'
    """

    cdef MappedMemory memory
    cdef emmap_arena core

    def __cinit__(self, MappedMemory mapping not None, /):
        cdef int rc
        self.memory = mapping
        mapping.look()
        if mapping.head % 16:
            raise ValueError(f"an arena begins at a multiple of 16 bytes, not at file offset "
                             f"{mapping.file_offset}")
        self.enter(PROT_READ)
        rc = emmap_arena_open(&self.core)
        if rc == -ENODATA:
            self.format()
        else:
            self.settle(rc)

    cdef int format(self) except -1:
        """Makes an arena of bytes that are all zero."""
        cdef MappedMemory memory = self.memory
        cdef uint64_t key = int.from_bytes(os.urandom(8), "little")
        cdef int rc
        if not memory.protection & PROT_WRITE:
            raise ProtectionError("no arena is here yet, and the mapping is open for reading: make one "
                                  "with mode 'r+'")
        if memory.length < <Py_ssize_t>EMMAP_ARENA_FEWEST and \
                memory.capacity >= <Py_ssize_t>EMMAP_ARENA_FEWEST:
            memory.grow(min(<Py_ssize_t>LEAST_STEP, memory.capacity))
        self.enter(PROT_WRITE)
        if memory.length < <Py_ssize_t>EMMAP_ARENA_FEWEST:
            raise ValueError(f"an arena needs at least {EMMAP_ARENA_FEWEST} bytes, and the mapping "
                             f"has {memory.length}")
        self.require_zeros()
        self.enter(PROT_WRITE)
        rc = emmap_arena_open(&self.core)  # another thread may have been faster
        if rc == -ENODATA:
            rc = emmap_arena_format(&self.core, key)
        self.settle(rc)
        return 0

    cdef int require_zeros(self) except -1:
        """A file that begins with zeros may hold something all the same. Holes are not looked at: that
        would fill them with pages."""
        cdef MappedMemory memory = self.memory
        start = end = memory.file_offset
        end += memory.length
        if memory._backing is None:
            return 0
        with memory._backing.descriptor() as file:
            before = os.lseek(file.fd, 0, os.SEEK_CUR)
            try:
                while start < end:
                    start = os.lseek(file.fd, start, os.SEEK_DATA)
                    data = os.pread(file.fd, min(1 << 20, max(end - start, 0)), start)
                    if data.strip(b"\0"):
                        raise CorruptFileError("no arena: it begins with zeros, but holds something",
                                               memory._backing.name, start)
                    start += max(len(data), 1)
            except OSError as error:
                if error.errno not in (ENXIO, EINVAL):  # no data behind; or no notion of holes
                    raise
            finally:
                os.lseek(file.fd, before, os.SEEK_SET)
        return 0

    # What each method begins and ends with

    cdef inline int enter(self, int right) except -1:
        """Shows the core the bytes as they are mapped now. Raises where they may not be used."""
        cdef MappedMemory memory = self.memory
        cdef bint looked = False
        while True:  # until nothing that runs Python has come in between
            if (memory.writable if right == PROT_WRITE else memory.readable) == 0:
                memory.require(0, memory.length, right)
            if memory.pages.guard != NULL and emmap_lost_any(&memory.pages.guard.lost):
                memory.raise_if_lost(0, memory.length)
            # SAFETY: the GIL keeps others away, and close and resize too; the guard answers a lost page.
            if looked or emmap_arena_size(memory.data, memory.length) <= <uint64_t>memory.length:
                break
            memory.look()  # Has another process made the file longer? With reserve= it follows.
            looked = True
        self.core.base = memory.data
        self.core.length = memory.length
        return 0

    cdef inline int settle(self, int rc) except -1:
        """Raises what the core has found, and what was lost on the way."""
        cdef MappedMemory memory = self.memory
        if memory.pages.guard != NULL and emmap_lost_any(&memory.pages.guard.lost):
            memory.raise_if_lost(0, memory.length)
        if rc < 0:
            self.fail(rc)
        return 0

    cdef int fail(self, int rc) except -1:
        cdef MappedMemory memory = self.memory
        cdef uint64_t at = 0
        if rc == -EOWNERDEAD:
            message = ("a process was killed in the middle of a change of this arena: repair() it, "
                       "and look at the data in its blocks")
        elif rc == -EFBIG:
            at = memory.length
            message = (f"the arena has {emmap_arena_size(memory.data, memory.length)} bytes, and only "
                       f"{memory.length} are mapped: the file was cut short, or another process has "
                       f"made it longer; open it with reserve= to follow")
        elif rc == -EOPNOTSUPP:
            message = f"an arena of version {self.core.at}, which this version of emmap does not know"
        elif rc == -ENOEXEC:
            message = "an arena of a machine with the other byte order"
        else:
            at = self.core.at
            message = "no arena, or a damaged one" if at == 0 else "the arena is damaged"
        raise CorruptFileError(message, memory._backing.name if memory._backing is not None else None,
                               memory.file_offset + at)

    cdef int refuse(self, object offset) except -1:
        """Raises for an offset where no block begins: is it wrong, or the arena?"""
        self.settle(emmap_arena_check(&self.core))
        raise ValueError(f"no block begins at offset {offset}: it was freed, or is not from this arena")

    # Blocks

    def allocate(self, n, /):
        """Gives a new block of `n` bytes, all zero, and returns its offset: a multiple of 16.

        A full arena makes its mapping longer where that was opened with `reserve=`, in place, so
        that views stay valid; other processes that opened it so follow by themselves. Raises
        `MemoryError` when it is full, and nothing has changed; `OSError` (ENOSPC) for a full disk;
        `ProtectionError` for a mapping that is open for reading. Cost: about that of `bytearray(n)`,
        however many blocks there are; before a full arena grows or raises, it looks at each free
        block that is nearly large enough.

        >>> import emmap
        >>> arena = emmap.Arena(emmap.anonymous(10000))
        >>> offset = arena.allocate(100)
        >>> offset % 16, bytes(arena.view(offset)) == bytes(100)
        (0, True)
        >>> arena.allocate(20000)
        Traceback (most recent call last):
        MemoryError: no room for 20000 bytes
        """
        cdef uint64_t offset = 0, dirty = 0
        cdef Py_ssize_t size = emmap_small_index(<PyObject *>n, 0)
        cdef int rc
        if size < 0:
            size = PyNumber_AsSsize_t(n, OverflowError)
            if size < 0:
                raise ValueError(f"a block has a number of bytes, not {n}")
        while True:
            self.enter(PROT_WRITE)
            rc = emmap_arena_allocate(&self.core, size, &offset, &dirty)
            if rc != -ENOMEM:
                break
            self.make_room(size)
        if rc == 0 and dirty:
            self.zero(offset, dirty)
        self.settle(rc)
        return offset

    cdef int make_room(self, Py_ssize_t n) except -1:
        """Makes a full arena larger, so that a block of `n` bytes finds a place, or raises."""
        cdef MappedMemory memory = self.memory
        cdef uint64_t needed = 0
        cdef Py_ssize_t size = memory.length, capacity, step
        cdef int rc = emmap_arena_extend(&self.core, n, &needed)
        self.settle(rc)
        if rc == 1:
            return 0
        capacity = memory.capacity
        if needed > <uint64_t>capacity:
            raise MemoryError(f"no room for {n} bytes: the arena is full, and its mapping cannot grow "
                              f"past {capacity} bytes where it is; open it with a larger reserve=")
        step = min(max(size // 2, <Py_ssize_t>LEAST_STEP), <Py_ssize_t>LARGEST_STEP)
        try:
            memory.grow(min(max(<Py_ssize_t>needed, size + step), capacity))
        except OSError as error:
            if error.errno != ENOSPC:
                raise
            memory.grow(needed)  # on a disk that is nearly full, no more than must be
        return 0

    cdef int zero(self, uint64_t offset, uint64_t n) except -1:
        """Zeroes the bytes of a new block, which nobody else knows of yet."""
        cdef MappedMemory memory = self.memory
        cdef unsigned char *block = memory.data + offset
        cdef size_t repairs = memory.repairs
        if n < LARGE:
            memset(block, 0, n)  # SAFETY: inside, as the core has said, and the GIL keeps others away.
            return 0
        memory.hold()
        memory.writers += 1
        try:
            with nogil:  # SAFETY: inside, and the hold keeps the pages mapped and in place.
                memset(block, 0, n)
            memory.raise_if_lost_since(repairs, offset, offset + n)
        finally:
            memory.writers -= 1
            memory.let_go()
        return 0

    def free(self, offset, /):
        """Takes a block back. It is joined with its free neighbours; views of it see whatever is
        stored there next. A `root` that names it becomes 0.

        Raises `ValueError` where no block begins, as after a second `free`. Cost: as `allocate`; a
        wrong offset costs a `check`.

        >>> import emmap
        >>> arena = emmap.Arena(emmap.anonymous(10000))
        >>> offset = arena.allocate(100)
        >>> arena.free(offset)
        >>> arena.free(offset)
        Traceback (most recent call last):
        ValueError: no block begins at offset 2576
        """
        cdef Py_ssize_t at = offset_of(offset)
        cdef int rc
        self.enter(PROT_WRITE)
        rc = emmap_arena_free(&self.core, at)
        if rc == -EINVAL:
            self.refuse(offset)
        self.settle(rc)

    def view(self, offset, /):
        """The bytes of a block, without a copy: a memoryview of as many bytes as were asked for.

        It may be written where the mapping may be, keeps the mapping's memory alive, and ends at
        the block's last byte. Other processes see each change at once. Raises `ValueError` where no
        block begins. Cost: two memoryviews; a wrong offset costs a `check`.

        >>> import emmap
        >>> arena = emmap.Arena(emmap.anonymous(10000))
        >>> numbers = arena.view(arena.allocate(24)).cast("q")
        >>> numbers[1] = -7
        >>> numbers.tolist()
        [0, -7, 0]
        """
        cdef Py_ssize_t at = offset_of(offset)
        cdef uint64_t n = 0
        cdef int rc
        self.enter(PROT_READ)
        rc = emmap_arena_length_of(&self.core, at, &n)
        if rc == -EFBIG:  # it grew since we looked
            self.enter(PROT_READ)
            rc = emmap_arena_length_of(&self.core, at, &n)
        if rc == -EINVAL:
            self.refuse(offset)
        self.settle(rc)
        return PyMemoryView_FromObject(self.memory)[at:at + <Py_ssize_t>n]

    @property
    def root(self):
        """The offset of the block where one's data begin, for those who open the arena next; 0: none.

        Setting it raises `ValueError` where no block begins. It is one store: others see the old
        root or the new one.
        """
        cdef uint64_t offset = 0
        self.enter(PROT_READ)
        self.settle(emmap_arena_root(&self.core, &offset))
        return offset

    @root.setter
    def root(self, offset):
        cdef Py_ssize_t at = offset_of(offset)
        cdef int rc
        self.enter(PROT_WRITE)
        rc = emmap_arena_set_root(&self.core, at)
        if rc == -EINVAL:
            self.refuse(offset)
        self.settle(rc)

    # The whole

    @property
    def mapping(self):
        """The mapping that the arena lies in."""
        return self.memory

    def statistics(self):
        """How full the arena is: a tuple with the names `size`, `blocks`, `used`, `free`, `largest`.

        Cost: a microsecond, and a look at each free block that is nearly as large as the largest.

        >>> import emmap
        >>> arena = emmap.Arena(emmap.anonymous(10000))
        >>> offset = arena.allocate(1000)
        >>> arena.statistics()
        Statistics(size=10000, blocks=1, used=1000, free=6416, largest=6408)
        """
        cdef emmap_arena_statistics found
        self.enter(PROT_READ)
        self.settle(emmap_arena_statistics_of(&self.core, &found))
        return Statistics(found.size, found.blocks, found.used, found.free, found.largest)

    def check(self):
        """Verifies every block, list and counter, and returns None.

        Raises `CorruptFileError` with the file's name and the offset of the first word that is
        wrong. Cost: less than a microsecond for each block; threads of this process wait.

        >>> import emmap
        >>> arena = emmap.Arena(emmap.anonymous(10000))
        >>> arena.check()
        """
        self.enter(PROT_READ)
        self.settle(emmap_arena_check(&self.core))

    def repair(self):
        """Rebuilds all lists and counters from the blocks, after a process was killed in the middle
        of a change.

        No block is lost that was handed out before; the one that was being allocated or freed may
        be either. A `root` that names no block becomes 0. Call it where nobody else uses the arena.
        Raises `CorruptFileError` when the headers between the blocks are damaged too, and then
        nothing has changed. Cost: as `check`.

        >>> import emmap
        >>> arena = emmap.Arena(emmap.anonymous(10000))
        >>> arena.repair()
        """
        self.enter(PROT_WRITE)
        self.settle(emmap_arena_repair(&self.core))

    def __repr__(self):
        return f"<emmap.{type(self).__name__} in {self.memory!r}>"

    def __reduce__(self):
        return type(self), (self.memory,)
