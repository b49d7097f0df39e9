"""The C face of a list."""

from libc.stdint cimport uint64_t

from emmap.codec.values cimport Codec, Encoded
from emmap.store.container cimport Container
from emmap.store.core cimport emmap_list_cursor, emmap_record, emmap_slot
from emmap.store.file cimport StoreFile
from emmap.store.moment cimport Moment

# What `put` does.
cdef enum How:
    SET
    INSERT
    BUILD       # appends to the list at `root`, which is not in the store yet


cdef class List(Container):
    cdef object get(self, Py_ssize_t index)
    cdef object decode(self, StoreFile file, const emmap_slot *slot, bint pinned)
    cdef object get_in(self, StoreFile file, const emmap_record *record, Py_ssize_t index, bint pinned)
    cdef ListIterator walk_in(self, Moment moment, const emmap_record *record, Py_ssize_t start, Py_ssize_t step)
    cdef list get_slice(self, object indices)
    cdef int put(self, StoreFile file, How how, Py_ssize_t index, const Encoded *value, emmap_record *built) except 1
    cdef int put_value(self, How how, Py_ssize_t index, object value) except -1
    cdef object take(self, Py_ssize_t index, bint wanted, str message)
    cdef Py_ssize_t place_of(self, const emmap_record *record, Py_ssize_t index, str message) except -1
    cdef int set_slice(self, object indices, list values) except -1
    cdef int delete_slice(self, object indices) except -1
    cdef int splice(self, StoreFile file, uint64_t start, uint64_t stop, list values) except -1
    cdef int rearrange(self, StoreFile file, list order) except -1
    cdef int rearrange_by(self, StoreFile file, const uint64_t *numbers, uint64_t n) except 1


cdef class ListIterator:
    cdef List owner
    cdef Moment moment
    cdef emmap_list_cursor cursor
