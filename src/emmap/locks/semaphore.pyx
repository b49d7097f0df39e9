# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Semaphore`: so many permits, among all threads of all processes that share the bytes."""

import errno
from operator import index

from emmap.locks.place cimport (
    EMMAP_LOOK, EMMAP_SEMAPHORE, EMMAP_SLICE, Placed, emmap_clock, emmap_place_lost, nanoseconds_of
)
from emmap.locks.place import place_again
from emmap.locks.waiter cimport awaited

cdef extern from "errno.h":
    int EAGAIN, ENOSPC, ERANGE, ETIMEDOUT


cdef class Semaphore(Placed):
    """Permits that lie in mapped memory: so many may be held at once, in whatever threads or processes.

    It does what `threading.Semaphore` does, among processes too; with `maximum` what
    `threading.BoundedSemaphore` does: more can never be free. It begins with `value` permits. Where
    one is made already its numbers stay, as with `sem_open`; another `maximum` is refused.

    A permit belongs to the process that acquired it, and **permits of the dead come back**: when a
    process dies, however it dies, what it held is free within 50 ms. Any thread may release, and a
    process that holds none as well: then there is one permit more. So where one process acquires
    and another releases, as for a signal, the acquired ones count as held, and come back when the
    process ends; with `maximum` those above it are dropped. A living holder is never robbed.

    252 processes fit at a time. For `place` and `offset`, and for what the constructor raises, see
    `Lock`; besides `ValueError` for `value` below 0 or above `maximum`, and for another `maximum` than
    the one that is there; `OverflowError` above 2**31 - 1. It pickles by reference.

    Cost: acquire and release 100 ns together when there is a permit.

    >>> import emmap
    >>> pool = emmap.Semaphore(emmap.anonymous(4096, shared=True), 2)
    >>> with pool:
    ...     pool.value, pool.acquire(blocking=False), pool.acquire(blocking=False)
    (1, True, False)
    >>> pool.value
    1
    """

    SIZE = 4096
    ALIGNMENT = 16

    def __cinit__(self, place, value=1, *, maximum=None, offset=0):
        cdef int64_t permits = index(value), bound = -1 if maximum is None else index(maximum)
        cdef int rc
        if permits < 0:
            raise ValueError("semaphore initial value must be >= 0")
        if maximum is not None and bound < permits:
            raise ValueError(f"a semaphore that begins with {permits} permits cannot have a maximum of "
                             f"{bound}")
        if permits > EMMAP_SEMAPHORE_MOST or bound > EMMAP_SEMAPHORE_MOST:
            raise OverflowError(f"a semaphore has {EMMAP_SEMAPHORE_MOST} permits at most")
        self.settle(place, offset, EMMAP_SEMAPHORE, 4096)
        rc = emmap_semaphore_begin(&self.core, &self.place, permits, bound)
        self.expect(rc, "make a semaphore")
        if bound >= 0 and (not self.core.bounded or bound != <int64_t>self.core.maximum):
            raise ValueError(f"the semaphore {self.where()} is there already, and its maximum is "
                             f"{self.maximum}, not {bound}")

    def __dealloc__(self):
        self.holding = self.core.config != NULL and emmap_semaphore_is_held(&self.core)

    cdef int expect(self, int rc, str doing) except -1:
        if rc == -ENOSPC:
            raise OSError(errno.ENOSPC, f"the semaphore {self.where()} has room for {EMMAP_CELLS} processes "
                          f"that use it at a time, and there are so many")
        if rc == -ERANGE and self.core.bounded:
            raise ValueError("Semaphore released too many times")
        if rc == -ERANGE:
            raise OverflowError(f"a semaphore has {EMMAP_SEMAPHORE_MOST} free permits at most")
        return Placed.expect(self, rc, doing)

    cdef bint acquire_within(self, int64_t nanoseconds) except -1:
        """Waits so long for a permit (-1: for ever): has it been acquired?"""
        cdef int rc
        if self.path is not None and emmap_clock() - self.looked > EMMAP_SLICE:
            self.look_at_path()
        rc = emmap_semaphore_attempt(&self.core, EMMAP_LOOK, NULL)
        if rc == 0:
            return True
        if nanoseconds == 0:
            rc = self.wait(emmap_semaphore_try, &self.core, -1, &self.core.looks)
        else:
            rc = self.wait(emmap_semaphore_attempt, &self.core, nanoseconds, &self.core.looks)
        return rc == 0

    cdef int give_back(self, int64_t n) except -1:
        cdef emmap_semaphore_release release
        cdef int rc
        release.semaphore, release.n = &self.core, n
        rc = emmap_semaphore_release_attempt(&release, EMMAP_LOOK, NULL)
        if rc == -EAGAIN:
            rc = self.wait_deaf(emmap_semaphore_release_attempt, &release, &self.core.looks)
        return self.expect(rc, "release the semaphore")

    def acquire(self, blocking=True, timeout=None):
        """Waits for a permit and takes it; True when it is ours.

        With `blocking=False` it does not wait, and with `timeout` it waits so many seconds (None:
        for ever); False when none is free then. Ctrl-C and other signal handlers that raise
        interrupt it. The GIL is free meanwhile.

        Raises `ValueError` for a timeout with `blocking=False`, `PageLostError` when the memory has
        gone, and `OSError`: ENOSPC when 252 other living processes use the semaphore, ESTALE when the
        file that it was made by has been removed or replaced.
        Cost: 50 ns when there is one; about 50 microseconds to wake up. A process's first one asks
        which of the others live, half a microsecond each.
        """
        cdef int64_t patience = 0
        if blocking:
            patience = nanoseconds_of(timeout)
        elif timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        return self.acquire_within(patience)

    def release(self, n=1):
        """Gives `n` permits back, and wakes as many of those who wait.

        What this process does not hold is added. Raises `ValueError` when `n` is below 1, or when
        more than `maximum` would be free, and then releases none. Cost: 50 ns, and a microsecond
        when somebody sleeps.
        """
        cdef int64_t permits = index(n)
        if permits < 1:
            raise ValueError("n must be one or more")
        self.give_back(permits)

    def __enter__(self):
        return self.acquire_within(-1)

    def __exit__(self, exc_type, exc_value, traceback):
        self.give_back(1)

    async def acquire_async(self, timeout=None):
        """`acquire` for the tasks of an `asyncio` loop, which goes on meanwhile; also `async with`.

        With `timeout` it waits so many seconds (None: for ever; 0: not at all). When the task is
        cancelled, at whatever moment, no permit is held: one that was got is given back. `release`
        is the same for all.

        Raises what `acquire` raises. Cost: half a microsecond when there is a permit; else about 50
        to be woken, by one thread for all that the process awaits, which looks every 50 ms whether
        the holders live.

        >>> import asyncio, emmap
        >>> pool = emmap.Semaphore(emmap.anonymous(4096, shared=True), 2)
        >>> async def main():
        ...     async with pool, pool:
        ...         return await pool.acquire_async(timeout=0.01)
        >>> asyncio.run(main())
        False
        """
        cdef int64_t patience = nanoseconds_of(timeout)
        cdef int rc
        if self.path is not None and emmap_clock() - self.looked > EMMAP_SLICE:
            self.look_at_path()
        if emmap_semaphore_attempt(&self.core, EMMAP_LOOK, NULL) == 0:
            return True
        if patience == 0:  # which waits for the inner lock
            rc = await awaited(self, emmap_semaphore_try, emmap_semaphore_undo, &self.core,
                               sizeof(self.core), -1)
        else:
            rc = await awaited(self, emmap_semaphore_attempt, emmap_semaphore_undo, &self.core,
                               sizeof(self.core), patience)
        return rc == 0

    async def __aenter__(self):
        return await self.acquire_async()

    async def __aexit__(self, exc_type, exc_value, traceback):
        self.give_back(1)

    @property
    def value(self):
        """How many permits are free now, those of the dead among them.

        It may be over as soon as it is told. Cost: 50 ns, and half a microsecond for each other
        process that holds some.
        """
        return self.wait(emmap_semaphore_count_attempt, &self.core, -1, &self.core.looks)

    @property
    def maximum(self):
        """How many can be free at most; None: there is no maximum."""
        return self.core.maximum if self.core.bounded else None

    def __reduce__(self):
        return place_again, (type(self), self._path or self.memory, self.offset,
                             {"value": self.core.value, "maximum": self.maximum})

    def __repr__(self):
        cdef int64_t free = emmap_semaphore_look(&self.core)
        state = f"{max(free, 0)} free" if emmap_place_lost(&self.place) == 0 else "lost"
        return f"<emmap.{type(self).__name__} {self.where()}: {state}>"
