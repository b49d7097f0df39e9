"""The C face of a store's file, for the containers in it."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from emmap.locks.place cimport Placed
from emmap.mapping.memory cimport MappedMemory
from emmap.store.core cimport emmap_pin, emmap_root, emmap_store, emmap_txn

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyThreadState_Get() noexcept
    uint64_t PyThreadState_GetID(PyThreadState *state) noexcept


cdef class StoreFile(Placed):
    cdef emmap_store core
    cdef emmap_txn txn              # under way, while `writer` is not 0
    cdef uint64_t writer            # the thread whose transaction it is
    cdef readonly bint inherited    # which it had when it forked us: it is the parent's
    cdef int depth                  # operations and blocks that it is in
    cdef int doomed                 # the error that has spoilt it, or 0
    cdef uint64_t serial            # of the transactions begun here
    cdef list undone                # of the transaction: numbers (from, to) of what was rolled back, or None
    cdef PyObject *latest           # the Moment of the newest root that was pinned, borrowed
    cdef list former                # mappings that were outgrown
    cdef list adopted               # descriptors by which a parent's pins were handed to us
    cdef uint64_t known             # bytes of the file that the mapping knows of
    cdef bint begun                 # the core is to be ended
    cdef readonly object name       # the path, or None

    cdef inline bint is_mine(self) except -1:
        """Has this thread a transaction under way?"""
        return self.writer != 0 and self.is_of_this_thread()

    cdef bint is_of_this_thread(self) except -1
    cdef const emmap_root *look(self) except? NULL
    cdef void leave(self) noexcept
    cdef int claim(self) except -1
    cdef int begin_write(self) except -1
    cdef int end_write(self, int rc, str doing) except -1
    cdef int cancel_write(self) except -1
    cdef int acquire(self) except -1
    cdef bint is_outgrown(self) except -1
    cdef int map_anew(self, uint64_t n) except -1
    cdef void give_up(self) noexcept
    cdef void give_up_one(self) noexcept
    cdef int dooms(self, int rc) noexcept
    cdef int raise_if_lost(self) except -1
    cdef void place_core(self, MappedMemory memory) noexcept
    cdef int recognise(self, int rc) except -1
    cdef int recover(self) except -1
    cdef int ensure_begun(self) except -1
