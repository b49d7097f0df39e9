"""The C face of shared places, for the locks here and for the rooms above."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from emmap.mapping.memory cimport MappedMemory, emmap_lost

cdef extern from "life.h" nogil:
    cdef struct emmap_life:
        uint64_t me
        int hidden

cdef extern from "place.h" nogil:
    enum: EMMAP_LOCK
    enum: EMMAP_RLOCK
    enum: EMMAP_RWLOCK
    enum: EMMAP_SEMAPHORE
    enum: EMMAP_CONDITION
    enum: EMMAP_EVENT
    enum: EMMAP_BARRIER
    cdef struct emmap_place:
        unsigned char *at
        emmap_life *life
        emmap_lost *lost
    int emmap_place_lost(emmap_place *place)

cdef extern from "wait.h" nogil:
    int64_t EMMAP_SLICE
    int64_t emmap_clock()
    void emmap_wake(uint32_t *word, int n)
    enum: EMMAP_LOOK
    enum: EMMAP_ASK
    enum: EMMAP_ANNOUNCE
    enum: EMMAP_SLEPT
    cdef struct emmap_sleep:
        pass
    cdef struct emmap_looks:
        pass
    cdef struct emmap_waiting:
        pass
    void emmap_waiting_begin(emmap_waiting *waiting, int64_t nanoseconds)
    ctypedef int emmap_attempt(void *it, int how, emmap_sleep *sleep)


cdef class Placed:
    cdef MappedMemory memory        # what it lies in, and how far from its start
    cdef readonly Py_ssize_t offset
    cdef emmap_place place
    cdef bint holding               # at the end: something here is held by this process
    cdef readonly str _path         # of the file that it was made by; None: by a mapping
    cdef bytes path                 # the same for the kernel
    cdef int64_t looked             # when the path was last seen to lead here
    cdef object __weakref__

    cdef int settle(self, object place, object offset, int kind, Py_ssize_t size) except -1
    cdef int begin(self, int fd, int kind, Py_ssize_t size) except -1
    cdef int expect(self, int rc, str doing) except -1
    cdef int wait(self, emmap_attempt *attempt, void *it, int64_t nanoseconds, emmap_looks *looks) except? -1
    cdef int wait_deaf(self, emmap_attempt *attempt, void *it, emmap_looks *looks) except? -1
    cdef int look_around(self) except -1
    cdef int look_at_path(self) except -1
    cdef str where(self)

cdef int64_t nanoseconds_of(object timeout) except? -2
cdef int64_t patience_of(object blocking, object timeout) except? -2
