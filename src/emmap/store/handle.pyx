# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Handle`: one opening of a store, with what it may do."""

from emmap.errors import ClosedError, ProtectionError


cdef class Handle:
    """What `Store` is to the containers in it."""

    def __init__(self, StoreFile file not None, *, writable, durable, Codec codec not None):
        self.file, self.writable, self.durable, self.codec = file, writable, durable, codec

    cdef int refuse(self) except -1:
        if self.file is None:
            raise ClosedError("the store was closed")
        raise ProtectionError('the store was opened for reading: open it with mode "r+" or "a" to write')

    cdef int done(self, StoreFile file, int rc, str doing) except -1:
        """Ends what `file.begin_write` has begun, and makes it durable where that was asked for."""
        file.end_write(rc, doing)
        if self.durable and not file.is_mine():
            file.flush()
        return 0

    def _opened(self):
        return self.opened()

    def _to_write(self):
        return self.to_write()

    @property
    def _file(self):
        return self.file

    @property
    def _codec(self):
        return self.codec

    def _let_go(self):
        """Closes it; what others have open of the file stays open."""
        self.file = None
