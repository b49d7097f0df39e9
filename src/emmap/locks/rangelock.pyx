# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`RangeLock`: a lock on a range of bytes of a file. ranges.h says how it is held."""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t

import os
from _thread import allocate_lock
from operator import index

from emmap.locks.files import absolute, descriptor_of, find, find_open, refuse_what_has_no_ranges
from emmap.mapping.backing import is_named, name_of
from emmap.mapping.memorymap import MemoryMap


cdef extern from "errno.h":
    int EAGAIN, EBADF, EINTR, EPERM, ESTALE, ETIMEDOUT

cdef extern from "ranges.h" nogil:
    int64_t EMMAP_RANGE_END
    int64_t EMMAP_NEVER
    cdef struct emmap_range:
        int64_t start
        int64_t length
        int shared
        int fd
        char *name
        int held
        emmap_range **link
    int emmap_range_open(emmap_range *range, int fd, const char *name)
    void emmap_range_close(emmap_range *range)
    int emmap_range_try(emmap_range *range)
    int emmap_range_wait(emmap_range *range, int64_t deadline)
    int emmap_range_release(emmap_range *range)
    int emmap_range_locked(emmap_range *range)
    int64_t emmap_range_clock()

# Seconds between two attempts of those who await, doubling from the first to the last.
cdef double SHORTEST_PAUSE = 0.0001, LONGEST_PAUSE = 0.01


