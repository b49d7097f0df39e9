# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Condition`: waiting for what others do under a lock."""

from libc.stdint cimport int64_t, uint64_t
from posix.unistd cimport getpid

cimport cython

import errno
from time import monotonic

from emmap.locks.lock cimport BaseLock, Lock, emmap_lock, emmap_lock_attempt, emmap_lock_undo
from emmap.locks.place cimport EMMAP_CONDITION, Placed, emmap_looks, nanoseconds_of
from emmap.locks.rlock cimport RLock
from emmap.locks.place import place_again
from emmap.locks.waiter cimport awaited

cdef extern from "errno.h":
    int ENOSPC

# Where in the place a lock of its own lies: a whole RLock, with a tag.
cdef enum:
    LOCK_AT = 32

# How many looks are worth while before sleeping is learnt in common.
cdef emmap_looks looks


class WithoutLockError(RuntimeError):
    """A wait has ended, and its caller does not hold the lock."""


@cython.no_gc_clear
cdef class Condition(Placed):
    """A condition variable in mapped memory: who holds its lock waits in it to be notified.

    For `place`, `offset` and what the constructor raises, see `Lock`. It takes `SIZE` bytes, in
    which up to 252 threads can wait at once, of whatever processes. `lock` is the `Lock` or
    `RLock` that goes with it, anywhere, the same for all who use the condition; without one it
    has an `RLock` of its own in its place, `condition.lock`.

    It does what `threading.Condition` does. `notify` chooses those who have waited longest. The
    dead are passed over, and when one dies after it was notified, before its `wait` has returned,
    then another one that was waiting at the time of the notify is notified in its stead, within
    50 ms; likewise where `wait` raises. No notify is lost in this way, but one may be doubled, so
    wait in a loop, as `wait_for` does. When the holder of the lock dies, the next one who has it is
    told, in `wait` too: see `Lock`.

    It pickles by reference.

    Cost: to acquire and release 0.2 microseconds; to notify when nobody waits 40 ns; to wake one about
    50 microseconds.

    >>> import emmap
    >>> m = emmap.anonymous(4096, shared=True)
    >>> condition = emmap.Condition(m)
    >>> with condition:
    ...     condition.wait(timeout=0.01)
    False
    >>> with condition:
    ...     condition.notify_all()
    """

    SIZE = 4096
    ALIGNMENT = 16

    def __cinit__(self, place, lock=None, *, offset=0):
        cdef RLock own
        if lock is not None and not isinstance(lock, (Lock, RLock)):
            raise TypeError(f"the lock of a Condition is an emmap.Lock or an emmap.RLock, not {lock!r}")
        self.settle(place, offset, EMMAP_CONDITION, 4096)
        emmap_condition_begin(&self.core, &self.place)
        if lock is None:
            own = RLock(self.memory, offset=self.offset + LOCK_AT)
            own.path = self.path
            self.own_lock = True
            lock = own
        self.lock = lock

    cdef int enter(self, emmap_condition_wait *it) except -1:
        """Takes a cell to wait in. The caller holds the lock."""
        self.look_at_path()
        if not self.lock.is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        cdef int rc = emmap_condition_enter(&self.core, it)
        if rc == -ENOSPC:
            raise OSError(errno.ENOSPC, "252 threads, as many as a Condition has room for, wait in it "
                          "already", self.memory._backing.name)
        return self.expect(rc, "wait")

    def acquire(self, blocking=True, timeout=-1):
        """Acquires the lock: see there."""
        return self.lock.acquire(blocking, timeout)

    def release(self):
        """Releases the lock: see there."""
        self.lock.release()

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, exc_type, exc_value, traceback):
        self.lock.__exit__(exc_type, exc_value, traceback)

    def wait(self, timeout=None):
        """Releases the lock, waits to be notified, and acquires it again: was it notified?

        At most `timeout` seconds pass before it tries to acquire the lock, which takes as long as
        somebody holds it. It holds the lock when it returns and also when it raises, unless its
        memory has gone. Ctrl-C and other signal handlers that raise interrupt the wait, but not
        the acquiring. The GIL is free meanwhile.

        Raises `RuntimeError` when the caller does not hold the lock, `OSError` (ENOSPC) when 252
        threads wait already, and what `acquire` raises. Cost: about 50 microseconds to wake up.
        """
        cdef int64_t patience = nanoseconds_of(timeout)
        cdef emmap_condition_wait it
        cdef Py_ssize_t count
        self.enter(&it)
        try:
            count = self.lock.release_all()
            try:
                if patience != 0:
                    (<Placed>self).wait(emmap_condition_attempt, &it, patience, &looks)
            finally:
                self.lock.restore(count)
        except BaseException:
            emmap_condition_abandon(&it)
            raise
        # It may have been notified while it waited for the lock.
        return emmap_condition_leave(&it) != 0

    async def wait_async(self, timeout=None):
        """`wait` for the tasks of an `asyncio` loop, which goes on meanwhile; also `async with`.

        The condition's lock is a `Lock`, given to the constructor: an `RLock` belongs to a thread,
        and all tasks of a loop are one thread (`TypeError`). When the task is cancelled it has the
        lock again before `CancelledError` is raised, and a notify that it got is passed on. When
        the coroutine is closed (it cannot await any more then) while somebody holds the lock,
        `RuntimeError` is raised without it, which `async with` knows.

        Raises as `wait`. Cost: about 50 microseconds to wake up.

        >>> import asyncio, emmap
        >>> m = emmap.anonymous(8192, shared=True)
        >>> condition = emmap.Condition(m, emmap.Lock(m, offset=4096))
        >>> async def main():
        ...     async with condition:
        ...         return await condition.wait_async(timeout=0.01)
        >>> asyncio.run(main())
        False
        """
        cdef int64_t patience = nanoseconds_of(timeout)
        cdef emmap_condition_wait it
        cdef int pid = getpid()
        if not isinstance(self.lock, Lock):
            raise TypeError("a task waits in a Condition that is made with an emmap.Lock: an RLock belongs "
                            "to a thread, and all tasks of a loop are one thread")
        self.enter(&it)
        try:
            self.lock.release_all()
            try:
                if patience != 0:
                    await awaited(self, emmap_condition_attempt, NULL, &it, sizeof(it), patience)
            except GeneratorExit:
                self.restore_at_once(pid)
                raise
            except BaseException:
                await self._restore_async(pid)
                raise
            await self._restore_async(pid)
        except BaseException:
            if pid == getpid():  # a forked child waits for nothing
                emmap_condition_abandon(&it)
            raise
        # It may have been notified while it waited for the lock.
        return emmap_condition_leave(&it) != 0

    async def _restore_async(self, int pid):
        """Acquires the lock again, however often the task is cancelled meanwhile.

        When what is to be told of a dead owner raises, the lock is held all the same.
        """
        from asyncio import CancelledError
        cdef Lock lock = self.lock
        cdef bint is_told = False
        cdef int rc
        raised = None
        while True:
            try:
                rc = await awaited(lock, emmap_lock_attempt, emmap_lock_undo, &lock.core, sizeof(emmap_lock), -1)
            except CancelledError as error:
                raised = error
                continue
            except GeneratorExit:
                self.restore_at_once(pid)
                raise
            if is_told:
                break
            try:
                lock.acquired(rc)
                break
            except BaseException as error:
                raised = error
                is_told = True
        if raised is not None:
            raise raised

    cdef int restore_at_once(self, int pid) except -1:
        """Acquires the lock for a coroutine that is closed, if it is free."""
        if pid != getpid() or not self.lock.acquire(False):
            raise WithoutLockError(
                "the coroutine was closed while it waited in a Condition, and somebody holds the lock")
        return 0

    async def wait_for_async(self, predicate, timeout=None):
        """`wait_for` for the tasks of an `asyncio` loop; the predicate is a plain function.

        Raises as `wait_async`, and what the predicate raises.

        >>> import asyncio, emmap
        >>> m = emmap.anonymous(8192, shared=True)
        >>> condition = emmap.Condition(m, emmap.Lock(m, offset=4096))
        >>> async def main():
        ...     async with condition:
        ...         return await condition.wait_for_async(lambda: "it is so")
        >>> asyncio.run(main())
        'it is so'
        """
        nanoseconds_of(timeout)
        left, until = timeout, None
        result = predicate()
        while not result:
            if until is not None:
                left = until - monotonic()
                if left <= 0:
                    break
            elif timeout is not None:
                until = monotonic() + timeout
            await self.wait_async(left)
            result = predicate()
        return result

    async def __aenter__(self):
        if not isinstance(self.lock, Lock):
            raise TypeError("a task enters a Condition that is made with an emmap.Lock: an RLock belongs to "
                            "a thread, and all tasks of a loop are one thread")
        return await self.lock.acquire_async()

    async def __aexit__(self, exc_type, exc_value, traceback):
        if not isinstance(exc_value, WithoutLockError):
            self.lock.__exit__(exc_type, exc_value, traceback)

    def wait_for(self, predicate, timeout=None):
        """Waits until `predicate()`, called with the lock held, is true: what it returned last.

        After `timeout` seconds that may be false. Raises as `wait`, and what the predicate raises.

        >>> import emmap
        >>> condition = emmap.Condition(emmap.anonymous(4096, shared=True))
        >>> with condition:
        ...     condition.wait_for(lambda: "it is so")
        'it is so'
        """
        nanoseconds_of(timeout)
        left, until = timeout, None
        result = predicate()
        while not result:
            if until is not None:
                left = until - monotonic()
                if left <= 0:
                    break
            elif timeout is not None:
                until = monotonic() + timeout
            self.wait(left)
            result = predicate()
        return result

    cdef int notify_some(self, uint64_t n) except -1:
        if not self.lock.is_owned():
            raise RuntimeError("cannot notify on un-acquired lock")
        return self.expect(emmap_condition_notify(&self.core, n), "notify")

    def notify(self, n=1):
        """Wakes `n` of those who wait, the ones who have waited longest, or as many as there are.

        They go on when the lock is released. Raises `RuntimeError` when the caller does not hold
        it. Cost: 40 ns when nobody waits, otherwise a few microseconds for each.
        """
        cdef object count = n
        self.notify_some(max(0, min(count, EMMAP_MOST_WAITERS)))

    def notify_all(self):
        """Wakes all who wait. As `notify` in all else."""
        self.notify_some(EMMAP_MOST_WAITERS)

    def __reduce__(self):
        return place_again, (type(self), self._path or self.memory, self.offset,
                             {} if self.own_lock else {"lock": self.lock})

    def __repr__(self):
        return (f"<emmap.Condition {self.where()}: {emmap_condition_count(&self.core)} waiting, "
                f"lock {self.lock!r}>")
