# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Files that become longer or shorter, by one process at a time.

Whoever changes the length of a file locks one byte of it, far beyond its end, so that a process which
takes a failed growth back cuts off nothing of what another one has added.
"""

from cpython.exc cimport PyErr_CheckSignals

import errno
import os

from emmap.mapping.memory cimport check


cdef extern from "system.h" nogil:
    int emmap_growth_begin(int fd)
    void emmap_growth_end(int lock)
    int emmap_file_take_space(int fd, long long start, long long stop)
    int emmap_file_extend(int fd, long long start, long long stop)

# What is asked of the filesystem at least, when signals come so often that more is never done.
cdef enum:
    SMALLEST_STEP = 1 << 20


cdef int begin(int fd, object name) except -1:
    """Locks the growth of the file, and gives a descriptor of it that is not the user's to close."""
    cdef int lock = -errno.EINTR
    while lock == -errno.EINTR:
        PyErr_CheckSignals()
        with nogil:
            lock = emmap_growth_begin(fd)
    return check(lock, "change the length of the file", name)


def grow_file(int fd, long long size, name):
    """Makes the file `fd` at least `size` bytes long, with space on the disk for every new byte.

    Returns the bytes it had. Raises `OSError` (ENOSPC) on a full disk, and the file is as it was.
    """
    cdef int rc, lock = begin(fd, name)
    cdef long long before, at, step
    try:
        before = at = os.fstat(lock).st_size
        step = size - at
        try:
            while at < size:
                step = min(step, size - at)
                with nogil:
                    rc = emmap_file_take_space(lock, at, at + step)
                if rc == -errno.EINTR:
                    PyErr_CheckSignals()
                    step = max(step // 2, <long long>SMALLEST_STEP)
                else:
                    check(rc, f"grow the file from {before} to {size} bytes", name)
                    at += step
            rc = -errno.EINTR if before < size else 0
            while rc == -errno.EINTR:
                PyErr_CheckSignals()
                with nogil:
                    rc = emmap_file_extend(lock, before, size)
            check(rc, f"grow the file from {before} to {size} bytes", name)
        except BaseException:
            cut(lock, before, size)
            raise
    finally:
        emmap_growth_end(lock)
    return before


def take_growth_back(int fd, long long before, long long after, name):
    """Undoes `grow_file`, unless the file has grown further meanwhile."""
    cdef int lock = begin(fd, name)
    try:
        cut(lock, before, after)
    finally:
        emmap_growth_end(lock)


cdef int cut(int lock, long long before, long long after) except -1:
    """Ends the file where it did, which also gives back the space behind that, unless a stranger has
    made it longer than we wanted."""
    if before <= os.fstat(lock).st_size <= after:
        os.ftruncate(lock, before)
    return 0


def shrink_file(int fd, long long size, name):
    """Makes the file `fd` at most `size` bytes long."""
    cdef int lock = begin(fd, name)
    try:
        if os.fstat(lock).st_size > size:
            os.ftruncate(lock, size)
    finally:
        emmap_growth_end(lock)
