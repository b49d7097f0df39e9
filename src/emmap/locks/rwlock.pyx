# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`RWLock`: many readers at a time or one writer, among all processes that share the bytes."""

import errno

cimport cython
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memset

from emmap.locks.lock cimport (
    EMMAP_OTHERS, EMMAP_US, BaseLock, emmap_lock_look, emmap_lock_mark_consistent
)
from emmap.locks.place cimport (
    EMMAP_ASK, EMMAP_LOOK, EMMAP_RWLOCK, EMMAP_SLICE, Placed, emmap_clock, patience_of
)
from emmap.locks.waiter cimport Request, awaited

cdef extern from "errno.h":
    int EAGAIN, ENOSPC, EOWNERDEAD, EPERM, ETIMEDOUT

cdef object FOREVER = -1


cdef class RWLock(BaseLock):
    """A lock that lies in mapped memory: many readers at a time, or one writer.

    `with lock.read():` shares the data with other readers, `with lock.write():` has it alone. A writer
    who waits goes before readers who come after him, so readers never starve writers. Read and
    write holds belong to the process: any of its threads may release them.

    **Read holds of the dead** count no more: a writer who waits for them goes on. When a **writer
    dies**, the next to come in, to read or to write, is told: by an `OwnerDiedWarning`, once for
    each death, and by `owner_died`, until a writer calls `mark_consistent`. With `on_owner_death` there
    is no warning: that function is called with the lock, which is held to write, before anybody
    else of those who gave one comes in. A living holder is never robbed, however slow.

    A thread that reads and wants to write waits for itself, and so does one that wants to read
    again while a writer waits: release first. 252 processes fit at a time. For `place` and `offset`
    and for what the constructor raises see `Lock`. It pickles by reference.

    Cost: read and release 65 ns together when nobody writes; write and release 115 ns, and half a
    nanosecond for each process that has ever read. A death is seen within 50 ms.

    >>> import emmap
    >>> lock = emmap.RWLock(emmap.anonymous(4096, shared=True))
    >>> with lock.read(), lock.read():
    ...     lock.readers, lock.acquire_write(blocking=False)
    (2, False)
    >>> with lock.write():
    ...     lock.write_locked, lock.acquire_read(blocking=False)
    (True, False)
    """

    SIZE = 4096
    ALIGNMENT = 16

    def __cinit__(self, place, *, offset=0, on_owner_death=None):
        self.prepare(place, offset, on_owner_death, EMMAP_RWLOCK, 4096)
        emmap_rwlock_begin(&self.rwlock, &self.place, on_owner_death is not None)

    def __dealloc__(self):
        self.holding |= self.rwlock.writing != NULL and emmap_rwlock_is_read(&self.rwlock)

    cdef int expect(self, int rc, str doing) except -1:
        if rc == -ENOSPC:
            raise OSError(errno.ENOSPC, f"the lock {self.where()} has room for {EMMAP_CELLS} processes that "
                          f"read at a time, and there are so many")
        if rc == -EOWNERDEAD: # no error: read_within goes on
            return 0
        return Placed.expect(self, rc, doing)

    # Reading

    cdef inline bint take_read(self) except -1:
        """Comes in to read if that is all there is to do."""
        if self.path is not None and emmap_clock() - self.looked > EMMAP_SLICE:
            self.look_at_path()
        return emmap_rwlock_take_read(&self.rwlock) == 0

    cdef bint read_within(self, int64_t nanoseconds) except -1:
        """Waits so long to read (-1: for ever): are we in?"""
        cdef int64_t until = emmap_clock() + min(nanoseconds, INT64_MAX // 2)
        cdef int rc = -EOWNERDEAD
        self.look_at_path()
        while True:
            if nanoseconds == 0:
                rc = emmap_rwlock_read_attempt(&self.rwlock, EMMAP_ASK, NULL)
            else:
                rc = self.wait(emmap_rwlock_read_attempt, &self.rwlock, nanoseconds, &self.rwlock.looks)
            if rc != -EOWNERDEAD:
                break
            # A reader cannot repair: so he writes first, which calls on_owner_death.
            if not self.write_within(nanoseconds, True):
                return False
            if nanoseconds > 0:
                nanoseconds = max(until - emmap_clock(), 0)
        if rc == -EAGAIN or rc == -ETIMEDOUT:
            return False
        self.expect(rc, "read")
        return self.acquired(rc)

    cdef int let_go_of_read(self) except -1:
        cdef int rc = emmap_rwlock_release_read(&self.rwlock)
        if rc == -EPERM:
            raise RuntimeError("cannot release a read lock that this process does not hold")
        return self.expect(rc, "release the lock")

    def read(self):
        """A context manager: the block reads, beside other readers; also with `async with`.

        `with lock.read():` is `acquire_read`, and `release_read` at the end of the block. It may be
        used again, also inside of itself.
        """
        cdef Reading reading = Reading.__new__(Reading)
        reading.lock = self
        return reading

    def acquire_read(self, blocking=True, timeout=-1):
        """Waits until nobody writes or waits to write, and comes in to read; True when we are in.

        With `blocking=False` it does not wait, and with `timeout` it waits so many seconds (-1: for
        ever). As `Lock.acquire` in all else; besides it raises `OSError` (ENOSPC) when 252 other
        living processes read. Cost: 20 ns when nobody writes; a process's first time asks which
        of the others live, half a microsecond each.
        """
        if blocking is True and timeout is FOREVER and self.take_read():
            return True
        return self.read_within(patience_of(blocking, timeout))

    def release_read(self):
        """Ends a read, and wakes the writer who waits for that.

        Raises `RuntimeError` when this process does not read. Cost: 20 ns.
        """
        self.let_go_of_read()

    async def acquire_read_async(self, timeout=-1):
        """`acquire_read` for the tasks of an `asyncio` loop, which goes on meanwhile.

        With `timeout` it waits so many seconds (-1: for ever; 0: not at all). When the task is
        cancelled, at whatever moment, we are not in, or out again. `release_read` is the same for
        all, and blocks nobody. A task that awaits to write keeps out those that come to read.

        Raises what `acquire_read` raises. Cost: half a microsecond when nobody writes; else about
        50 to be woken.

        >>> import asyncio, emmap
        >>> lock = emmap.RWLock(emmap.anonymous(4096, shared=True))
        >>> async def main():
        ...     async with lock.read():
        ...         return await lock.acquire_read_async(), await lock.acquire_write_async(timeout=0)
        >>> asyncio.run(main())
        (True, False)
        """
        cdef int64_t patience = patience_of(True, timeout)
        cdef int64_t until = emmap_clock() + min(patience, INT64_MAX // 2)
        cdef int rc = -EOWNERDEAD
        if self.take_read():
            return True
        while True:
            rc = await awaited(self, emmap_rwlock_read_attempt, emmap_rwlock_read_undo, &self.rwlock,
                               sizeof(self.rwlock), patience)
            if rc != -EOWNERDEAD:
                break
            # A reader cannot repair: so he writes first, which calls on_owner_death.
            if not await self._write_async(patience, True):
                return False
            if patience > 0:
                patience = max(until - emmap_clock(), 0)
        return rc != -ETIMEDOUT and self.acquired(rc)

    # Writing

    cdef bint write_within(self, int64_t nanoseconds, bint to_repair) except -1:
        """Waits so long to write (-1: for ever): do we? `to_repair`: has it been repaired?"""
        cdef emmap_rwlock_write write
        cdef int rc
        memset(&write, 0, sizeof(write))
        write.rwlock, write.to_repair = &self.rwlock, to_repair
        if self.path is not None and emmap_clock() - self.looked > EMMAP_SLICE:
            self.look_at_path()
        try:
            rc = emmap_rwlock_write_attempt(&write, EMMAP_ASK if nanoseconds == 0 else EMMAP_LOOK, NULL)
            if rc == -EAGAIN and nanoseconds != 0:
                rc = self.wait(emmap_rwlock_write_attempt, &write, nanoseconds, &self.core.looks)
        finally:
            emmap_rwlock_write_give_up(&write)
        if rc == -EAGAIN or rc == -ETIMEDOUT:
            return False
        self.expect(rc, "write")
        return self.written(rc, to_repair)

    cdef bint written(self, int rc, bint to_repair) except -1:
        """What becomes of an answer: one who writes to repair does that, and writes no longer."""
        if rc != EMMAP_REPAIRED:
            self.acquired(rc)
            if to_repair:
                self.let_go()
        return True

    cdef int let_go(self) except -1:
        """Releases what has just been acquired: nobody reads where we write."""
        if emmap_rwlock_is_written(&self.rwlock):
            return self.released(emmap_rwlock_release_write(&self.rwlock))
        return self.let_go_of_read()

    def write(self):
        """A context manager: the block writes, alone; also with `async with`.

        `with lock.write():` is `acquire_write`, and `release_write` at the end of the block.
        """
        cdef Writing writing = Writing.__new__(Writing)
        writing.lock = self
        return writing

    def acquire_write(self, blocking=True, timeout=-1):
        """Keeps new readers out, waits for those who are in, and has the data alone; True when it has.

        For `blocking` and `timeout`, and for what it raises, see `Lock.acquire`.
        """
        return self.write_within(patience_of(blocking, timeout), False)

    def release_write(self):
        """Ends a write, and wakes those who wait.

        Raises `RuntimeError` when this process does not write. Cost: 20 ns, and a microsecond when
        somebody sleeps.
        """
        self.released(emmap_rwlock_release_write(&self.rwlock))

    async def acquire_write_async(self, timeout=-1):
        """`acquire_write` for the tasks of an `asyncio` loop, which goes on meanwhile.

        With `timeout` it waits so many seconds (-1: for ever; 0: not at all). When the task is
        cancelled, at whatever moment, nothing is held, and nobody kept out. `release_write` is the
        same for all, and blocks nobody.

        Raises what `acquire_write` raises. Cost: half a microsecond when nobody is in; else about
        50 to be woken.

        >>> import asyncio, emmap
        >>> lock = emmap.RWLock(emmap.anonymous(4096, shared=True))
        >>> async def main():
        ...     async with lock.write():
        ...         return await lock.acquire_read_async(timeout=0.01)
        >>> asyncio.run(main())
        False
        """
        return await self._write_async(patience_of(True, timeout), False)

    async def _write_async(self, int64_t patience, bint to_repair):
        """`write_within` for tasks."""
        cdef emmap_rwlock_write write
        cdef Request request
        cdef int rc
        memset(&write, 0, sizeof(write))
        write.rwlock, write.to_repair = &self.rwlock, to_repair
        request = awaited(self, emmap_rwlock_write_attempt, emmap_rwlock_write_undo, &write, sizeof(write),
                          patience)
        rc = await request
        if rc == -ETIMEDOUT:
            # SAFETY: `request` keeps it.
            emmap_rwlock_write_give_up(<emmap_rwlock_write *>request.it)
            return False
        return self.written(rc, to_repair)

    # State

    @property
    def write_locked(self):
        """Does somebody who is alive write, or wait for the last readers to leave?"""
        cdef int rc = emmap_lock_look(&self.core)
        self.expect(rc, "look at the lock")
        return rc == EMMAP_US or rc == EMMAP_OTHERS

    @property
    def readers(self):
        """How many reads are going on, in all living processes. Cost: half a microsecond for each."""
        cdef int64_t readers = emmap_rwlock_readers(&self.rwlock)
        self.expect(<int>min(readers, 0), "look at the lock")
        return readers

    def locked(self):
        """Does anybody who is alive read or write? That may be over as soon as it is told."""
        return self.write_locked or self.readers > 0

    def mark_consistent(self):
        """Says that what the lock guards is whole again, after a writer died. Be the writer.

        Raises `RuntimeError` when this process does not write. Cost: 20 ns.
        """
        if not emmap_rwlock_is_written(&self.rwlock):
            raise RuntimeError("only who writes can say that what the lock guards is consistent: acquire it "
                               "to write first")
        self.expect(emmap_lock_mark_consistent(&self.core), "mark the lock")

    def __repr__(self):
        try:
            if self.write_locked:
                state = "written"
            else:
                state = f"{self.readers} readers" if self.readers else "free"
            if self.owner_died:
                state += ", a writer died"
        except OSError:
            state = "lost"
        return f"<emmap.{type(self).__name__} {self.where()}: {state}>"


@cython.final
@cython.freelist(8)
@cython.nonecheck(True)  # type(lock.read())() has no lock
cdef class Reading:
    """What `RWLock.read` gives: a block of it reads."""

    def __enter__(self):
        return True if self.lock.take_read() else self.lock.read_within(-1)

    def __exit__(self, exc_type, exc_value, traceback):
        self.lock.let_go_of_read()

    async def __aenter__(self):
        return await self.lock.acquire_read_async()

    async def __aexit__(self, exc_type, exc_value, traceback):
        self.lock.let_go_of_read()


@cython.final
@cython.freelist(8)
@cython.nonecheck(True)  # type(lock.read())() has no lock
cdef class Writing:
    """What `RWLock.write` gives: a block of it writes."""

    def __enter__(self):
        return self.lock.write_within(-1, False)

    def __exit__(self, exc_type, exc_value, traceback):
        self.lock.released(emmap_rwlock_release_write(&self.lock.rwlock))

    async def __aenter__(self):
        return await self.lock.acquire_write_async()

    async def __aexit__(self, exc_type, exc_value, traceback):
        self.lock.released(emmap_rwlock_release_write(&self.lock.rwlock))
