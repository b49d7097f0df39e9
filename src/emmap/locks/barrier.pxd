"""The C face of the barrier."""

from libc.stdint cimport int64_t, uint64_t

from emmap.locks.place cimport Placed, emmap_place, emmap_sleep

cdef extern from "barrier.h" nogil:
    enum: EMMAP_MOST_WAITERS
    enum: EMMAP_BARRIER_PASSED
    enum: EMMAP_BARRIER_BROKE
    enum: EMMAP_BARRIER_ACT
    cdef enum emmap_barrier_step:
        EMMAP_BARRIER_ARRIVE
        EMMAP_BARRIER_AWAIT
        EMMAP_BARRIER_RELEASE
        EMMAP_BARRIER_BREAK
        EMMAP_BARRIER_RESET
    cdef struct emmap_barrier:
        uint64_t parties
    cdef struct emmap_barrier_wait:
        emmap_barrier_step step
        int has_action
        int time_is_up
        int index
    int emmap_barrier_begin(emmap_barrier *barrier, const emmap_place *place, uint64_t *parties)
    void emmap_barrier_wait_begin(emmap_barrier_wait *wait, const emmap_barrier *barrier,
                                  emmap_barrier_step step)
    int emmap_barrier_attempt(void *wait, int how, emmap_sleep *sleep)
    int emmap_barrier_undo(void *wait, int rc, int how, emmap_sleep *sleep)
    void emmap_barrier_leave(emmap_barrier_wait *wait)
    int emmap_barrier_is_broken(emmap_barrier *barrier)
    int emmap_barrier_count(emmap_barrier *barrier)


cdef class Barrier(Placed):
    cdef emmap_barrier core
    cdef object action
    cdef object timeout

    cdef int run(self, emmap_barrier_wait *it, int64_t patience) except? -1
    cdef int passed(self, emmap_barrier_wait *it, int rc) except -1
    cdef int finish(self, emmap_barrier_wait *it, emmap_barrier_step step) except -1
