"""The C face of the lock: for the locks that are made of it, and for the rooms above."""

from libc.stdint cimport int64_t, uint64_t

from emmap.locks.place cimport Placed, emmap_looks, emmap_place, emmap_sleep, emmap_waiting

cdef extern from "lock.h" nogil:
    enum: EMMAP_OWNER_DIED
    enum: EMMAP_INCONSISTENT
    enum: EMMAP_NOBODY
    enum: EMMAP_US
    enum: EMMAP_OTHERS
    enum: EMMAP_THE_DEAD
    uint64_t EMMAP_WAITERS, EMMAP_DIED, EMMAP_OWNER
    cdef struct emmap_lock:
        emmap_place place
        uint64_t *word
        emmap_looks looks
    void emmap_lock_begin(emmap_lock *lock, const emmap_place *place, void *word)
    int emmap_lock_take(emmap_lock *lock)
    int emmap_lock_acquire(emmap_lock *lock, emmap_waiting *waiting)
    int emmap_lock_attempt(void *lock, int how, emmap_sleep *sleep)
    int emmap_lock_release(emmap_lock *lock)
    int emmap_lock_undo(void *lock, int rc, int how, emmap_sleep *sleep)
    int emmap_lock_mark_consistent(emmap_lock *lock)
    int emmap_lock_look(emmap_lock *lock)
    int emmap_lock_is_mine(emmap_lock *lock)


cdef class BaseLock(Placed):
    cdef emmap_lock core
    cdef object on_owner_death

    cdef int prepare(self, object place, object offset, object on_owner_death, int kind,
                     Py_ssize_t size) except -1
    cdef bint take(self) except -1
    cdef bint acquire_within(self, int64_t nanoseconds) except -1
    cdef bint acquired(self, int rc) except -1
    cdef bint is_owned(self) noexcept
    cdef Py_ssize_t release_all(self) except -1
    cdef int restore(self, Py_ssize_t count) except -1
    cdef int acquire_deaf(self) except -1
    cdef void own(self, Py_ssize_t count) noexcept
    cdef int let_go(self) except -1
    cdef int released(self, int rc) except -1


cdef class Lock(BaseLock):
    pass
