# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Transaction`: many operations that are done as one, or not at all."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from emmap.store.core cimport emmap_rollback_to, emmap_savepoint, emmap_savepoint_make
from emmap.store.file cimport StoreFile
from emmap.store.handle cimport Handle

cdef extern from "errno.h":
    int ECANCELED


cdef class Transaction:
    """What `Store.transaction` returns, for a `with` block.

    In the block it is this thread's: what it writes to the store is seen by nobody else until the block has
    been left. Entered within another one, it is a savepoint. Each can be entered again when it was left.

    Raises what the block raises, and then nothing of it has been done; `OSError` (ENOSPC) or `MemoryError`
    from the end of the outermost block when there is no room for it, likewise. Cost: half a microsecond
    besides the operations; a savepoint two.

    >>> import emmap
    >>> with emmap.Store(None) as store:
    ...     d = store.dict("d")
    ...     with store.transaction():
    ...         d["a"] = 1
    ...         try:
    ...             with store.transaction():
    ...                 d["b"] = 2
    ...                 raise LookupError
    ...         except LookupError:
    ...             d["c"] = 3
    ...     sorted(d.items())
    [('a', 1), ('c', 3)]
    """

    cdef Handle handle
    cdef StoreFile file             # while it is under way
    cdef uint64_t serial
    cdef emmap_savepoint *savepoint # NULL: it is the outermost

    def __init__(self, Handle handle not None):
        self.handle = handle

    def __dealloc__(self):
        free(self.savepoint)

    def __enter__(self):
        cdef StoreFile file = self.handle.to_write()
        cdef bint is_inner = file.is_mine()
        cdef int rc
        if self.file is not None:
            raise RuntimeError("this transaction is under way: make another one to nest in it")
        file.begin_write()
        if is_inner:
            rc = emmap_savepoint_make(&file.txn, &self.savepoint)
            if rc != 0:
                self.handle.done(file, rc, "make a savepoint")
        self.file, self.serial = file, file.serial
        return self

    def __exit__(self, kind, error, traceback):
        cdef StoreFile file = self.file
        cdef emmap_savepoint *savepoint = self.savepoint
        if file is None:
            raise RuntimeError("this transaction is not under way")
        self.file, self.savepoint = None, NULL
        try:
            if not file.is_mine() or file.serial != self.serial:
                if kind is None:
                    raise RuntimeError("the transaction was begun by another thread, or before a fork: nothing of "
                                       "it has been done here")
                return False
            if kind is None:
                self.handle.done(file, 0, "commit")
                return False
            if savepoint != NULL:
                emmap_rollback_to(&file.txn, savepoint)
                file.doomed = 0
                file.depth -= 1
            else:
                file.cancel_write()
        finally:
            free(savepoint)
        return False
