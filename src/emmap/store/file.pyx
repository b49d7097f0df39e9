# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`StoreFile`: the file of a store in this process, whichever handles, threads and containers use it."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

cimport cython

import errno
import os
from _weakref import ref

from emmap.errors import AddressSpaceError, CorruptFileError
from emmap.locks.lock cimport (
    emmap_lock,
    emmap_lock_attempt,
    emmap_lock_begin,
    emmap_lock_mark_consistent,
    emmap_lock_release,
    emmap_lock_take,
)
from emmap.locks.place cimport Placed, emmap_place, emmap_waiting, emmap_waiting_begin
from emmap.mapping import open as open_mapping
from emmap.mapping.memory cimport MappedMemory, emmap_lost_any
from emmap.store.core cimport *

cdef extern from "errno.h":
    int E2BIG, EAGAIN, EFBIG, EINTR, EINVAL, EIO, ENOMEM, ENOSPC, ENOTSUP, EOVERFLOW, EPROTO, EROFS, EUCLEAN, EXDEV

cdef extern from "sys/mman.h" nogil:
    enum: MADV_RANDOM
    int madvise(void *start, size_t n, int advice)

# Address space for a file to grow into, in bytes.
cdef object ROOM = 64 << 30

# All that are open, for forks.
_open = {}


