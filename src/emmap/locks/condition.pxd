"""The C face of the condition."""

from libc.stdint cimport uint64_t

from emmap.locks.lock cimport BaseLock
from emmap.locks.place cimport Placed, emmap_place, emmap_sleep

cdef extern from "condition.h" nogil:
    enum: EMMAP_MOST_WAITERS
    cdef struct emmap_condition:
        pass
    cdef struct emmap_condition_wait:
        pass
    void emmap_condition_begin(emmap_condition *condition, const emmap_place *place)
    int emmap_condition_enter(emmap_condition *condition, emmap_condition_wait *wait)
    int emmap_condition_attempt(void *wait, int how, emmap_sleep *sleep)
    int emmap_condition_leave(emmap_condition_wait *wait)
    void emmap_condition_abandon(emmap_condition_wait *wait)
    int emmap_condition_notify(emmap_condition *condition, uint64_t n)
    size_t emmap_condition_count(emmap_condition *condition)


cdef class Condition(Placed):
    cdef emmap_condition core
    cdef readonly BaseLock lock
    cdef bint own_lock      # it lies in our own place

    cdef int enter(self, emmap_condition_wait *it) except -1
    cdef int restore_at_once(self, int pid) except -1
    cdef int notify_some(self, uint64_t n) except -1
