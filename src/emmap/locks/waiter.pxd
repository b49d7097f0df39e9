"""The C face of awaiting, for whatever has an awaitable twin: the head of waiter.pyx tells how."""

from libc.stdint cimport int64_t

from emmap.locks.place cimport Placed, emmap_attempt, emmap_sleep

cdef extern from "wait.h" nogil:
    ctypedef int emmap_undo(void *it, int rc, int how, emmap_sleep *sleep)


cdef class Request:
    cdef Placed placed              # keeps the place
    cdef emmap_attempt *attempt
    cdef emmap_undo *undo
    cdef void *it                   # a copy of our own of what the attempt works on
    cdef int64_t until              # nanoseconds of CLOCK_MONOTONIC
    cdef emmap_sleep sleep          # where the last attempt wants to be woken
    cdef bint slept
    cdef int state
    cdef int rc                     # how it ended
    cdef object error               # or what was raised meanwhile
    cdef object loop, future
    cdef int pid                    # of the process that left it to its thread; 0: not yet

    cdef int begin(self) except -1
    cdef bint go_on(self, int64_t now, bint ask) except -1
    cdef int end(self, int rc, object error) except -1
    cdef void withdraw(self) noexcept
    cdef void take_back(self, int how) noexcept
    cdef void forget(self) noexcept

cdef Request awaited(Placed placed, emmap_attempt *attempt, emmap_undo *undo, void *it, size_t size,
                     int64_t nanoseconds)
