# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Event`: a flag that threads and processes wait for."""

from libc.stdint cimport int64_t

from emmap.locks.place cimport EMMAP_EVENT, EMMAP_SLICE, Placed, emmap_clock, emmap_looks, nanoseconds_of
from emmap.locks.place import place_again
from emmap.locks.waiter cimport awaited

cdef extern from "errno.h":
    int ETIMEDOUT

# How many looks are worth while before sleeping is learnt in common.
cdef emmap_looks looks


cdef class Event(Placed):
    """A flag in mapped memory that is set by some and waited for by others, in whatever process.

    For `place`, `offset` and what the constructor raises, see `Lock`. It takes `SIZE` bytes, and
    is not set at first. It does what `threading.Event` does. All who wait when it is set go on,
    also when it is cleared at once. It has no owner, so no death leaves it half-done: when the
    process that sets it is killed in the middle of that, it is set or it is not, and who waits
    sees it within 50 ms.

    It pickles by reference, and stays as it is when those who use it end.

    Cost: to set, clear or ask 20 ns; to wake sleepers a microsecond and more.

    >>> import emmap
    >>> event = emmap.Event(emmap.anonymous(16, shared=True))
    >>> event.wait(timeout=0.01)
    False
    >>> event.set()
    >>> event.wait()
    True
    """

    SIZE = 16
    ALIGNMENT = 16

    def __cinit__(self, place, *, offset=0):
        self.settle(place, offset, EMMAP_EVENT, 16)
        emmap_event_begin(&self.core, &self.place)

    cdef inline int glance_at_path(self) except -1:
        """Looks whether the path leads elsewhere, now and then."""
        if self.path is not None and emmap_clock() - self.looked > EMMAP_SLICE:
            self.look_at_path()
        return 0

    def is_set(self):
        """Is it set?

        Raises `PageLostError` when the memory has gone, and `OSError` (ESTALE) when the file that
        the event was made by has been removed or replaced. Cost: 20 ns.
        """
        self.glance_at_path()
        cdef int rc = emmap_event_is_set(&self.core)
        self.expect(rc, "look at the event")
        return rc != 0

    def set(self):
        """Sets it, and wakes all who wait. What was written before is seen by them.

        Raises as `is_set`. Cost: 20 ns, and a microsecond or more when somebody sleeps.
        """
        self.glance_at_path()
        self.expect(emmap_event_set(&self.core), "set the event")

    def clear(self):
        """Clears it: who waits from now on waits until it is set again.

        Raises as `is_set`. Cost: 20 ns.
        """
        self.glance_at_path()
        self.expect(emmap_event_clear(&self.core), "clear the event")

    def wait(self, timeout=None):
        """Waits until it is set, at most `timeout` seconds: has it been set?

        Ctrl-C and other signal handlers that raise interrupt it. The GIL is free meanwhile. Raises
        as `is_set`. Cost: 40 ns when it is set; a microsecond when it soon is; else about 50 to
        wake up.
        """
        cdef int64_t patience = nanoseconds_of(timeout)
        cdef emmap_event_wait it
        if self.is_set():
            return True
        if patience == 0:
            return False
        self.look_at_path()
        emmap_event_wait_begin(&it, &self.core)
        return (<Placed>self).wait(emmap_event_attempt, &it, patience, &looks) != -ETIMEDOUT

    async def wait_async(self, timeout=None):
        """`wait` for the tasks of an `asyncio` loop, which goes on meanwhile.

        Raises as `is_set`. Cost: half a microsecond when it is set; else about 50 to wake up, in
        one thread for all that the process awaits.

        >>> import asyncio, emmap
        >>> event = emmap.Event(emmap.anonymous(16, shared=True))
        >>> async def main():
        ...     asyncio.get_running_loop().call_soon(event.set)
        ...     return await event.wait_async()
        >>> asyncio.run(main())
        True
        """
        cdef int64_t patience = nanoseconds_of(timeout)
        cdef emmap_event_wait it
        cdef int rc
        emmap_event_wait_begin(&it, &self.core)
        rc = await awaited(self, emmap_event_attempt, NULL, &it, sizeof(it), patience)
        return rc != -ETIMEDOUT

    def __reduce__(self):
        return place_again, (type(self), self._path or self.memory, self.offset, {})

    def __repr__(self):
        state = {0: "unset", 1: "set"}.get(emmap_event_is_set(&self.core), "lost")
        return f"<emmap.Event {self.where()}: {state}>"
