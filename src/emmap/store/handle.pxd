"""The C face of a handle."""

from emmap.codec.values cimport Codec
from emmap.store.file cimport StoreFile


cdef class Handle:
    cdef StoreFile file             # None once it is closed
    cdef readonly bint writable
    cdef readonly bint durable
    cdef readonly Codec codec
    cdef object __weakref__

    cdef inline StoreFile opened(self):
        """The file, or `ClosedError`."""
        if self.file is None:
            self.refuse()
        return self.file

    cdef inline StoreFile to_write(self):
        """The same for who wants to write, and may."""
        if self.file is None or not self.writable:
            self.refuse()
        return self.file

    cdef int refuse(self) except -1
    cdef int done(self, StoreFile file, int rc, str doing) except -1
