# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Lock`: one holder at a time, among all threads of all processes that share the bytes."""

import warnings

from emmap.errors import OwnerDiedWarning
from emmap.locks.place cimport EMMAP_ASK, EMMAP_LOCK, EMMAP_SLICE, Placed, emmap_clock, patience_of
from emmap.locks.place import place_again
from emmap.locks.waiter cimport awaited

cdef extern from "errno.h":
    int EAGAIN, EPERM, ETIMEDOUT

cdef object FOREVER = -1


cdef class BaseLock(Placed):
    """What `Lock` and `RLock` have in common: a lock word behind the tag, and what becomes of the dead."""

    cdef int prepare(self, object place, object offset, object on_owner_death, int kind,
                     Py_ssize_t size) except -1:
        if on_owner_death is not None and not callable(on_owner_death):
            raise TypeError(f"on_owner_death is a function of the lock, not {on_owner_death!r}")
        self.on_owner_death = on_owner_death
        self.settle(place, offset, kind, size)
        # SAFETY: the word lies behind the tag, inside the place.
        emmap_lock_begin(&self.core, &self.place, self.place.at + 8)
        return 0

    def __dealloc__(self):
        self.holding |= self.core.word != NULL and emmap_lock_is_mine(&self.core)

    cdef inline bint take(self) except -1:
        """Takes the lock if that is all there is to do."""
        if self.path is not None and emmap_clock() - self.looked > EMMAP_SLICE:
            self.look_at_path()
        return emmap_lock_take(&self.core) == 0

    cdef bint acquire_within(self, int64_t nanoseconds) except -1:
        """Waits so long for the lock (-1: for ever): has it been acquired?"""
        cdef int rc
        self.look_at_path()
        if nanoseconds == 0:
            rc = emmap_lock_attempt(&self.core, EMMAP_ASK, NULL)
            if rc == -EAGAIN:
                return False
            self.expect(rc, "acquire the lock")
        else:
            rc = self.wait(emmap_lock_attempt, &self.core, nanoseconds, &self.core.looks)
            if rc == -ETIMEDOUT:
                return False
        return self.acquired(rc)

    cdef bint acquired(self, int rc) except -1:
        """The lock is ours. Tells of an owner that died; where that raises, the lock is free again."""
        if rc == 0:
            return True
        try:
            if self.on_owner_death is not None:
                self.on_owner_death(self)
                emmap_lock_mark_consistent(&self.core)
            elif rc == EMMAP_OWNER_DIED:
                warnings.warn(
                    f"the owner of the {type(self).__name__} {self.where()} died while it held it: what it "
                    f"guards may be half-written. Repair that and call mark_consistent(), or give "
                    f"on_owner_death=", OwnerDiedWarning, stacklevel=1)
        except BaseException:
            self.let_go()
            raise
        return True

    cdef int let_go(self) except -1:
        return self.released(emmap_lock_release(&self.core))

    cdef int released(self, int rc) except -1:
        if rc == -EPERM:
            raise RuntimeError("release unlocked lock" if emmap_lock_look(&self.core) != EMMAP_OTHERS else
                               "cannot release a lock that another process holds")
        self.expect(rc, "release the lock")
        return 0

    # For a Condition, which lets go of its lock and has it back.

    cdef bint is_owned(self) noexcept:
        """Does the caller hold it? Of a `Lock` that is any thread of the process."""
        return emmap_lock_is_mine(&self.core)

    cdef Py_ssize_t release_all(self) except -1:
        """Releases it, however often it was acquired, and returns how often."""
        self.let_go()
        return 1

    cdef int restore(self, Py_ssize_t count) except -1:
        """Acquires it as often as `release_all` has told, whatever signals come.

        When what is to be told of a dead owner raises, the lock is held all the same.
        """
        cdef int rc = self.acquire_deaf()
        try:
            self.acquired(rc)
        except BaseException:
            self.acquire_deaf()
            self.own(count)
            raise
        self.own(count)
        return 0

    cdef int acquire_deaf(self) except -1:
        """Waits without a look at signals: what the attempt answered."""
        cdef int rc = emmap_lock_take(&self.core)
        return rc if rc == 0 else self.wait_deaf(emmap_lock_attempt, &self.core, &self.core.looks)

    cdef void own(self, Py_ssize_t count) noexcept:
        """Says that it has been acquired so often."""

    def locked(self):
        """Is it held by somebody who is alive? That may be over as soon as it is told.

        Cost: 20 ns where nobody or this process holds it, otherwise a microsecond.
        """
        cdef int rc = emmap_lock_look(&self.core)
        self.expect(rc, "look at the lock")
        return rc == EMMAP_US or rc == EMMAP_OTHERS

    @property
    def owner_died(self):
        """Has an owner died while it held the lock, and nobody called `mark_consistent` since?

        What the lock guards may be half-written. All who acquire it see this, until somebody who
        holds it calls `mark_consistent`.
        """
        cdef int rc = emmap_lock_look(&self.core)
        self.expect(rc, "look at the lock")
        return rc == EMMAP_THE_DEAD or self.core.word[0] & EMMAP_DIED != 0

    def mark_consistent(self):
        """Says that what the lock guards is whole again, after an owner died. Hold the lock.

        Raises `RuntimeError` when this process does not hold it. Cost: 20 ns.
        """
        cdef int rc = emmap_lock_mark_consistent(&self.core)
        if rc == -EPERM:
            raise RuntimeError("only who holds a lock can say that what it guards is consistent: acquire "
                               "it first")
        self.expect(rc, "mark the lock")

    def __reduce__(self):
        return place_again, (type(self), self._path or self.memory, self.offset,
                             {"on_owner_death": self.on_owner_death})

    def __repr__(self):
        state = {EMMAP_NOBODY: "free", EMMAP_US: "held by this process", EMMAP_OTHERS: "held",
                 EMMAP_THE_DEAD: "its owner died"}.get(emmap_lock_look(&self.core), "lost")
        return f"<emmap.{type(self).__name__} {self.where()}: {state}>"


