# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""The names in a store: what each stands for, made, renamed and removed."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from emmap.store.core cimport *
from emmap.store.moment cimport moment_of
from emmap.store.reading cimport decode_key

from emmap.store.container import KINDS

A_DICT = EMMAP_A_DICT
A_LIST = EMMAP_A_LIST
AN_ARRAY = EMMAP_AN_ARRAY

cdef extern from "errno.h":
    int EFBIG


cdef bint find(Handle handle, Moment moment, Name name, emmap_record *record) except -1:
    """Is there something of that name? Its record, at the moment or as this thread sees it now."""
    cdef StoreFile file
    cdef const emmap_record *found = NULL
    cdef int rc
    if moment is not None:
        moment.ensure()
        file = moment.file
        rc = emmap_record_find(&file.core, moment.directory, &name.key, &found)
    else:
        file = handle.opened()
        if file.is_mine():
            rc = emmap_record_find(&file.core, file.txn.directory, &name.key, &found)
        else:
            rc = emmap_record_find(&file.core, file.look().directory, &name.key, &found)
    if found != NULL:
        record[0] = found[0]
    if moment is None and not file.is_mine():
        file.leave()
    file.raise_if_lost()
    file.expect(rc, "read the store")
    return found != NULL


cdef int put(StoreFile file, Name name, const emmap_record *record) except 1:
    """Adds a record, in the transaction under way: 0, or an error as the core has them."""
    cdef int rc = emmap_record_put(&file.txn, &name.key, record)
    if rc == -EFBIG:
        file.map_anew(EMMAP_OPERATION)
        rc = emmap_record_put(&file.txn, &name.key, record)
    return rc


def names(Handle handle not None, Moment moment=None):
    """All names, in no order. Cost: half a microsecond for each."""
    cdef emmap_cursor cursor
    cdef const emmap_entry *entry
    cdef StoreFile file
    if moment is None:
        moment = moment_of(handle.opened())
    moment.ensure()
    file = moment.file
    emmap_cursor_begin(&cursor, &file.core, moment.directory, moment.names)
    found = []
    while True:
        file.expect(emmap_cursor_next(&cursor, &entry), "read the store")
        if entry == NULL:
            break
        # SAFETY: the moment keeps the entry.
        found.append(decode_key(file, entry))
    file.raise_if_lost()
    return found


def count(Handle handle not None):
    """How many names there are."""
    cdef StoreFile file = handle.opened()
    cdef uint64_t n
    if file.is_mine():
        return file.txn.names
    n = file.look().names
    file.leave()
    file.raise_if_lost()
    return n


def kind_of(Handle handle not None, name, Moment moment=None):
    """What a name stands for: `A_DICT` and so on; 0 where there is nothing of that name."""
    cdef emmap_record record
    cdef StoreFile file = handle.opened() if moment is None else moment.file
    return record.kind if find(handle, moment, Name(file, name), &record) else 0


def make(Handle handle not None, name, int kind):
    """Makes an empty dict or list of that name, if there is none."""
    cdef emmap_record record
    cdef StoreFile file = handle.opened()
    cdef Name called = Name(file, name)
    cdef int rc
    if find(handle, None, called, &record):
        expect_kind(called, &record, kind)
        return
    if not handle.writable:
        raise KeyError(name)
    file = handle.to_write()
    file.begin_write()
    try:
        if find(handle, None, called, &record): # somebody was quicker
            expect_kind(called, &record, kind)
            file.cancel_write()
            return
        memset(&record, 0, sizeof(record))
        record.kind = kind
        rc = put(file, called, &record)
    except:
        file.cancel_write()
        raise
    handle.done(file, rc, f"make a {KINDS[kind]}")


cdef int expect_kind(Name name, const emmap_record *record, int kind) except -1:
    if record.kind != kind:
        raise TypeError(f"{name.text!r} is a {KINDS.get(record.kind, record.kind)}, and no {KINDS[kind]}")
    return 0


def rename(Handle handle not None, old, new):
    """Gives something another name."""
    cdef emmap_record record, taken
    cdef StoreFile file = handle.to_write()
    cdef Name before = Name(file, old), after = Name(file, new)
    cdef int rc
    file.begin_write()
    try:
        if not find(handle, None, before, &record):
            raise KeyError(old)
        refuse_place(before, &record)
        if find(handle, None, after, &taken):
            raise ValueError(f"{new!r} is there already: a {KINDS.get(taken.kind, taken.kind)}")
        # All that both changes take, so that none is left alone.
        rc = emmap_prepare(&file.txn, 2 * EMMAP_OPERATION)
        if rc == -EFBIG:
            file.map_anew(2 * EMMAP_OPERATION)
            rc = emmap_prepare(&file.txn, 2 * EMMAP_OPERATION)
        if rc == 0:
            rc = put(file, after, &record)
        if rc == 0:
            rc = emmap_trie_remove(&file.txn, &file.txn.directory, &file.txn.names, &before.key)
    except:
        file.cancel_write()
        raise
    handle.done(file, rc, "rename")


def remove(Handle handle not None, name):
    """Removes what has that name, with all that is in it."""
    cdef emmap_record record
    cdef StoreFile file = handle.to_write()
    cdef Name called = Name(file, name)
    cdef int rc
    file.begin_write()
    try:
        if not find(handle, None, called, &record):
            raise KeyError(name)
        refuse_place(called, &record)
        with nogil:
            # SAFETY: the caller keeps the file, and the writer's lock keeps all others away.
            rc = emmap_record_remove(&file.txn, &called.key)
    except:
        file.cancel_write()
        raise
    handle.done(file, rc, f"delete {name!r}")


cdef int refuse_place(Name name, const emmap_record *record) except -1:
    if record.kind == EMMAP_A_PLACE:
        raise ValueError(f"{name.text!r} is a lock, which somebody may hold: it keeps its name, and stays")
    return 0