cdef class RangeLock:
    """A lock on `length` bytes of a file from `offset` on, that the kernel keeps.

    While it is held, no other RangeLock that overlaps it can be acquired, in this process or any
    other; nor can the record locks of programs that know nothing of emmap (`fcntl.lockf`,
    fcntl(2)). With `shared=True` it is a read lock, which others may hold too, but nobody an
    exclusive one. It is advisory: whoever asks for no lock is not kept from the bytes. However its
    holder ends, the kernel lets it go at once.

    `file` is a path, a descriptor, an open file, or a `MemoryMap` that keeps a descriptor. A path
    that does not exist is created, empty, unless the lock is shared; what is in a file is never
    touched. `offset` and `length` count bytes of the file, for a `MemoryMap` too, and may lie
    behind its end; `length` None is to the end of all that a file can have, which is 2**62 here
    (the bytes behind it are for emmap's own locks). An exclusive lock needs the right to write the
    file, a shared one the right to read it.

    It behaves as `threading.Lock`: a thread that acquires the object while another one (or the same
    one) holds it waits, also when it is shared, and any thread of the process may release it. For
    several readers in one process make several objects. A child of fork holds nothing, and can use
    the object as its own. It pickles by reference: by the name of the file, or that of the memory.

    Each object keeps a descriptor of its own from the start. When the object dies, that is closed,
    and then the system lets go of all locks of `fcntl.lockf` that this process has on the file:
    where you use both, keep the object. (Locks of other RangeLocks stay.)

    Raises `ValueError` for a range that is empty or leaves the file, and `OSError` as `open` does:
    ENOTSUP on network filesystems, FUSE and 9p, whose locks this process cannot rely on. Cost: a
    few system calls.

    >>> import emmap, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "records")
    >>> first, second = emmap.RangeLock(path, 0, 100), emmap.RangeLock(path, 100, 100)
    >>> with first, second:
    ...     emmap.RangeLock(path, 50, 100).acquire(timeout=0.001)
    False
    >>> readers = [emmap.RangeLock(path, shared=True) for _ in range(2)]
    >>> [reader.acquire() for reader in readers]
    [True, True]
    >>> first.acquire(blocking=False)
    False
    """

    cdef emmap_range core
    cdef str _name          # the path when it was made
    cdef object __weakref__
    cdef object memory      # the mapping that it was made for, where the file has no name

    def __cinit__(self, file, offset=0, length=None, *, shared=False):
        # Numbers first: to ask for them may run anything, also close the file.
        self.core.start = _bytes("offset", offset, 0)
        self.core.length = EMMAP_RANGE_END - self.core.start if length is None else \
            _bytes("length", length, 1)
        if self.core.length > EMMAP_RANGE_END - self.core.start:
            raise ValueError(f"the range of {self.core.length} bytes from offset {self.core.start} "
                             f"leaves the file: range locks end at 2**62")
        self.core.shared = bool(shared)
        self.core.fd = -1
        fd = descriptor_of(file)
        if fd is None:
            self._name = absolute(file)
            self.open(find(self._name, create=not self.core.shared), os.fsencode(self._name))
        else:
            self._name = name_of(fd)
            if self._name is None and isinstance(file, MemoryMap):
                self.memory = file
            self.open(find_open(fd), None)

    cdef int open(self, int place, bytes name) except -1:
        """Opens the file that `place` names, and closes that."""
        cdef emmap_range *core = &self.core
        cdef const char *path = NULL
        cdef int rc
        if name is not None:
            path = name
        try:
            refuse_what_has_no_ranges(place, self._name)
            with nogil:  # SAFETY: `self` is the caller's, and `name` is held; the C copies it.
                rc = emmap_range_open(core, place, path)
            if rc < 0:
                self.fail(rc)
        finally:
            os.close(place)
        return 0

    def __dealloc__(self):
        if self.core.link != NULL:
            emmap_range_close(&self.core)

    cdef int fail(self, int rc) except -1:
        """Raises what the C has found."""
        if rc == -EPERM:
            raise RuntimeError("release unlocked lock")
        if rc == -EBADF:
            message = "the descriptor of the lock was closed behind it (which let go of the range): make " \
                      "a new lock"
        elif rc == -ESTALE:
            message = "the file was removed, or replaced by another, since the lock was made: nobody who " \
                      "opens it by its name would respect the lock; make a new one"
        else:
            message = f"{os.strerror(-rc)}, when trying to lock {self.bytes_locked()}"
        raise OSError(-rc, message, self._name)

    cdef str bytes_locked(self):
        return f"{self.core.length} bytes from offset {self.core.start}"

    # As threading.Lock

    cdef bint take(self) except -1:
        """Takes the lock if it is free."""
        # With the GIL: it takes less than a microsecond, and nothing in it waits.
        cdef int rc = emmap_range_try(&self.core)
        if rc < 0 and rc != -EAGAIN:
            self.fail(rc)
        return rc == 0

    cdef bint take_until(self, int64_t deadline) except -1:
        """Waits for the lock. The deadline 0 does not wait, EMMAP_NEVER waits for ever."""
        cdef emmap_range *core = &self.core
        cdef int rc
        if self.take():
            return True
        while deadline != 0:
            with nogil:  # SAFETY: `self` is the caller's, and keeps the range.
                rc = emmap_range_wait(core, deadline)
            if rc == 0:
                return True
            if rc == -ETIMEDOUT:
                return False
            if rc != -EINTR:
                self.fail(rc)
            PyErr_CheckSignals()  # nothing is held meanwhile, whatever the handler does, fork included
        return False

    def acquire(self, blocking=True, timeout=-1):
        """Waits for the range and locks it; whether it is locked now.

        With `blocking=False` it does not wait; `timeout` is the number of seconds to wait at most
        (-1: for ever). Other threads run meanwhile, and a signal such as Ctrl-C ends the wait when
        its handler raises. Who waits for ever is woken by the kernel; who waits with a `timeout`
        looks every 0.1 to 10 milliseconds.

        Raises `ValueError`, `OverflowError` and `TypeError` for timeouts as threading's does, and
        `OSError`: ESTALE when a file given by its path has been removed or replaced since (then
        others lock another file by that name), EBADF when somebody has closed the descriptor.
        Cost: three system calls when nobody holds it, about 2 microseconds.

        >>> import emmap
        >>> with emmap.anonymous(10, shared=True) as memory:
        ...     lock = emmap.RangeLock(memory, 5, 1)
        >>> lock.acquire(), lock.acquire(blocking=False), lock.acquire(timeout=0.001)
        (True, False, False)
        """
        return self.take_until(_deadline(blocking, timeout))

    def release(self):
        """Lets go of the range, and wakes those who wait for it.

        Any thread of the process may call it. Raises `RuntimeError` when this object does not hold
        the range, as in a child of fork. Cost: two system calls, about a microsecond.

        >>> import emmap
        >>> lock = emmap.RangeLock(emmap.anonymous(10, shared=True))
        >>> lock.release()
        Traceback (most recent call last):
        RuntimeError: release unlocked lock
        """
        cdef int rc = emmap_range_release(&self.core)
        if rc < 0:
            self.fail(rc)

    def locked(self):
        """Would `acquire` have to wait: is it held by this object, or by anybody whom it excludes?

        The answer may be out of date at once. Cost: two system calls, one comparison where this
        object holds it.

        >>> import emmap
        >>> memory = emmap.anonymous(10, shared=True)
        >>> lock, other = emmap.RangeLock(memory, 0, 5), emmap.RangeLock(memory, 5, 5)
        >>> with lock:
        ...     lock.locked(), other.locked(), emmap.RangeLock(memory, 4, 2).locked()
        (True, False, True)
        """
        cdef int rc = emmap_range_locked(&self.core)
        if rc < 0:
            self.fail(rc)
        return rc == 1

    def __enter__(self):
        return self.take_until(EMMAP_NEVER)

    def __exit__(self, *exc_info):
        self.release()

    # For event loops

    async def acquire_async(self, timeout=-1):
        """As `acquire`, and the event loop of asyncio runs meanwhile.

        It looks every 0.1 to 10 milliseconds: the kernel tells nobody but a waiting thread that
        such a lock has become free.

        >>> import asyncio, emmap
        >>> lock = emmap.RangeLock(emmap.anonymous(10, shared=True))
        >>> asyncio.run(lock.acquire_async()), asyncio.run(lock.acquire_async(timeout=0.001))
        (True, False)
        """
        from asyncio import sleep

        cdef int64_t deadline = _deadline(True, timeout)
        cdef int64_t now
        pause = SHORTEST_PAUSE
        while not self.take():
            now = emmap_range_clock()
            if now >= deadline:
                return False
            await sleep(min(pause, (deadline - now) / 1e9))
            pause = min(2 * pause, LONGEST_PAUSE)
        return True

    async def __aenter__(self):
        return await self.acquire_async()

    async def __aexit__(self, *exc_info):
        self.release()

    # What it is

    @property
    def name(self):
        """The absolute path of the file when the lock was made; None for a file without a name."""
        return self._name

    @property
    def offset(self):
        """Where the range begins, in bytes from the file's beginning."""
        return self.core.start

    @property
    def length(self):
        """The number of bytes in the range."""
        return self.core.length

    @property
    def shared(self):
        """Is it a read lock, which others may hold too?"""
        return self.core.shared != 0

    def __repr__(self):
        return (f"<emmap.{type(self).__name__} held={self.core.held != 0}, "
                f"{self._name or 'a file without a name'!r}, offset={self.core.start}, "
                f"length={self.core.length}, shared={self.core.shared != 0}>")

    def __reduce__(self):
        place = (type(self), self.core.start, self.core.length, self.core.shared != 0)
        if self._name is not None and (self.core.name != NULL or is_named(self.core.fd, self._name)):
            return _lock_again, (self._name, *place)
        if self.memory is not None:
            return _lock_again, (self.memory, *place)
        raise TypeError("cannot pickle a lock on a file without a name: there is nothing to refer to; "
                        "lock the file by its path, or a MemoryMap of shared memory")


