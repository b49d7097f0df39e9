from emmap.codec.keys cimport Key
from emmap.store.core cimport emmap_key
from emmap.store.file cimport StoreFile


cdef class Name:
    cdef Key held
    cdef emmap_key key              # its bytes are what `held` keeps
    cdef readonly str text