@cython.no_gc_clear  # __dealloc__ needs `memory`
cdef class StoreFile(Placed):
    """The mapped file of a store.

    `fd` stays the caller's. `name` is for messages. `reserve` is how many bytes of address space it may
    grow into before it is mapped anew; None is 64 GiB.
    """

    SIZE = EMMAP_BLOCKS_AT

    def __init__(self, int fd, name, reserve):
        cdef int rc
        if self.begun:
            raise TypeError("the file is open")
        self.name = name
        self.former, self.adopted = [], []
        self.core.fd = -1
        size = os.fstat(fd).st_size
        if size < EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH:
            raise CorruptFileError(f"the file of {size} bytes is too short for a store", name)
        self.memory = map_whole(fd, size, ROOM if reserve is None else reserve)
        self.core.fd = os.dup(fd)
        self.core.kernel = &emmap_linux
        self.core.writable = 1
        Placed.begin(self, fd, 0, EMMAP_BLOCKS_AT)
        self.place_core(self.memory)
        self.core.life = self.place.life
        self.recognise(emmap_store_recognise(&self.core))
        rc = emmap_store_begin(&self.core)
        self.begun = True
        if rc == EMMAP_NEEDS_RECOVERY:
            self.recover()
        else:
            self.recognise(rc)
        self.known = self.core.size
        _open[id(self)] = ref(self)

    def __dealloc__(self):
        cdef MappedMemory memory
        _open.pop(id(self), None)
        if self.begun:
            emmap_txn_end(&self.txn)
            emmap_store_end(&self.core)
        if self.core.fd >= 0:
            close(self.core.fd)
        for memory in self.former or ():
            memory.writers -= 1
            memory.let_go()
        for fd in self.adopted or ():
            close(fd)

    cdef void place_core(self, MappedMemory memory) noexcept:
        # SAFETY: the mapping is held, as a view is, until this object goes.
        self.core.base = memory.data
        self.core.room = memory.room
        self.core.lost = &memory.pages.guard.lost
        madvise(memory.data, memory.room, MADV_RANDOM)

    cdef int recognise(self, int rc) except -1:
        if rc == -EINVAL:
            raise CorruptFileError("the file is something else than a store", self.name)
        if rc == -EPROTO:
            raise CorruptFileError("the store is of another version of emmap: use that one", self.name)
        if rc == -ENOTSUP:
            raise CorruptFileError("the store was made on a machine with another byte order", self.name)
        if rc == -EXDEV:
            raise OSError(errno.EXDEV, "the store is in use by another path to the same bytes (an overlay and "
                          "its layer), where nobody sees who of the other side is alive: use one of the two",
                          self.name)
        return self.expect(rc, "open the store")

    cdef int recover(self) except -1:
        """After a reboot, or in a copy. Whoever comes first does it."""
        cdef int rc
        self.acquire()
        with nogil:
            # SAFETY: nobody else has this object yet.
            rc = emmap_recover(&self.core)
            emmap_lock_release(&self.core.lock)
        return self.recognise(rc)

    cdef int expect(self, int rc, str doing) except -1:
        """Raises for a negative errno."""
        if rc >= 0:
            return 0
        if rc == -EUCLEAN:
            what, at = "the store is damaged", self.core.wrong_at
            if self.core.wrong != NULL:
                what = self.core.wrong.decode()
            if at >= self.core.size:
                what, at = f"{what} (at {at}, behind the end of the file)", 0
            raise CorruptFileError(what, self.name, at)
        if rc == -EIO:
            self.memory.look()
        if rc == -ENOMEM:
            raise MemoryError(f"there is no memory to {doing}")
        if rc == -EFBIG:
            raise AddressSpaceError(f"there is no address space to {doing}")
        if rc == -E2BIG:
            raise ValueError("a key has at most 65,535 bytes")
        if rc == -EAGAIN:
            raise BlockingIOError(errno.EAGAIN, "the store has 2,048 readers and snapshots already: end some",
                                  self.name)
        if rc == -EROFS:
            raise OSError(errno.EIO, "an earlier flush has failed, so it is not known what is on the disk: "
                          "close the store everywhere and open it again, which takes it back to its last "
                          "flush", self.name)
        if rc == -ENOSPC:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, when trying to {doing}; the store is as "
                          "it was", self.name)
        return Placed.expect(self, rc, doing)

    cdef int raise_if_lost(self) except -1:
        return self.expect(-EIO, "use the store") if emmap_lost_any(self.core.lost) else 0

    # Reading for a moment, with the GIL held all the time

    cdef int claim(self) except -1:
        """Sees to it that we have a pin: not yet after a fork."""
        if self.core.pin == NULL:
            self.ensure_begun()
            self.recognise(emmap_store_begin(&self.core))
        return 0

    cdef const emmap_root *look(self) except? NULL:
        """Pins the live root, until `leave`. Nothing that runs Python may be called until then."""
        cdef const emmap_root *root
        if self.core.pin == NULL:
            self.claim()
        root = emmap_pin_set(&self.core, self.core.pin)
        if self.is_outgrown():
            self.leave()
            self.map_anew(0)
            return self.look()
        if root == NULL:
            self.expect(emmap_wrong_rc(&self.core), "read the store")
        return root

    cdef bint is_outgrown(self) except -1:
        """Has somebody made the file longer than our mapping? To be asked with a root that is pinned: all that it
        reaches lies before the end that the live words told then."""
        if emmap_live_of(&self.core).size <= self.core.room:
            return False
        return os.fstat(self.core.fd).st_size > self.core.room

    cdef void leave(self) noexcept:
        emmap_pin_clear(self.core.pin)

    # Writing

    cdef bint is_of_this_thread(self) except -1:
        """The part of `is_mine` that is seldom asked. (Numbers of threads are not used again, as idents are.)"""
        if self.writer != PyThreadState_GetID(PyThreadState_Get()):
            return False
        if self.inherited:
            raise RuntimeError("this process was forked inside a transaction, which is its parent's: leave the block "
                               "before you use the store here")
        return True

    cdef int acquire(self) except -1:
        """The writer's lock. What its last owner has not committed when he died does not count."""
        cdef int rc = self.wait(emmap_lock_attempt, &self.core.lock, -1, &self.core.lock.looks)
        if rc > 0:
            emmap_lock_mark_consistent(&self.core.lock)
        return 0

    cdef int begin_write(self) except -1:
        """Begins to write: in the thread's transaction, or in one that ends with `end_write`."""
        cdef int rc
        if self.is_mine():
            if self.doomed:
                raise RuntimeError("an error has spoilt this transaction: leave it by an exception, and nothing "
                                   "of it has been done")
            self.depth += 1
            return 0
        if emmap_lock_take(&self.core.lock) != 0:
            self.acquire()
        try:
            if self.is_outgrown():
                self.map_anew(0)
        except:
            emmap_lock_release(&self.core.lock)
            raise
        rc = emmap_begin(&self.txn, &self.core)
        if rc != 0:
            emmap_lock_release(&self.core.lock)
            self.expect(rc, "write to the store")
        self.writer = PyThreadState_GetID(PyThreadState_Get())
        self.undone = None
        self.depth = 1
        self.doomed = 0
        self.serial += 1
        return 0

    cdef int dooms(self, int rc) noexcept:
        """After such an error the transaction's own copy may be half-changed."""
        return rc == -EUCLEAN or rc == -EIO or rc == -ENOMEM or rc == -EOVERFLOW

    cdef int end_write(self, int rc, str doing) except -1:
        """Ends what `begin_write` has begun, which went well or not; raises for the latter."""
        if self.inherited:
            self.cancel_write()
            raise RuntimeError("this process was forked in the middle of it: what was written is the parent's")
        self.depth -= 1
        if self.depth > 0:
            if self.dooms(rc):
                self.doomed = rc
            return self.expect(rc, doing)
        if self.doomed and rc >= 0:
            rc = self.doomed
        if rc >= 0:
            rc = emmap_commit(&self.txn)
        else:
            emmap_rollback(&self.txn)
        self.writer = 0
        emmap_lock_release(&self.core.lock)
        if self.core.size != self.known:
            self.known = self.core.size
            self.memory.look()
        return self.expect(rc, doing) if rc < 0 else 0

    cdef int cancel_write(self) except -1:
        """Ends what `begin_write` has begun, and nothing of it has been done."""
        self.give_up_one()
        return 0

    cdef void give_up_one(self) noexcept:
        """As cancel_write, where nothing may be raised."""
        self.depth -= 1
        if self.depth == 0:
            self.give_up()

    cdef void give_up(self) noexcept:
        """Drops the transaction, whoever has it."""
        self.depth = 0
        self.writer = 0
        if self.inherited:
            self.inherited = False  # the lock is the parent's
            return
        emmap_rollback(&self.txn)
        emmap_lock_release(&self.core.lock)

    cdef int map_anew(self, uint64_t n) except -1:
        """Maps the file with more room: for `n` bytes more than it has.

        Who has the old mapping may go on with it: it shows the same pages.
        """
        cdef MappedMemory memory, old = self.memory
        cdef unsigned char *before = self.core.base
        size = os.fstat(self.core.fd).st_size
        wanted = max(2 * self.core.room, 2 * (size + n) + (4 << 20))
        memory = map_whole(self.core.fd, size, wanted)
        if memory.room < size + n + (1 << 20):
            raise AddressSpaceError(f"there are no {wanted} bytes of address space to map the store anew")
        memory.hold()
        memory.writers += 1
        self.former.append(old)
        self.memory = memory
        self.place_core(memory)
        self.place.at, self.place.lost = memory.data, self.core.lost
        # SAFETY: all of these lie in the file, at the same places of both mappings.
        move_lock(&self.core.lock, self, before)
        move_lock(&self.core.flush_lock, self, before)
        if self.core.pin != NULL:
            self.core.pin = <emmap_pin *>(self.core.base + (<unsigned char *>self.core.pin - before))
        if self.writer:
            self.txn.space = <emmap_space *>(self.core.base + (<unsigned char *>self.txn.space - before))
            self.txn.before = <emmap_space *>(self.core.base + (<unsigned char *>self.txn.before - before))
        return 0

    # For the handles

    def is_writing(self):
        """Has this thread a transaction under way?"""
        return self.is_mine()

    def flush(self):
        """Makes all that is committed by now survive a power loss."""
        cdef emmap_waiting waiting
        cdef int rc = -EINTR
        self.ensure_begun()
        if self.is_mine():
            raise RuntimeError("a transaction of this thread is under way: flush when it has ended")
        emmap_waiting_begin(&waiting, -1)
        while rc == -EINTR:
            with nogil:
                # SAFETY: the caller keeps this object.
                rc = emmap_flush(&self.core, &waiting)
            if rc == -EINTR:
                self.look_around()
        self.expect(rc, "flush the store")

    def check(self):
        """Walks over all that is in the store, while writers wait."""
        cdef emmap_trace trace
        cdef int rc
        self.ensure_begun()
        if self.is_mine():
            raise RuntimeError("a transaction of this thread is under way: check when it has ended")
        memset(&trace, 0, sizeof(trace))
        self.look()     # maps the file anew where others have made it longer
        self.leave()
        self.acquire()
        with nogil:
            # SAFETY: the caller keeps this object, and the lock keeps writers away.
            rc = emmap_check(&self.core, &trace)
            emmap_trace_end(&trace)
            emmap_lock_release(&self.core.lock)
        self.expect(rc, "check the store")

    def figures(self):
        """What `Statistics` is made of. It waits for nobody."""
        cdef emmap_oldest oldest
        cdef emmap_figures figures
        cdef emmap_live *live = emmap_live_of(&self.core)
        cdef int rc, told
        self.ensure_begun()
        rc = emmap_oldest_pin(&self.core, &oldest)
        told = emmap_figures_of(&self.core, &figures)
        if told == -EAGAIN:
            raise BlockingIOError(errno.EAGAIN, "the store changes too fast to be told in numbers: try again", self.name)
        self.expect(told, "look at the store")
        self.raise_if_lost()
        return {
            "size": self.core.size, "room": self.core.room,
            "used": figures.used, "free": figures.free, "held": figures.held,
            "names": figures.names, "transaction": figures.txn,
            "readers": oldest.pins,
            "oldest": (oldest.pid, oldest.txn, oldest.since) if rc == 0 else None,
            "flushes": live.flushes, "last_flush": live.flushed,
        }

    cdef int ensure_begun(self) except -1:
        if not self.begun:
            raise TypeError("no file was opened")
        return 0

    def _forked(self):
        """In a child: what was under way is the parent's, and pins are taken anew."""
        self.core.pin = NULL
        self.latest = NULL
        if self.writer == 0:
            return
        # Whatever another thread was about in it is left as it lies.
        memset(&self.txn, 0, sizeof(self.txn))
        self.inherited = self.writer == PyThreadState_GetID(PyThreadState_Get())
        if not self.inherited:
            self.writer = 0
            self.depth = 0


