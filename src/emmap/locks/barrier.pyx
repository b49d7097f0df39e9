# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Barrier`: parties that wait for one another."""

from libc.stdint cimport int64_t, uint64_t

from operator import index as index_of

from emmap.locks.place cimport EMMAP_BARRIER, Placed, emmap_looks, nanoseconds_of
from emmap.locks.place import place_again
from emmap.locks.waiter cimport Request, awaited

cdef extern from "errno.h":
    int EINVAL, ETIMEDOUT

# How many looks are worth while before sleeping is learnt in common.
cdef emmap_looks looks


cdef int broke() except -1:
    from threading import BrokenBarrierError
    raise BrokenBarrierError


cdef class Barrier(Placed):
    """A meeting point in mapped memory: threads of whatever processes wait until all are there.

    For `place`, `offset` and what else the constructor raises, see `Lock`. It takes `SIZE` bytes.
    `parties` is how many meet, 1 to 252, the same for all who use the place. One of them calls
    `action`, its own, before they go on; `timeout` in seconds is for the calls of `wait` that are
    given none.

    It does what `threading.Barrier` does, and raises `threading.BrokenBarrierError` (a
    `RuntimeError`). It breaks when a party is killed that has arrived, within 50 ms, also the one
    that runs the action; and nobody passes who meets a party that is dead by then. Either all who
    have arrived pass or all find it broken, wherever somebody is killed. It stays broken until
    somebody calls `reset`, also when all who used it have ended.

    It pickles by reference, with its action and timeout.

    Cost: 50 microseconds to wake up; a microsecond for each process when the last one arrives, who
    asks whether the others live.

    >>> import emmap
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> barrier = emmap.Barrier(emmap.anonymous(4096, shared=True), 2)
    >>> with ThreadPoolExecutor(2) as pool:
    ...     sorted(pool.map(lambda _: barrier.wait(), range(2)))
    [0, 1]
    """

    SIZE = 4096
    ALIGNMENT = 16

    def __cinit__(self, place, parties, action=None, timeout=None, *, offset=0):
        cdef object number = index_of(parties)
        cdef uint64_t agreed
        if not 1 <= number <= EMMAP_MOST_WAITERS:
            raise ValueError(f"a Barrier has room for 1 to {EMMAP_MOST_WAITERS} parties, not {number}")
        if action is not None and not callable(action):
            raise TypeError(f"action is a function without arguments, not {action!r}")
        nanoseconds_of(timeout)
        agreed = number
        self.action = action
        self.timeout = timeout
        self.settle(place, offset, EMMAP_BARRIER, 4096)
        cdef int rc = emmap_barrier_begin(&self.core, &self.place, &agreed)
        if rc == -EINVAL:
            raise ValueError(f"the Barrier {self.where()} has {agreed} parties, not {number}")
        self.expect(rc, "make a barrier")

    cdef int run(self, emmap_barrier_wait *it, int64_t patience) except? -1:
        return (<Placed>self).wait(emmap_barrier_attempt, it, patience, &looks)

    cdef int finish(self, emmap_barrier_wait *it, emmap_barrier_step step) except -1:
        """What must be done whatever signals come; it takes no longer than an inner lock."""
        it.step = step
        return self.wait_deaf(emmap_barrier_attempt, it, &looks)

    def wait(self, timeout=None):
        """Waits until all parties are there: a number from 0 to `parties - 1`, another for each.

        At most `timeout` seconds; then the barrier breaks. While the last ones have not left yet
        it waits for them first, and while the action runs for that, as long as it takes. Ctrl-C
        and other signal handlers that raise interrupt it: the others wait on for another party.
        The GIL is free meanwhile.

        Raises `threading.BrokenBarrierError` when the barrier is broken or breaks, or is reset
        meanwhile; what the action raises; `PageLostError` when the memory has gone, and `OSError`
        (ESTALE) when the file that the barrier was made by has been removed or replaced.
        """
        cdef int64_t patience = nanoseconds_of(self.timeout if timeout is None else timeout)
        cdef emmap_barrier_wait it
        cdef int rc
        self.look_at_path()
        emmap_barrier_wait_begin(&it, &self.core, EMMAP_BARRIER_ARRIVE)
        it.has_action = self.action is not None
        try:
            rc = self.run(&it, patience)
            if rc == -ETIMEDOUT:
                it.time_is_up = True
                rc = self.run(&it, -1)
        except BaseException:
            emmap_barrier_leave(&it)
            raise
        return self.passed(&it, rc)

    cdef int passed(self, emmap_barrier_wait *it, int rc) except -1:
        """What a wait returns that was answered so; the one who is to run the action runs it."""
        if rc == EMMAP_BARRIER_ACT:
            try:
                self.action()
            except BaseException:
                self.finish(it, EMMAP_BARRIER_BREAK)
                raise
            rc = self.finish(it, EMMAP_BARRIER_RELEASE)
        if rc == EMMAP_BARRIER_BROKE:
            broke()
        return it.index

    async def wait_async(self, timeout=None):
        """`wait` for the tasks of an `asyncio` loop, which goes on meanwhile.

        The action, a plain function, is called in the loop's thread. When the task is cancelled
        the others wait on for another party; only if it was about to run the action, the barrier
        breaks.

        Raises as `wait`. Cost: about 50 microseconds to wake up.

        >>> import asyncio, emmap
        >>> barrier = emmap.Barrier(emmap.anonymous(4096, shared=True), 2)
        >>> async def main():
        ...     return sorted(await asyncio.gather(barrier.wait_async(), barrier.wait_async()))
        >>> asyncio.run(main())
        [0, 1]
        """
        cdef int64_t patience = nanoseconds_of(self.timeout if timeout is None else timeout)
        cdef emmap_barrier_wait it
        cdef emmap_barrier_wait *mine
        cdef Request request
        cdef int rc
        emmap_barrier_wait_begin(&it, &self.core, EMMAP_BARRIER_ARRIVE)
        it.has_action = self.action is not None
        request = awaited(self, emmap_barrier_attempt, emmap_barrier_undo, &it, sizeof(it), patience)
        # SAFETY: `request` keeps it, here and below.
        mine = <emmap_barrier_wait *>request.it
        rc = await request
        if rc == -ETIMEDOUT:
            mine.time_is_up = True
            try:
                request = awaited(self, emmap_barrier_attempt, emmap_barrier_undo, mine, sizeof(it), -1)
            except BaseException:
                emmap_barrier_leave(mine)
                raise
            mine = <emmap_barrier_wait *>request.it
            rc = await request
        return self.passed(mine, rc)

    def reset(self):
        """Makes it as new. Those who wait get `threading.BrokenBarrierError`.

        Cost: a microsecond.
        """
        cdef emmap_barrier_wait it
        self.look_at_path()
        emmap_barrier_wait_begin(&it, &self.core, EMMAP_BARRIER_RESET)
        self.run(&it, -1)

    def abort(self):
        """Breaks it: who waits, and who comes, gets `threading.BrokenBarrierError`, until a reset.

        Cost: a microsecond.
        """
        cdef emmap_barrier_wait it
        self.look_at_path()
        emmap_barrier_wait_begin(&it, &self.core, EMMAP_BARRIER_BREAK)
        self.run(&it, -1)

    @property
    def parties(self):
        """How many meet."""
        return self.core.parties

    @property
    def n_waiting(self):
        """How many living ones wait now. Cost: a microsecond for each of another process."""
        cdef int rc = emmap_barrier_count(&self.core)
        self.expect(rc, "look at the barrier")
        return rc

    @property
    def broken(self):
        """Is it broken? The death of a party is found by those who wait, or come to."""
        cdef int rc = emmap_barrier_is_broken(&self.core)
        self.expect(rc, "look at the barrier")
        return rc != 0

    def __reduce__(self):
        return place_again, (type(self), self._path or self.memory, self.offset,
                             {"parties": self.core.parties, "action": self.action,
                              "timeout": self.timeout})

    def __repr__(self):
        broken = emmap_barrier_is_broken(&self.core)
        waiting = emmap_barrier_count(&self.core)
        state = "lost" if broken < 0 or waiting < 0 else (
            "broken" if broken else f"{waiting} of {self.core.parties} waiting")
        return f"<emmap.Barrier {self.where()}: {state}>"
