"""The C face of the semaphore."""

from libc.stdint cimport int64_t, uint64_t

from emmap.locks.place cimport Placed, emmap_looks, emmap_place, emmap_sleep

cdef extern from "semaphore.h" nogil:
    enum: EMMAP_NONE_FREE
    enum: EMMAP_CELLS
    int64_t EMMAP_SEMAPHORE_MOST
    cdef struct emmap_semaphore:
        uint64_t value
        uint64_t maximum
        int bounded
        uint64_t *config
        emmap_looks looks
    cdef struct emmap_semaphore_release:
        emmap_semaphore *semaphore
        int64_t n
    int emmap_semaphore_begin(emmap_semaphore *semaphore, const emmap_place *place, int64_t value,
                              int64_t maximum)
    int emmap_semaphore_try(void *semaphore, int how, emmap_sleep *sleep)
    int emmap_semaphore_attempt(void *semaphore, int how, emmap_sleep *sleep)
    int emmap_semaphore_undo(void *semaphore, int rc, int how, emmap_sleep *sleep)
    int emmap_semaphore_release_attempt(void *release, int how, emmap_sleep *sleep)
    int emmap_semaphore_count_attempt(void *semaphore, int how, emmap_sleep *sleep)
    int64_t emmap_semaphore_look(emmap_semaphore *semaphore)
    int emmap_semaphore_is_held(emmap_semaphore *semaphore)


cdef class Semaphore(Placed):
    cdef emmap_semaphore core

    cdef bint acquire_within(self, int64_t nanoseconds) except -1
    cdef int give_back(self, int64_t n) except -1
