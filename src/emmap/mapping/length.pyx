# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The length of a file, which one thread of one process changes at a time. length.h says how."""

from cpython.exc cimport PyErr_CheckSignals

import errno
import os
import sys
from _thread import allocate_lock
from weakref import WeakSet

from emmap.mapping.memory cimport check


cdef extern from "length.h" nogil:
    int emmap_length_open(int fd)
    int emmap_length_grow(int lock, long long to, int publish, long long *step, long long *before)
    void emmap_length_give_back(int lock)
    int emmap_length_shrink(int lock, long long to, long long unless_above)

cdef extern from "system.h" nogil:
    cdef struct emmap_file:
        size_t device
        size_t inode
    int emmap_file_look(int fd, emmap_file *file)
    int close(int fd)

_all = WeakSet()


cdef class FileLength:
    """Changes the length of one open file.

    It keeps a descriptor of its own from the first change until `close`: to close any descriptor of
    a file lets go of all POSIX locks that the process has on it, which may be the user's.
    """

    cdef int lock
    cdef object mutex       # threads share the description, so it does not exclude them
    cdef bint doomed        # it was to be closed while a thread worked with it
    cdef object __weakref__

    def __cinit__(self):
        self.lock = -1
        self.mutex = allocate_lock()
        _all.add(self)

    def close(self):
        """Closes the descriptor, when no thread works with it any more."""
        cdef int lock
        if not self.mutex.acquire(False):
            self.doomed = True
            return
        lock, self.lock, self.doomed = self.lock, -1, False
        self.mutex.release()
        if lock >= 0:
            close(lock)

    def __dealloc__(self):
        if self.lock >= 0:
            close(self.lock)

    cdef int open(self, int fd, object name) except -1:
        """Opens the file `fd` again, and sees that it is the same one: numbers are given away."""
        cdef emmap_file before, after
        if self.lock < 0:
            check(emmap_file_look(fd, &before), "look at the file", name)
            self.lock = check(emmap_length_open(fd), "change the length of the file", name)
            check(emmap_file_look(self.lock, &after), "look at the file", name)
            if before.device != after.device or before.inode != after.inode:
                self.close()
                raise OSError(errno.EBADF, f"descriptor {fd} was closed behind the mapping", name)
        return 0

    def take_space(self, int fd, long long size, name):
        """Takes the space for `size` bytes on the disk, and leaves the file's end where it is."""
        return self.lengthen(fd, size, False, name)

    def grow(self, int fd, long long size, name):
        """Makes the file `fd` at least `size` bytes long, with space on the disk for every new byte.

        Returns the bytes it had. Raises `OSError` (ENOSPC) on a full disk, and the file is as it
        was; EINVAL for what is no regular file.
        """
        return self.lengthen(fd, size, True, name)

    cdef object lengthen(self, int fd, long long size, bint publish, object name):
        cdef long long before = 0, step = max(size, <long long>1)
        cdef int rc = -errno.EINTR
        self.open(fd, name)
        try:
            while rc == -errno.EINTR:
                PyErr_CheckSignals()  # never while anything is locked: a handler may grow the file too
                self.mutex.acquire()
                try:
                    with nogil:
                        rc = emmap_length_grow(self.lock, size, publish, &step, &before)
                finally:
                    self.let_go()
        except BaseException:
            emmap_length_give_back(self.lock)
            raise
        if rc < 0:
            fail(rc, f"grow the file from {before} to {size} bytes", name)
        return before

    def shrink(self, int fd, long long size, name, unless_above=sys.maxsize):
        """Makes the file `fd` at most `size` bytes long, unless it has more than `unless_above`."""
        cdef int rc = -errno.EINTR
        self.open(fd, name)
        while rc == -errno.EINTR:
            PyErr_CheckSignals()
            rc = self.shorten(size, unless_above)
        if rc < 0:
            fail(rc, f"end the file at {size} bytes", name)

    cdef int shorten(self, long long size, long long unless_above) except 1:
        cdef int rc
        self.mutex.acquire()
        try:
            with nogil:
                rc = emmap_length_shrink(self.lock, size, unless_above)
        finally:
            self.let_go()
        return rc

    cdef int let_go(self) except -1:
        self.mutex.release()
        if self.doomed:
            self.close()
        return 0


cdef int fail(int rc, str doing, object name) except -1:
    return check(rc, f"{doing} (only a regular file has a length)" if rc == -errno.EINVAL else doing, name)


def grow_file(int fd, long long size, name):
    """`FileLength.grow` of a file that is not mapped."""
    length = FileLength()
    try:
        return length.grow(fd, size, name)
    finally:
        length.close()


def take_growth_back(int fd, long long before, long long after, name):
    """Undoes `grow_file`, unless the file has grown further meanwhile."""
    length = FileLength()
    try:
        length.shrink(fd, before, name, after)
    finally:
        length.close()


def _after_fork_in_child():
    # The parent's locks would live on in our copies of its descriptors, even if it is killed.
    cdef FileLength length
    for length in list(_all):
        length.mutex = allocate_lock()
        length.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
