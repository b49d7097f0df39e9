from libc.stdint cimport int64_t, uint64_t

from emmap.locks.lock cimport BaseLock


cdef class RLock(BaseLock):
    cdef uint64_t *thread       # who of this process holds it: his ident, mixed with our id
    cdef uint64_t *count        # how often he has acquired it

    cdef uint64_t myself(self) noexcept
    cdef bint again(self) except -1
