"""The C face of a dict."""

from libc.stdint cimport uint64_t

from emmap.codec.values cimport Codec, Encoded
from emmap.store.container cimport Container
from emmap.store.core cimport emmap_key, emmap_walk
from emmap.store.file cimport StoreFile
from emmap.store.moment cimport Moment


cdef class Dict(Container):
    cdef object find(self, StoreFile file, const emmap_key *key, object default)
    cdef object find_in(self, StoreFile file, uint64_t root, const emmap_key *key, object default, bint pinned)
    cdef object get_or(self, object key, object default)
    cdef int put(self, StoreFile file, const emmap_key *key, const Encoded *value) except 1
    cdef int put_value(self, StoreFile file, const emmap_key *key, object value) except 1
    cdef int put_item(self, StoreFile file, object key, object value) except -1
    cdef object take(self, object key, object default, bint wanted)


cdef class DictIterator:
    cdef Moment moment
    cdef Codec codec
    cdef int what
    cdef emmap_walk walk
    cdef tuple pair                 # the last one

    cdef tuple pair_of(self, object key, object value)
