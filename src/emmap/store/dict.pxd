"""The C face of a dict."""

from libc.stdint cimport uint64_t

from emmap.codec.values cimport Codec, Encoded
from emmap.store.core cimport emmap_cursor, emmap_key, emmap_record, emmap_seen
from emmap.store.file cimport StoreFile
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Moment
from emmap.store.name cimport Name


cdef class Dict:
    cdef Handle handle
    cdef Name called
    cdef Codec codec
    cdef Moment moment              # of a snapshot; None: now
    cdef emmap_seen last            # the record, as it was last looked up
    cdef object __weakref__

    cdef StoreFile see(self, emmap_record *record)
    cdef int see_in(self, Moment moment, emmap_record *record) except -1
    cdef object find(self, StoreFile file, const emmap_key *key, object default)
    cdef object find_in(self, StoreFile file, uint64_t root, const emmap_key *key, object default, bint pinned)
    cdef object get_or(self, object key, object default)
    cdef StoreFile to_write(self)
    cdef int own(self, StoreFile file, emmap_record **record) noexcept
    cdef int put(self, StoreFile file, const emmap_key *key, const Encoded *value) except 1
    cdef int put_value(self, StoreFile file, const emmap_key *key, object value) except 1
    cdef int put_item(self, StoreFile file, object key, object value) except -1
    cdef int finish(self, StoreFile file, int rc) except -1
    cdef object take(self, object key, object default, bint wanted)


cdef class DictIterator:
    cdef Moment moment
    cdef Codec codec
    cdef int what
    cdef emmap_cursor cursor
