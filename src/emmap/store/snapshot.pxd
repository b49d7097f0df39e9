from emmap.codec.values cimport Codec
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Lease, Moment


cdef class Snapshot:
    cdef Handle handle
    cdef Lease lease

    cdef Moment ensure(self)
    cdef Lease ensured(self)
    cdef Codec codec_for(self, object type)
