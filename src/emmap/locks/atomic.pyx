# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Atomic`: a number that threads and processes change at once."""

from cpython.number cimport PyNumber_Index
from libc.stdint cimport int64_t

from emmap.errors import CorruptFileError
from emmap.locks.place cimport Placed, emmap_place
from emmap.locks.place import place_again

cdef extern from "errno.h":
    int EOVERFLOW

cdef extern from "place.h" nogil:
    int emmap_place_is_tag(emmap_place *place)

cdef extern from "atomic.h" nogil:
    int emmap_atomic_load(emmap_place *place, int64_t *value)
    int emmap_atomic_exchange(emmap_place *place, int64_t value, int64_t *old)
    int emmap_atomic_add(emmap_place *place, int64_t n, int64_t *sum)
    int emmap_atomic_compare_exchange(emmap_place *place, int64_t expected, int64_t value, int *exchanged)


cdef inline int64_t number_of(object value) except? -2:
    """An int, or what says that it is one. Floats are none."""
    return value if type(value) is int else PyNumber_Index(value)


cdef class Atomic(Placed):
    """A whole number of 64 bits in mapped memory, which threads and processes change at once.

    `place` is a `MemoryMap` that others share, in which the number takes `SIZE` bytes at `offset`
    (a multiple of `ALIGNMENT` in the file); or the path of a file, which is made if it is not there
    and holds this one number. The bytes are the number in the machine's order, and nothing else:
    those of an array or a struct will do, and zeros are 0.

    Each method is one step that no other thread or process comes between, and whoever sees a number
    sees all that was written before it (sequentially consistent). Nobody waits and nothing is held,
    so who is killed leaves no trace. Numbers go from -2**63 to 2**63 - 1: an argument or sum beyond
    raises `OverflowError`, and nothing is changed. When the memory has gone, each method raises
    `PageLostError`.

    It is a view of its mapping, and pickles by reference, as `Lock` does. The constructor raises
    what `Lock` raises, `CorruptFileError` where a lock lies.

    Cost: 25 ns to load, 40 to change it.

    >>> import emmap
    >>> m = emmap.anonymous(64, shared=True)
    >>> turns = emmap.Atomic(m, offset=8)
    >>> turns.add(5)
    5
    >>> turns.exchange(7), turns.load()
    (5, 7)
    >>> turns.compare_exchange(5, 1), turns.compare_exchange(7, 1), turns.load()
    (False, True, 1)
    """

    SIZE = 8
    ALIGNMENT = 8

    def __cinit__(self, place, *, offset=0):
        cdef int rc
        self.settle(place, offset, 0, 8)
        rc = emmap_place_is_tag(&self.place)
        self.expect(rc, "look at the number")
        if rc:
            raise CorruptFileError("a lock lies here, not a number", self.memory._backing.name,
                                   self.memory.file_offset + self.offset)

    def load(self):
        """The number."""
        cdef int64_t value
        self.expect(emmap_atomic_load(&self.place, &value), "read the number")
        return value

    def store(self, value):
        """Sets the number."""
        cdef int64_t old
        self.expect(emmap_atomic_exchange(&self.place, number_of(value), &old), "write the number")

    def exchange(self, value):
        """Sets the number, and returns what it was."""
        cdef int64_t old
        self.expect(emmap_atomic_exchange(&self.place, number_of(value), &old), "write the number")
        return old

    def add(self, n):
        """Adds `n`, which may be negative, and returns the sum.

        Raises `OverflowError` when that is beyond 64 bits, and the number is as it was.
        """
        cdef int64_t sum
        cdef int rc = emmap_atomic_add(&self.place, number_of(n), &sum)
        if rc == -EOVERFLOW:
            raise OverflowError(f"the sum with {n} is beyond 64 bits: the number is as it was")
        self.expect(rc, "write the number")
        return sum

    def compare_exchange(self, expected, value):
        """Sets the number if it is `expected`: has it been set?"""
        cdef int64_t before = number_of(expected), after = number_of(value)
        cdef int exchanged
        self.expect(emmap_atomic_compare_exchange(&self.place, before, after, &exchanged),
                    "write the number")
        return exchanged != 0

    def __reduce__(self):
        return place_again, (type(self), self._path or self.memory, self.offset, {})

    def __repr__(self):
        cdef int64_t value
        state = "lost" if emmap_atomic_load(&self.place, &value) else value
        return f"<emmap.Atomic {self.where()}: {state}>"