cdef extern from "unistd.h" nogil:
    int close(int fd)


cdef void move_lock(emmap_lock *lock, StoreFile file, unsigned char *before) noexcept:
    # SAFETY: see `enlarge`.
    cdef emmap_place place = lock.place
    place.at, place.lost = file.core.base + (place.at - before), file.core.lost
    emmap_lock_begin(lock, &place, <void *>(file.core.base + (<unsigned char *>lock.word - before)))


cdef MappedMemory map_whole(int fd, size, room):
    try:
        return open_mapping(fd, "r+", reserve=max(room, size))
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise AddressSpaceError(f"there is no address space for a store of {size} bytes") from None


def create_store(int fd):
    """Fills an empty file, which nobody else knows of, with an empty store. It is not flushed.

    Raises `OSError`.
    """
    cdef emmap_store core
    cdef MappedMemory memory
    cdef emmap_place place
    cdef Placed placed = NewPlace(fd)
    memory = placed.memory
    memset(&core, 0, sizeof(core))
    core.base, core.room, core.lost = memory.data, memory.length, placed.place.lost
    core.life, core.fd, core.kernel, core.writable = placed.place.life, fd, &emmap_linux, 1
    core.size = memory.length
    # SAFETY: `placed` holds the mapping.
    placed.expect(emmap_store_create(&core), "make the store")


cdef class NewPlace(Placed):
    """The bytes of a store that is being made."""

    SIZE = EMMAP_BLOCKS_AT

    def __init__(self, int fd):
        os.posix_fallocate(fd, 0, EMMAP_BLOCKS_AT + EMMAP_LEAST_GROWTH)
        self.memory = open_mapping(fd, "r+")
        self.begin(fd, 0, EMMAP_BLOCKS_AT)


def _in_child():
    for weak in list(_open.values()):
        file = weak()
        if file is not None:
            file._forked()


os.register_at_fork(after_in_child=_in_child)
