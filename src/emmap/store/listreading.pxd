"""The C face of a list that is read."""

from emmap.store.container cimport Container
from emmap.store.core cimport emmap_list_cursor, emmap_record, emmap_slot
from emmap.store.file cimport StoreFile
from emmap.store.moment cimport Lease, Moment


cdef class ListReading(Container):
    cdef object get(self, Py_ssize_t index)
    cdef object get_in(self, StoreFile file, const emmap_record *record, Py_ssize_t index, bint pinned)
    cdef object decode(self, StoreFile file, const emmap_slot *slot, bint pinned)
    cdef list get_slice(self, object indices)
    cdef ListIterator walk_in(self, Moment moment, const emmap_record *record, Py_ssize_t start, Py_ssize_t step)
    cdef Py_ssize_t place_of(self, const emmap_record *record, Py_ssize_t index, str message) except -1


cdef class ListIterator:
    cdef ListReading owner
    cdef Moment moment
    cdef emmap_list_cursor cursor
