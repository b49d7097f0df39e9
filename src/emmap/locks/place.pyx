# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""What all locks are: a place in mapped bytes, to wait at. It holds the registry of who is alive."""

from cpython.exc cimport PyErr_CheckSignals

cimport cython

import errno
import os
import warnings

from emmap.errors import CorruptFileError, PageLostError
from emmap.locks.files import refuse_devices, refuse_network
from emmap.locks.opening import open_place
from emmap.mapping.memory cimport MappedMemory


cdef extern from "errno.h":
    int EBADF, EBUSY, EINTR, EIO, ESTALE, ETIMEDOUT

cdef extern from "sys/mman.h":
    int MAP_PRIVATE, MAP_TYPE

cdef extern from "life.h" nogil:
    int emmap_life_begin(emmap_life **life, int fd, size_t page)
    void emmap_life_end(emmap_life *life, int holding)
    int emmap_life_stranger(emmap_life *life)
    int emmap_life_is_named(emmap_life *life, const char *name)

cdef extern from "place.h" nogil:
    enum: EMMAP_SOMETHING_ELSE
    enum: EMMAP_OTHER_DEVICE
    int emmap_place_claim(emmap_place *place, int kind, size_t size)

cdef extern from "wait.h" nogil:
    int emmap_wait(emmap_attempt *attempt, void *it, emmap_waiting *waiting, emmap_looks *looks)

# As threading.TIMEOUT_MAX: seconds.
cdef double LONGEST = 9223372036.0


