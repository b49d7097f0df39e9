"""The C face of the lock for readers and writers."""

from libc.stdint cimport int64_t, uint64_t

from emmap.locks.lock cimport BaseLock
from emmap.locks.place cimport emmap_looks, emmap_place, emmap_sleep

cdef extern from "rwlock.h" nogil:
    enum: EMMAP_CELLS
    enum: EMMAP_REPAIRED
    cdef struct emmap_rwlock:
        uint64_t *writing
        emmap_looks looks
    cdef struct emmap_rwlock_write:
        emmap_rwlock *rwlock
        int to_repair
    void emmap_rwlock_begin(emmap_rwlock *rwlock, const emmap_place *place, int repairs)
    int emmap_rwlock_take_read(emmap_rwlock *rwlock)
    int emmap_rwlock_read_attempt(void *rwlock, int how, emmap_sleep *sleep)
    int emmap_rwlock_read_undo(void *rwlock, int rc, int how, emmap_sleep *sleep)
    int emmap_rwlock_release_read(emmap_rwlock *rwlock)
    int64_t emmap_rwlock_readers(emmap_rwlock *rwlock)
    int emmap_rwlock_is_read(emmap_rwlock *rwlock)
    int emmap_rwlock_write_attempt(void *write, int how, emmap_sleep *sleep)
    int emmap_rwlock_write_undo(void *write, int rc, int how, emmap_sleep *sleep)
    void emmap_rwlock_write_give_up(emmap_rwlock_write *write)
    int emmap_rwlock_is_written(emmap_rwlock *rwlock)
    int emmap_rwlock_release_write(emmap_rwlock *rwlock)


cdef class RWLock(BaseLock):
    cdef emmap_rwlock rwlock

    cdef bint read_within(self, int64_t nanoseconds) except -1
    cdef bint write_within(self, int64_t nanoseconds, bint to_repair) except -1
    cdef bint written(self, int rc, bint to_repair) except -1
    cdef bint take_read(self) except -1
    cdef int let_go_of_read(self) except -1


cdef class Reading:
    cdef RWLock lock


cdef class Writing:
    cdef RWLock lock
