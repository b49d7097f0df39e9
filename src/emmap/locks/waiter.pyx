# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Awaiting: what the awaitable twins (`acquire_async` and so on) have in common.

One thread a process waits for all that is awaited in all its loops. It makes the same attempts as
`emmap_wait` makes, and sleeps at the words of all of them at once. It is there only while something is
awaited. An awaitable method is written so::

    async def acquire_async(self, timeout=-1):
        cdef int rc = await awaited(self, emmap_lock_attempt, emmap_lock_undo, &self.core,
                                    sizeof(self.core), patience_of(True, timeout))
        return rc != -ETIMEDOUT and self.acquired(rc)

- `awaited` makes an attempt at once, and no thread has to do with it when that ends it. All attempts work
  on a copy of the `size` bytes at `it`, so these must not point to themselves. What an attempt leaves
  there for later is read from the request's `it`, as long as that lives.
- The outcome is what the attempt answered (0 or more), or -ETIMEDOUT; other errors are raised, unless the
  class's `expect` lets them pass.
- From there to the `return` nothing may be awaited: what raises there must undo the acquisition itself,
  as `acquired` does.
- When nobody will get the outcome, since the task is cancelled, the coroutine closed or its loop closed, at
  whatever moment, and when an error is raised, `undo(it, rc, how, sleep)` sees to it that nothing is left: `rc`
  is the outcome, as 0 for a lock that was acquired, or less than 0 when there was none. NULL: there is nothing
  to undo, as for an event. It is a function of C, called with the GIL held in any thread, and never in a
  forked child. While it answers -EAGAIN, as an attempt does, the thread goes on with it, and nobody waits.
  What an attempt leaves in the mapping when time is up is for the method itself to take away.

All attempts, and all changes of a request's state, are made with the GIL held: so a request is either
still waited for or has its outcome, whichever thread looks at it.
"""

cimport cython

from libc.stdint cimport INT64_MAX, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.unistd cimport getpid

from emmap.locks.place cimport (EMMAP_ANNOUNCE, EMMAP_ASK, EMMAP_SLEPT, EMMAP_SLICE, Placed, emmap_attempt,
                                emmap_sleep)

cdef extern from "errno.h":
    int EAGAIN, ETIMEDOUT

cdef extern from "waitv.h" nogil:
    cdef struct emmap_sleeper:
        pass
    int64_t emmap_sleeper_clock()
    void emmap_sleeper_begin(emmap_sleeper *sleeper)
    void emmap_sleeper_add(emmap_sleeper *sleeper, const emmap_sleep *word)
    void emmap_sleeper_sleep(emmap_sleeper *sleeper, int64_t until)
    void emmap_sleeper_call(emmap_sleeper *sleeper)
    void emmap_sleep_hand_on(const emmap_sleep *sleep)

# The states of a request, in the order in which they come.
cdef enum:
    WAITING     # attempts are made
    ENDED       # there is an outcome, which the coroutine has not got yet
    UNDOING     # nobody wants it, and it cannot be taken back yet
    OVER        # the coroutine has got it, or it is taken back

# Nanoseconds after which a thread that has nothing to do ends.
cdef int64_t IDLE = 1000000000

cdef emmap_sleeper sleeper


@cython.final
@cython.no_gc_clear  # `undo` needs `placed`
cdef class Request:
    """One wait that a coroutine awaits."""

    def __await__(self):
        """Waits, and gives the outcome."""
        if self.placed is None:
            raise RuntimeError("what is awaited comes from a lock, and is awaited once")
        if self.state == WAITING:
            try:
                self.begin()
                yield from self.future
            except BaseException:
                self.withdraw()
                raise
            if self.state != ENDED:
                raise RuntimeError("the process ends, or the loop was closed: nothing is waited for any more")
        placed, error = self.placed, self.error
        if error is None and (self.rc >= 0 or self.rc == -ETIMEDOUT):
            self.state = OVER
            self.forget()
            return self.rc
        self.withdraw()
        if error is not None:
            raise error
        (<Placed>placed).expect(self.rc, "wait")
        return self.rc

    def __dealloc__(self):
        free(self.it)

    cdef int begin(self) except -1:
        """Leaves it to the thread."""
        self.pid = getpid()
        from asyncio import get_running_loop
        self.loop = get_running_loop()
        self.future = self.loop.create_future()
        waiter.add(self)
        return 0

    cdef bint go_on(self, int64_t now, bint ask) except -1:
        """One attempt, in the thread. Is it to be called again?"""
        cdef Placed placed = self.placed
        cdef int rc
        if self.state == UNDOING:
            self.take_back(EMMAP_ANNOUNCE | EMMAP_SLEPT | (EMMAP_ASK if ask else 0))
            if self.state == UNDOING:
                emmap_sleeper_add(&sleeper, &self.sleep)
        elif ask and self.state != OVER and self.loop.is_closed():
            self.withdraw()
        if ask and self.state == WAITING:
            try:
                placed.look_around()
            except BaseException as error:
                self.end(-EAGAIN, error)
        if self.state == WAITING:
            # SAFETY: `placed` keeps the place.
            rc = self.attempt(self.it, EMMAP_ANNOUNCE | (EMMAP_ASK if ask else 0) |
                              (EMMAP_SLEPT if self.slept else 0), &self.sleep)
            if rc == -EAGAIN and now < self.until:
                self.slept = True
                emmap_sleeper_add(&sleeper, &self.sleep)
            else:
                self.end(-ETIMEDOUT if rc == -EAGAIN else rc, None)
        return self.state != OVER

    cdef int end(self, int rc, object error) except -1:
        """There is an outcome: has the loop's thread go on with it."""
        if self.state == WAITING:
            self.rc = rc
            self.error = error
            self.state = ENDED
            self.until = INT64_MAX
            try:
                self.loop.call_soon_threadsafe(self.tell)
            except BaseException:  # the loop was closed
                self.withdraw()
        return 0

    def tell(self):
        """In the loop's thread: wakes the coroutine."""
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    cdef void withdraw(self) noexcept:
        """Nobody wants the outcome: what was got, or left on the way, is taken back."""
        cdef int state = self.state
        if state == UNDOING or state == OVER:
            return
        self.state = UNDOING
        self.until = INT64_MAX
        self.error = self.loop = self.future = None
        # The thread may have been woken in the place of another sleeper.
        if state == WAITING and self.slept:
            emmap_sleep_hand_on(&self.sleep)
        self.take_back(EMMAP_ASK)
        if state == WAITING or self.state == UNDOING:
            emmap_sleeper_call(&sleeper)

    cdef void take_back(self, int how) noexcept:
        """Undoes it, at once or as soon as the thread can. A forked child has nothing of its parent's."""
        # SAFETY: `placed` keeps the place.
        if (self.undo == NULL or self.pid != 0 and self.pid != getpid() or
                self.undo(self.it, self.rc, how, &self.sleep) != -EAGAIN):
            self.state = OVER
            self.forget()

    cdef void forget(self) noexcept:
        """Lets go of the place, which the thread may hear of later."""
        self.placed = self.error = self.loop = self.future = None