@cython.no_gc_clear  # __dealloc__ needs `memory`
cdef class Placed:
    """Something shared that lies in mapped bytes; the base of all locks."""

    def __cinit__(self, *args, **kwargs):
        if not hasattr(type(self), "SIZE"):
            raise TypeError(f"{type(self).__name__} is what locks have in common: make one of them")

    cdef int settle(self, object place, object offset, int kind, Py_ssize_t size) except -1:
        """Begins at `offset` of a mapping, or in the file of a path, which is made if need be."""
        cdef Py_ssize_t at = offset
        cdef MappedMemory memory
        if isinstance(place, MappedMemory):
            memory = place
        elif at:
            raise ValueError("offset= is a place in a mapping; a file that is named by its path holds "
                             "one lock, at its beginning")
        else:
            memory = open_place(place, size)
            self._path = memory.name
            self.path = os.fsencode(self._path)
        backing = memory._backing
        if backing is None or memory.pages.flags & MAP_TYPE == MAP_PRIVATE:
            raise ValueError("a lock lies in memory that others share: a file opened with mode 'r+', "
                             "or emmap.anonymous(size, shared=True)")
        self.memory = memory
        self.offset = at
        memory.look()
        with backing.descriptor(write=True) as descriptor:
            refuse_network(descriptor.fd, backing.name)
            refuse_devices(descriptor.fd, backing.name)
            self.begin(descriptor.fd, kind, size)
        return 0

    cdef int begin(self, int fd, int kind, Py_ssize_t size) except -1:
        """Takes the place, which nobody closes or protects from now on."""
        cdef MappedMemory memory = self.memory
        cdef Py_ssize_t at = self.offset
        cdef int rc
        memory.look()
        if at < 0 or size > memory.length or at > memory.length - size:
            raise ValueError(f"{type(self).__name__} takes {size} bytes, and leaves the mapping of "
                             f"{memory.length} bytes at offset {at}")
        if <size_t>(memory.data + at) % 16 and size > 8 or <size_t>(memory.data + at) % 8:
            raise ValueError(f"{type(self).__name__} lies at a multiple of {16 if size > 8 else 8} bytes "
                             f"of the file, not at {memory.file_offset + at}")
        memory.prepare_write(at, at + size)
        rc = emmap_life_begin(&self.place.life, fd, memory.pages.page)
        self.expect(rc, "find out who is alive in the file")
        # A view, which may write: until it has gone the pages stay, and stay writable.
        memory.hold()
        memory.writers += 1
        # SAFETY: inside the mapping, as compared above; the guard lives as long as the pages.
        self.place.at = memory.data + at
        self.place.lost = &memory.pages.guard.lost
        if kind == 0:
            return 0
        rc = emmap_place_claim(&self.place, kind, size)
        if rc == EMMAP_SOMETHING_ELSE:
            raise CorruptFileError(f"something else than a {type(self).__name__} lies here: give it "
                                   f"bytes that are zero", memory._backing.name, memory.file_offset + at)
        if rc == EMMAP_OTHER_DEVICE:
            raise OSError(errno.EXDEV, "the lock is in use by another path to the same bytes (an overlay "
                          "and its layer), where nobody sees who of the other side is alive: use one of "
                          "the two", memory._backing.name)
        self.expect(rc, "make a lock")
        return 0

    def __dealloc__(self):
        if self.place.at != NULL:
            self.memory.writers -= 1
            self.memory.let_go()
        if self.place.life != NULL:
            emmap_life_end(self.place.life, self.holding)

    @property
    def mapping(self):
        """The mapping that it lies in. It may be closed: the lock goes on."""
        return self.memory

    cdef str where(self):
        """For messages."""
        name = self.memory._backing.name
        return f"at offset {self.offset} of {'shared memory' if name is None else repr(name)}"

    cdef int expect(self, int rc, str doing) except -1:
        """Raises for a negative errno, but a timeout."""
        if rc >= 0 or rc == -ETIMEDOUT:
            return 0
        name = self.memory._backing.name
        if rc == -EIO:
            self.memory.raise_if_lost(0, self.memory.length)
            raise PageLostError("page lost: the file was truncated, or the disk is full or failed; nothing "
                                "that is written here reaches anybody", name, self.offset)
        if rc == -EBUSY:
            pid = emmap_life_stranger(self.place.life)
            raise OSError(errno.EBUSY, f"{'somebody' if pid <= 0 else f'process {pid}'} has locked the "
                          f"whole file, also the bytes behind 2**62 by which locks tell who is alive: "
                          f"lock its real bytes only (emmap.RangeLock does)", name)
        if rc == -EBADF:
            raise OSError(errno.EBADF, "a descriptor of emmap's was closed by somebody (close_range?), so "
                          "it cannot be told who is alive: open the file again", name)
        raise OSError(-rc, f"{os.strerror(-rc)}, when trying to {doing}", name)

    # Waiting

    cdef int wait(self, emmap_attempt *attempt, void *it, int64_t nanoseconds,
                  emmap_looks *looks) except? -1:
        """Waits without the GIL: what the attempt answered, or -ETIMEDOUT. Other errors are raised.

        SAFETY: `it` is the caller's, and `self` keeps the place.
        """
        cdef emmap_waiting waiting
        cdef int rc = -EINTR
        emmap_waiting_begin(&waiting, nanoseconds)
        while rc == -EINTR:
            with nogil:
                rc = emmap_wait(attempt, it, &waiting, looks)
            if rc == -EINTR:
                self.look_around()
        self.expect(rc, "wait")
        return rc

    cdef int wait_deaf(self, emmap_attempt *attempt, void *it, emmap_looks *looks) except? -1:
        """The same for what must be done whatever signals come: for a lock that is held for moments."""
        cdef emmap_waiting waiting
        cdef int rc = -EINTR
        emmap_waiting_begin(&waiting, -1)
        # SAFETY: `it` is the caller's, and `self` keeps the place.
        with nogil:
            while rc == -EINTR:
                rc = emmap_wait(attempt, it, &waiting, looks)
        self.expect(rc, "wait")
        return rc

    cdef int look_around(self) except -1:
        """What is to be done now and then in a wait: signals, and what the user must know."""
        PyErr_CheckSignals()
        if self.place.life.hidden:
            self.place.life.hidden = 0
            pid = emmap_life_stranger(self.place.life)
            warnings.warn(f"{'somebody' if pid <= 0 else f'process {pid}'} has locked the whole of "
                          f"{self.memory._backing.name}, which hides whether the owner of a lock in it is "
                          f"alive: until then he counts as alive", RuntimeWarning, stacklevel=1)
        return self.look_at_path()

    cdef int look_at_path(self) except -1:
        """Raises when another file has taken the place of the one that the lock was made by."""
        cdef int rc
        if self.path is None:
            return 0
        self.looked = emmap_clock()
        rc = emmap_life_is_named(self.place.life, self.path)
        if rc == -ESTALE:
            raise OSError(errno.ESTALE, "the file of the lock was removed or replaced, so whoever opens it "
                          "by its name now has another lock: make the lock again", self._path)
        return self.expect(rc, "look at the file of the lock")


cdef int64_t nanoseconds_of(object timeout) except? -2:
    """Seconds as a caller gives them: None is for ever (-1), and what is below zero is over at once."""
    cdef double seconds
    if timeout is None:
        return -1
    seconds = timeout
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    if seconds > LONGEST:
        raise OverflowError("timeout value is too large")
    return <int64_t>(max(seconds, 0) * 1e9)


cdef int64_t patience_of(object blocking, object timeout) except? -2:
    """The same for `acquire(blocking, timeout)`, where -1 is for ever."""
    cdef double seconds = timeout
    if not blocking:
        if seconds != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if seconds == -1:
        return -1
    if seconds < 0:
        raise ValueError("timeout value must be a non-negative number")
    return nanoseconds_of(seconds)


def place_again(kind, place, offset, options):
    """The lock of this kind that was pickled: at the same place, by reference."""
    return kind(place, offset=offset, **options)
