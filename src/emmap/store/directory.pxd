"""The C face of the names in a store."""

from emmap.store.core cimport emmap_record
from emmap.store.file cimport StoreFile
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Moment
from emmap.store.name cimport Name

cdef bint find(Handle handle, Moment moment, Name name, emmap_record *record) except -1
cdef int put(StoreFile file, Name name, const emmap_record *record) except 1
