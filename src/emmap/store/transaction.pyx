# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Transaction`: many operations that are done as one, or not at all."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free

cimport cython

from emmap.store.core cimport emmap_rollback_to, emmap_savepoint, emmap_savepoint_make
from emmap.store.file cimport StoreFile
from emmap.store.handle cimport Handle


@cython.final
@cython.no_gc_clear  # __dealloc__ needs `file`
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
    cdef int depth                  # of the file, once it has been entered
    cdef uint64_t first             # number of what is made in it
    cdef emmap_savepoint *savepoint # NULL: it is the outermost

    def __cinit__(self, Handle handle not None):
        self.handle = handle

    def __dealloc__(self):
        # It was entered, and never left: by a thread that has ended, or in a generator that was dropped.
        if self.file is not None and self.is_innermost():
            self.undo()
        free(self.savepoint)

    cdef bint is_innermost(self) noexcept:
        """Is it under way, with none in it?"""
        return self.file.writer != 0 and self.file.serial == self.serial and self.file.depth == self.depth

    cdef void undo(self) noexcept:
        cdef StoreFile file = self.file
        self.file = None
        if self.savepoint == NULL or file.inherited:
            file.give_up_one()
            return
        last = file.txn.txn
        emmap_rollback_to(&file.txn, self.savepoint)
        free(self.savepoint)
        self.savepoint = NULL
        if file.undone is None:
            file.undone = []
        file.undone.append((self.first, last))
        file.doomed = 0
        file.depth -= 1

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
        self.file, self.serial, self.depth, self.first = file, file.serial, file.depth, file.txn.txn
        return self

    def __exit__(self, kind, error, traceback):
        cdef StoreFile file = self.file
        if file is None:
            raise RuntimeError("this transaction is not under way")
        if file.inherited and self.is_innermost():
            self.undo()
            if kind is None:
                raise RuntimeError("this process was forked inside the transaction: what was written is the parent's")
            return False
        if not file.is_mine() or not self.is_innermost():
            raise RuntimeError("a transaction is left by the thread that has entered it, and after those within it")
        if kind is not None:
            self.undo()
            return False
        self.file = None
        free(self.savepoint)
        self.savepoint = NULL
        self.handle.done(file, 0, "commit")
        return False
