"""The C face of a list."""

from libc.stdint cimport uint64_t

from emmap.codec.values cimport Encoded
from emmap.store.core cimport emmap_record
from emmap.store.file cimport StoreFile
from emmap.store.listreading cimport ListReading

# What `put` does.
cdef enum How:
    SET
    INSERT
    BUILD       # appends to the list at `built`, which is not in the store yet


cdef class List(ListReading):
    cdef int put(self, StoreFile file, How how, Py_ssize_t index, const Encoded *value, emmap_record *built) except 1
    cdef int put_value(self, How how, Py_ssize_t index, object value) except -1
    cdef object take(self, Py_ssize_t index, bint wanted, str message)
    cdef int set_slice(self, object indices, list values) except -1
    cdef int delete_slice(self, object indices) except -1
    cdef int splice(self, StoreFile file, uint64_t start, uint64_t stop, list values) except -1
    cdef int rearrange(self, StoreFile file, list order) except -1
    cdef int rearrange_by(self, StoreFile file, const uint64_t *numbers, uint64_t n) except 1
