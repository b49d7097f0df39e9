from emmap.codec.values cimport Codec
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Moment


cdef class Snapshot:
    cdef Handle handle
    cdef Moment moment              # None when it has ended

    cdef Moment ensure(self)
    cdef Codec codec_for(self, object type)
