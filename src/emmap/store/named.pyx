# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Locks by their names: places in the file that a store's directory knows."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from operator import index

from emmap.locks.condition cimport Condition
from emmap.locks.event cimport Event
from emmap.locks.lock cimport Lock
from emmap.locks.place cimport EMMAP_CONDITION, EMMAP_EVENT, EMMAP_LOCK, EMMAP_RWLOCK, EMMAP_SEMAPHORE, Placed
from emmap.locks.rwlock cimport RWLock
from emmap.locks.semaphore cimport EMMAP_SEMAPHORE_MOST, Semaphore
from emmap.store.core cimport *
from emmap.store.directory cimport find, put
from emmap.store.file cimport StoreFile
from emmap.store.handle cimport Handle
from emmap.store.name cimport Name

from emmap.store.container import KINDS

cdef extern from "errno.h":
    int EFBIG, EUCLEAN

# Arguments are looked at before anything is made: what is made stays.

TYPES = {
    EMMAP_LOCK: Lock,
    EMMAP_RWLOCK: RWLock,
    EMMAP_SEMAPHORE: Semaphore,
    EMMAP_CONDITION: Condition,
    EMMAP_EVENT: Event,
}


def lock(Handle handle not None, name, on_owner_death):
    expect_function(on_owner_death)
    return place(handle, name, EMMAP_LOCK, {"on_owner_death": on_owner_death})


def rwlock(Handle handle not None, name, on_owner_death):
    expect_function(on_owner_death)
    return place(handle, name, EMMAP_RWLOCK, {"on_owner_death": on_owner_death})


def semaphore(Handle handle not None, name, n):
    cdef int64_t permits = index(n)
    cdef Semaphore found
    if permits < 0:
        raise ValueError("semaphore initial value must be >= 0")
    if permits > EMMAP_SEMAPHORE_MOST:
        raise OverflowError(f"a semaphore has {EMMAP_SEMAPHORE_MOST} permits at most")
    found = place(handle, name, EMMAP_SEMAPHORE, {"value": permits})
    if found.core.value != <uint64_t>permits:
        raise ValueError(f"the semaphore {name!r} is there, and began with {found.core.value}, not {permits}")
    return found


def condition(Handle handle not None, name):
    return place(handle, name, EMMAP_CONDITION, {})


def event(Handle handle not None, name):
    return place(handle, name, EMMAP_EVENT, {})


def existing(Handle handle not None, name):
    """What lies there, of whatever kind."""
    cdef emmap_record record
    if not find(handle, None, Name(handle.opened(), name), &record):
        raise KeyError(name)
    return at_record(handle, name, &record, {})


cdef int expect_function(object on_owner_death) except -1:
    if on_owner_death is not None and not callable(on_owner_death):
        raise TypeError(f"on_owner_death is a function of the lock, not {on_owner_death!r}")
    return 0


cdef object place(Handle handle, object name, int tag, dict options):
    """The lock of this name, which is made in a commit of its own if it is not there."""
    cdef emmap_record record
    cdef StoreFile file = handle.opened()
    cdef Name called = Name(file, name)
    if not find(handle, None, called, &record):
        if not handle.writable:
            raise KeyError(name)
        if file.is_mine():
            raise RuntimeError(f"the {TYPES[tag].__name__} {name!r} would be there for others only when this "
                               "transaction ends: make it before")
        make(handle, called, tag, &record)
    if record.kind != EMMAP_A_PLACE or record.tag != tag:
        found = TYPES.get(record.tag) if record.kind == EMMAP_A_PLACE else None
        raise TypeError(f"{name!r} is a {KINDS.get(record.kind) if found is None else found.__name__}, and no "
                        f"{TYPES[tag].__name__}")
    return at_record(handle, name, &record, options)


cdef object at_record(Handle handle, object name, const emmap_record *record, dict options):
    cdef StoreFile file = handle.opened()
    cdef Py_ssize_t size
    kind = TYPES.get(record.tag)
    size = 0 if kind is None else kind.SIZE
    if size == 0 or emmap_block_at(&file.core, record.root, EMMAP_NAMED_PLACE, EMMAP_NAMED_PLACE_AT + size) == NULL:
        file.raise_if_lost()
        file.expect(-EUCLEAN, f"find the lock {name!r}")
    return kind(file.memory, offset=record.root + EMMAP_NAMED_PLACE_AT, **options)


cdef int make(Handle handle, Name name, int tag, emmap_record *record) except -1:
    """Makes a place of zeros, unless somebody was quicker: its record."""
    cdef StoreFile file = handle.to_write()
    cdef uint64_t n = EMMAP_NAMED_PLACE_AT + <uint64_t>TYPES[tag].SIZE
    cdef int rc = 0
    file.begin_write()
    try:
        if not find(handle, None, name, record):
            memset(record, 0, sizeof(record[0]))
            record.kind, record.tag, record.count = EMMAP_A_PLACE, tag, n - EMMAP_NAMED_PLACE_AT
            rc = emmap_prepare(&file.txn, EMMAP_OPERATION + n)
            if rc == -EFBIG:
                file.map_anew(EMMAP_OPERATION + n)
                rc = emmap_prepare(&file.txn, EMMAP_OPERATION + n)
            if rc == 0:
                record.root = emmap_allocate(&file.txn, EMMAP_NAMED_PLACE, n, &rc)
            if rc == 0:
                # SAFETY: a block of our own of so many bytes, the first eight of which are its header.
                memset(file.core.base + record.root + 8, 0, n - 8)
                rc = put(file, name, record)
    except:
        file.cancel_write()
        raise
    return handle.done(file, rc, f"make the {TYPES[tag].__name__} {name.text!r}")
