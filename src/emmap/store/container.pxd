"""The C face of what all containers are."""

from emmap.codec.values cimport Codec
from emmap.store.core cimport emmap_record, emmap_seen
from emmap.store.file cimport StoreFile
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Lease, Moment
from emmap.store.name cimport Name

# What `own` answers where the name is that of something else.
cdef enum:
    OTHER_KIND = -4096


cdef class Container:
    cdef Handle handle
    cdef Name called
    cdef Codec codec
    cdef Lease lease                # of a snapshot; None: now
    cdef int kind
    cdef emmap_seen last            # the record, as it was last looked up
    cdef object __weakref__

    cdef inline Moment kept(self):
        """The moment of the snapshot, or `ClosedError`."""
        if self.lease.moment is None:
            self.lease.refuse()
        return self.lease.moment

    cdef inline StoreFile to_read(self):
        return self.handle.opened() if self.lease is None else self.kept().file

    cdef StoreFile to_write(self)
    cdef StoreFile see(self, emmap_record *record)
    cdef Moment see_moment(self, emmap_record *record)
    cdef int expect_kind(self, int kind) except -1
    cdef int own(self, StoreFile file, emmap_record **record) noexcept
    cdef int finish(self, StoreFile file, int rc) except -1