def _lock_again(file, cls, offset, length, shared):
    return cls(file, offset, length, shared=shared)


cdef int64_t _bytes(str what, object number, int least) except -1:
    """A number of bytes below 2**62, as a caller has given it."""
    if isinstance(number, bool):
        raise TypeError(f"{what} is a number of bytes, not {number}")
    value = index(number)
    if not least <= value <= EMMAP_RANGE_END - (1 - least):
        raise ValueError(f"{what} is a number of bytes from {least} on, and the range ends at 2**62 at "
                         f"the latest: not {value}")
    return value


cdef int64_t _deadline(object blocking, object timeout) except -1:
    """What `threading.Lock.acquire` takes, as a time of CLOCK_MONOTONIC in nanoseconds; 0 for at once."""
    cdef double seconds
    if not isinstance(timeout, float):
        timeout = index(timeout)
    if blocking is not True or timeout != -1:
        # A free lock judges the arguments as the standard does, in its words.
        allocate_lock().acquire(blocking, timeout)
    if not blocking or timeout == 0:
        return 0
    if timeout == -1:
        return EMMAP_NEVER
    seconds = timeout
    if seconds >= <double>(EMMAP_NEVER - emmap_range_clock()) / 1e9 - 1:
        return EMMAP_NEVER - 1
    return emmap_range_clock() + <int64_t>(seconds * 1e9)
