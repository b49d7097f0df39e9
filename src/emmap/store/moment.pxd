"""The C face of a moment."""

from libc.stdint cimport uint64_t

from emmap.mapping.memory cimport MappedMemory
from emmap.store.core cimport emmap_pin, emmap_record
from emmap.store.file cimport StoreFile
from emmap.store.name cimport Name


cdef class Moment:
    cdef StoreFile file
    cdef MappedMemory memory        # in which the pin lies
    cdef emmap_pin *pin             # NULL: what the transaction of this thread has made
    cdef emmap_pin *spare           # for a child that is being forked
    cdef uint64_t serial            # of that transaction
    cdef uint64_t root              # offset of the root record
    cdef uint64_t txn, directory, names
    cdef object __weakref__

    cdef int ensure(self) except -1
    cdef int record(self, Name name, emmap_record *record) except -1


cdef class Lease:
    cdef Moment moment              # None when it has ended

    cdef int refuse(self) except -1

cdef Moment moment_of(StoreFile file)