@cython.final
cdef class Waiter:
    """The thread, when there is one, and what it waits for."""

    cdef list requests      # in the order in which they came; the thread's own
    cdef list arrived       # since it last looked
    cdef object thread
    cdef int pid            # whose thread that is

    cdef int add(self, Request request) except -1:
        if self.pid != request.pid:  # a forked child has no thread, and nothing of what its parent awaits
            self.requests, self.arrived, self.thread = [], [], None
            if self.pid == 0:
                import atexit
                atexit.register(self.stop)
            self.pid = request.pid
        self.arrived.append(request)
        if self.thread is not None:
            emmap_sleeper_call(&sleeper)
            return 0
        from threading import Thread
        self.thread = thread = Thread(target=self.run, name="emmap-waiter", daemon=True)
        try:
            thread.start()
        except BaseException:
            self.thread = None  # the next one finds the request, which is withdrawn
            raise
        return 0

    def run(self):
        """The thread: makes attempts for all, sleeps at all their words, and ends when it is idle."""
        cdef int64_t now, until, asked = 0, busy = 0
        cdef Request request
        cdef list left
        cdef bint ask
        try:
            while True:
                emmap_sleeper_begin(&sleeper)
                now = emmap_sleeper_clock()
                ask = now - asked >= EMMAP_SLICE
                if ask:
                    asked = now
                until = asked + EMMAP_SLICE
                self.requests += self.arrived
                self.arrived = []
                left = []
                for request in self.requests:
                    if request.go_on(now, ask):
                        left.append(request)
                        until = min(until, request.until)
                self.requests = left
                if left:
                    busy = now
                elif not self.arrived:
                    if now - busy >= IDLE:
                        break
                    until = busy + IDLE
                request = left = None
                # SAFETY: the sleeper is static, and nobody else uses it but to call.
                with nogil:
                    emmap_sleeper_sleep(&sleeper, until)
        finally:
            self.thread = None

    def stop(self):
        """At the end of the process: what nobody will use any more is given back."""
        cdef Request request
        for request in self.requests + self.arrived:
            request.withdraw()


cdef Waiter waiter = Waiter()


cdef Request awaited(Placed placed, emmap_attempt *attempt, emmap_undo *undo, void *it, size_t size,
                     int64_t nanoseconds):
    """Something to `await`: the outcome of attempts, for so long (-1: for ever)."""
    cdef Request request = Request.__new__(Request)
    cdef int64_t now
    placed.look_at_path()
    request.it = malloc(size)
    if request.it == NULL:
        raise MemoryError()
    # SAFETY: `it` is the caller's, and `placed` keeps the place.
    memcpy(request.it, it, size)
    request.placed = placed
    request.attempt = attempt
    request.undo = undo
    request.rc = attempt(request.it, EMMAP_ASK, &request.sleep)
    request.state = ENDED
    if request.rc == -EAGAIN:
        if nanoseconds == 0:
            request.rc = -ETIMEDOUT
        else:
            now = emmap_sleeper_clock()
            request.until = INT64_MAX if nanoseconds < 0 or nanoseconds > INT64_MAX - now else now + nanoseconds
            request.state = WAITING
    return request