cdef class Lock(BaseLock):
    """A lock that lies in mapped memory: one holder at a time, in whatever thread or process.

    `place` is a `MemoryMap` that others share, in which the lock takes `SIZE` bytes at `offset` (a
    multiple of `ALIGNMENT` in the file, zeros at first); or the path of a file, which is made if
    it is not there and holds this one lock. Every lock at the same bytes is the same lock.

    It does what `threading.Lock` does, among processes too, whether they know each other or not.
    Any thread of the process that holds it may release it. When a process dies while it holds it,
    however it dies, the next one gets the lock and is told: by an `OwnerDiedWarning`, once for each
    death, and by `owner_died`, until `mark_consistent` is called. With `on_owner_death` there is no
    warning: that function is called with the lock, which is held, to repair what it guards, and
    when it returns the data counts as consistent. A living holder is never robbed, however slow.

    A lock is a view of its mapping: it goes on when the mapping is closed, and the memory stays
    until the lock is gone. A child of fork does not hold what its parent holds. It pickles by
    reference. The first lock that a process uses in a file takes a descriptor, and lets go of
    POSIX record locks (`fcntl.lockf`) that the process has on that file, as every close does.

    Raises `ValueError` for a place outside of the mapping, badly aligned, or in private memory;
    `ProtectionError` for one that may not be written; `CorruptFileError` where something else
    lies; and `OSError` (ENOTSUP) on network filesystems, FUSE and 9p.

    Cost: acquire and release 40 ns together when nobody holds it; a death is seen within 50 ms.

    >>> import emmap
    >>> m = emmap.anonymous(64, shared=True)
    >>> lock = emmap.Lock(m, offset=16)
    >>> with lock:
    ...     lock.locked(), emmap.Lock(m, offset=16).acquire(blocking=False)
    (True, False)
    >>> lock.locked()
    False
    """

    SIZE = 16
    ALIGNMENT = 16

    def __cinit__(self, place, *, offset=0, on_owner_death=None):
        self.prepare(place, offset, on_owner_death, EMMAP_LOCK, 16)

    def acquire(self, blocking=True, timeout=-1):
        """Waits for the lock and takes it; True when it is ours.

        With `blocking=False` it does not wait, and with `timeout` it waits so many seconds (-1: for
        ever); False when somebody else still holds it then. Ctrl-C and other signal handlers that
        raise interrupt it. The GIL is free meanwhile.

        Raises `ValueError` for a negative timeout, `PageLostError` when the memory has gone, and
        `OSError` (ESTALE) when the file that the lock was made by has been removed or replaced.
        Cost: 20 ns when it is free; a microsecond when it is let go soon; else about 50 to wake up.
        """
        if blocking is True and timeout is FOREVER and self.take():
            return True
        return self.acquire_within(patience_of(blocking, timeout))

    def release(self):
        """Lets go of the lock, and wakes one of those who wait.

        Raises `RuntimeError` when this process does not hold it. Cost: 20 ns, and a microsecond
        when somebody sleeps.
        """
        cdef int rc = emmap_lock_release(&self.core)
        if rc < 0:
            self.released(rc)

    def __enter__(self):
        return True if self.take() else self.acquire_within(-1)

    def __exit__(self, exc_type, exc_value, traceback):
        cdef int rc = emmap_lock_release(&self.core)
        if rc < 0:
            self.released(rc)

    async def acquire_async(self, timeout=-1):
        """`acquire` for the tasks of an `asyncio` loop, which goes on meanwhile; also `async with`.

        With `timeout` it waits so many seconds (-1: for ever; 0: not at all). When the task is
        cancelled, at whatever moment, the lock is not held, or released again. Who waits longest
        need not be next. `release` is the same for all, and blocks nobody.

        Raises what `acquire` raises. Cost: half a microsecond when it is free, as `asyncio.Lock`;
        else about 50 to be woken, by one thread for all that the process awaits, which looks every
        50 ms whether the holders live.

        >>> import asyncio, emmap
        >>> lock = emmap.Lock(emmap.anonymous(64, shared=True))
        >>> async def main():
        ...     async with lock:
        ...         return await lock.acquire_async(timeout=0)
        >>> asyncio.run(main())
        False
        """
        cdef int64_t patience = patience_of(True, timeout)
        cdef int rc
        if self.take():
            return True
        rc = await awaited(self, emmap_lock_attempt, emmap_lock_undo, &self.core, sizeof(emmap_lock), patience)
        return rc != -ETIMEDOUT and self.acquired(rc)

    async def __aenter__(self):
        return await self.acquire_async()

    async def __aexit__(self, exc_type, exc_value, traceback):
        self.__exit__(exc_type, exc_value, traceback)
