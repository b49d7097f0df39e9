# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Dict`: a dict that lies in a store."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t

cimport cython

from collections.abc import Mapping, MutableMapping

from emmap.codec.keys cimport Key, key_done, key_of
from emmap.codec.values cimport Encoded, encoded_copy, encoded_done, encoded_size
from emmap.errors import ClosedError
from emmap.mapping.memory cimport LARGE, emmap_lost_any
from emmap.store.container cimport OTHER_KIND
from emmap.store.core cimport *
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Lease, Moment
from emmap.store.name cimport Name
from emmap.store.reading cimport decode_copy, decode_here, decode_key, decode_view, is_plain

from emmap.store.edit import Edit
from emmap.store.transaction import Transaction
from emmap.store.views import Items, Keys, Values

cdef extern from "errno.h":
    int EFBIG, ENOENT

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object it) noexcept
    PyObject *PyTuple_GET_ITEM(tuple it, Py_ssize_t i) noexcept
    void PyTuple_SET_ITEM(tuple it, Py_ssize_t i, object value) noexcept
    bint PyObject_GC_IsTracked(object it) noexcept
    void PyObject_GC_Track(object it) noexcept

cdef Py_ssize_t LONGEST_KEY = 65535

# The kind of a key of bytes: see codec/keys.pyx.
cdef int KEY_BYTES = 2

cdef object MISSING = object()

cdef enum:
    KEYS
    VALUES
    ITEMS


cdef bint hash_key(StoreFile file, object key, Key *held, emmap_key *it) except -1:
    """Fills both; `held` is to be ended with key_done. False, and it is not: no dict has so long a key."""
    key_of(key, held)
    if held.n > LONGEST_KEY:
        key_done(held)
        return False
    it.bytes, it.n, it.kind = held.data, <uint32_t>held.n, held.kind
    emmap_key_hash(&file.core, it)
    return True


cdef int hash_new_key(StoreFile file, object key, Key *held, emmap_key *it) except -1:
    """The same for a key that is to be set."""
    if not hash_key(file, key, held, it):
        raise ValueError("a key of a dict in a store has at most 65,535 bytes")
    return 0


cdef tuple pair_of(i, pair):
    """A pair of `update`, as dict says what is none."""
    pair = tuple(pair)
    if len(pair) != 2:
        raise ValueError(f"dictionary update sequence element #{i} has length {len(pair)}; 2 is required")
    return pair


@cython.final
@cython.collection_type("mapping")
cdef class Dict(Container):
    """A dict in a store: shared, in the file, and safe against `kill -9`. `Store.dict` makes it.

    It is a `MutableMapping` with all that a dict has; the order is any. Keys are str,
    bytes, int, and tuples of them. A value is a copy: to change one where it is, `edit` it. Each operation is
    done or not done, and others see it at once; within `Store.transaction`, when that ends. Iteration is over
    the moment at which it began, whatever is changed meanwhile.

    It is a name, under which the store has the dict: when that has been deleted, all raises `KeyError`.

    Cost: a get 0.1 to 0.5 microseconds, a set about one; values of str, bytes and numbers add a copy of
    them, others what MessagePack costs.

    >>> import emmap
    >>> with emmap.Store(None) as store:
    ...     stock = store.dict("stock")
    ...     stock["apples"] = 3
    ...     stock.update({"pears": 2, "figs": 0})
    ...     stock.add("apples", 2)
    ...     stock == {"apples": 5, "pears": 2, "figs": 0}
    5
    True
    """

    def __cinit__(self, Handle handle not None, name, Codec codec not None, *, Lease lease=None):
        cdef emmap_record record
        self.kind, self.codec = EMMAP_A_DICT, codec
        self.called = Name(self.to_read(), name)
        self.see(&record)

    # Reading

    cdef object find(self, StoreFile file, const emmap_key *key, object default):
        """The value of a key, or the default."""
        cdef emmap_record record
        cdef const emmap_entry *entry = NULL
        cdef const unsigned char *payload = NULL
        cdef Moment moment
        cdef int rc
        if self.lease is not None or file.is_mine():
            self.see(&record)
            return self.find_in(file, record.root, key, default, self.lease is not None)
        # A plain value of the live root: no Python runs while it is pinned.
        rc = emmap_record_see(&file.core, file.look(), &self.called.key, &self.last)
        if rc == 0 and self.last.record.kind == EMMAP_A_DICT:
            rc = emmap_trie_find(&file.core, self.last.record.root, key, &entry)
            if entry != NULL and is_plain(self.codec, entry.tag, entry.value_n):
                payload = emmap_entry_payload(&file.core, entry)
        if payload != NULL:
            try:
                value = decode_here(file, self.codec, entry.tag, payload, entry.value_n)
            finally:
                file.leave()
            if emmap_lost_any(file.core.lost):
                file.raise_if_lost()
            return value
        file.leave()
        if rc == 0 and entry == NULL and self.last.record.kind == EMMAP_A_DICT:
            file.raise_if_lost()
            return default
        # Others take a pin of their own, and so do errors: to be told by those who know them.
        moment = self.see_moment(&record)
        return self.find_in(file, record.root, key, default, True)

    cdef object find_in(self, StoreFile file, uint64_t root, const emmap_key *key, object default, bint pinned):
        """The same where the root is pinned for long, or what this thread's transaction has made."""
        cdef const emmap_entry *entry
        cdef const unsigned char *payload
        file.expect(emmap_trie_find(&file.core, root, key, &entry), "read the store")
        if entry == NULL:
            file.raise_if_lost()
            return default
        payload = emmap_entry_payload(&file.core, entry)
        if payload == NULL:
            file.expect(emmap_wrong_rc(&file.core), "read the store")
        if pinned or is_plain(self.codec, entry.tag, entry.value_n):
            value = decode_here(file, self.codec, entry.tag, payload, entry.value_n)
        else:
            value = decode_copy(file, self.codec, entry.tag, payload, entry.value_n)
        file.raise_if_lost()
        return value

    cdef object get_or(self, object key, object default):
        cdef Key held
        cdef emmap_key it
        cdef StoreFile file = self.to_read()
        if not hash_key(file, key, &held, &it):
            return default
        try:
            return self.find(file, &it, default)
        finally:
            key_done(&held)

    def __getitem__(self, key):
        value = self.get_or(key, MISSING)
        if value is MISSING:
            raise KeyError(key)
        return value

    def get(self, key, default=None, /):
        """The value of a key, or the default. Cost: as `d[key]`."""
        return self.get_or(key, default)

    def __contains__(self, key):
        cdef Key held
        cdef emmap_key it
        cdef emmap_record record
        cdef const emmap_entry *entry = NULL
        cdef StoreFile file = self.to_read()
        cdef int rc = 1
        if not hash_key(file, key, &held, &it):
            return False
        try:
            if self.lease is None and not file.is_mine():
                rc = emmap_record_see(&file.core, file.look(), &self.called.key, &self.last)
                if rc == 0 and self.last.record.kind == EMMAP_A_DICT:
                    rc = emmap_trie_find(&file.core, self.last.record.root, &it, &entry)
                else:
                    rc = 1
                file.leave()
            if rc > 0:
                self.see(&record)
                if self.lease is not None or file.is_mine():
                    rc = emmap_trie_find(&file.core, record.root, &it, &entry)
            file.raise_if_lost()
            file.expect(rc, "read the store")
            return entry != NULL
        finally:
            key_done(&held)

    def __len__(self):
        cdef emmap_record record
        self.see(&record)
        return record.count

    def get_many(self, keys, default=None):
        """The values of some keys, all of one moment: a list, with the default for those that are not there.

        Cost: as a get for each.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     d = store.dict("d")
        ...     d.update(a=1, b=2)
        ...     d.get_many(["b", "c", "a"])
        [2, None, 1]
        """
        cdef Key held
        cdef emmap_key it
        cdef emmap_record record
        cdef StoreFile file
        cdef Moment moment
        wanted = list(keys)
        moment = self.see_moment(&record)
        file = moment.file
        found = []
        for key in wanted:
            if not hash_key(file, key, &held, &it):
                found.append(default)
                continue
            try:
                found.append(self.find_in(file, record.root, &it, default, True))
            finally:
                key_done(&held)
        return found

    def view(self, key):
        """The value of a key as it lies in the file, in a snapshot: a memoryview of bytes, a read-only array.

        It is not copied, and keeps the snapshot's moment. Other values come as `d[key]` gives them. Raises
        `ValueError` outside of snapshots, where it could change.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     store.dict("d")["key"] = b"value"
        ...     with store.snapshot() as s:
        ...         view = s.dict("d").view("key")
        ...     bytes(view[1:3])
        b'al'
        """
        cdef Key held
        cdef emmap_key it
        cdef emmap_record record
        cdef const emmap_entry *entry
        cdef const unsigned char *payload
        cdef StoreFile file
        if self.lease is None:
            raise ValueError("only what is in a snapshot stays where it is: with store.snapshot() as s: "
                             f"s.dict({self.called.text!r}).view(key)")
        file = self.kept().file
        if not hash_key(file, key, &held, &it):
            raise KeyError(key)
        try:
            self.see(&record)
            file.expect(emmap_trie_find(&file.core, record.root, &it, &entry), "read the store")
            if entry == NULL:
                file.raise_if_lost()
                raise KeyError(key)
            payload = emmap_entry_payload(&file.core, entry)
            if payload == NULL:
                file.expect(emmap_wrong_rc(&file.core), "read the store")
            # SAFETY: the moment, which the view holds, keeps the block.
            value = decode_view(file, self.codec, entry.tag, self.kept(), payload, entry.value_n)
            file.raise_if_lost()
            return value
        finally:
            key_done(&held)

    # Iterating

    def __iter__(self):
        return self._walk(KEYS)

    def _walk(self, int what):
        cdef DictIterator it = DictIterator.__new__(DictIterator)
        cdef emmap_record record
        it.moment = self.see_moment(&record)
        it.codec, it.what = self.codec, what
        emmap_walk_begin(&it.walk, &it.moment.file.core, record.root, record.count)
        return it

    def keys(self):
        """A view of the keys, as a dict's; each iteration over it is over one moment."""
        return Keys(self)

    def values(self):
        """A view of the values, as a dict's."""
        return Values(self)

    def items(self):
        """A view of the keys with their values, as a dict's."""
        return Items(self)

    def copy(self):
        """A plain dict of all that is in it at this moment."""
        return dict(self._walk(ITEMS))

    __reversed__ = None

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.copy() == dict(other.items())

    def __or__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.copy() | dict(other.items())

    def __ror__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(other.items()) | self.copy()

    def __repr__(self):
        if self.lease is None and self.handle.file is None:
            return f"<Dict {self.called.text!r} of a closed store>"
        return f"Dict({self.called.text!r}, {self.copy()!r})"

    # Writing

    cdef int put(self, StoreFile file, const emmap_key *key, const Encoded *value) except 1:
        cdef emmap_record *record
        cdef unsigned char *payload
        cdef uint64_t n = <uint64_t>encoded_size(value)
        cdef int rc, tries = 2
        while tries:
            rc = self.own(file, &record)
            if rc == 0:
                rc = emmap_trie_put(&file.txn, &record.root, &record.count, key, value.tag, n, &payload)
            if rc != -EFBIG:
                break
            file.map_anew(n)
            tries -= 1
        if rc != 0:
            return rc
        # SAFETY: a block of our own, with room for so much.
        if n < LARGE:
            encoded_copy(value, payload)
        else:
            with nogil:
                encoded_copy(value, payload)
        return 0

    cdef int put_value(self, StoreFile file, const emmap_key *key, object value) except 1:
        cdef Encoded encoded
        self.codec.encode(value, &encoded)
        try:
            return self.put(file, key, &encoded)
        finally:
            encoded_done(&encoded)

    def __setitem__(self, key, value):
        cdef Key held
        cdef emmap_key it
        cdef Encoded encoded
        cdef int rc
        cdef StoreFile file = self.to_write()
        hash_new_key(file, key, &held, &it)
        try:
            self.codec.encode(value, &encoded)
            try:
                file.begin_write()
                try:
                    rc = self.put(file, &it, &encoded)
                except:
                    file.cancel_write()
                    raise
                self.finish(file, rc)
            finally:
                encoded_done(&encoded)
        finally:
            key_done(&held)

    def __delitem__(self, key):
        if self.take(key, MISSING, False) is MISSING:
            raise KeyError(key)

    cdef object take(self, object key, object default, bint wanted):
        """Removes a key: its value (None unless `wanted`), or the default."""
        cdef Key held
        cdef emmap_key it
        cdef emmap_record *record
        cdef int rc
        cdef StoreFile file = self.to_write()
        if not hash_key(file, key, &held, &it):
            return default
        try:
            file.begin_write()
            try:
                value = None
                rc = self.own(file, &record)
                if rc == 0 and wanted:
                    value = self.find_in(file, record.root, &it, MISSING, False)
                    rc = self.own(file, &record)
                if rc == 0 and value is not MISSING:
                    rc = emmap_trie_remove(&file.txn, &record.root, &record.count, &it)
                    if rc == -ENOENT:
                        rc, value = 0, MISSING
            except:
                file.cancel_write()
                raise
            if rc == 0 and value is MISSING:
                file.cancel_write()
                return default
            self.finish(file, rc)
            return value
        finally:
            key_done(&held)

    def pop(self, key, default=MISSING, /):
        """Removes a key and returns its value; the default, or `KeyError`, where it is not there."""
        value = self.take(key, default, True)
        if value is MISSING:
            raise KeyError(key)
        return value

    def popitem(self):
        """Removes any key, and returns it with its value: `KeyError` when there is none. Each process that
        calls it gets others."""
        cdef emmap_record *record
        cdef emmap_cursor cursor
        cdef const emmap_entry *entry
        cdef StoreFile file = self.to_write()
        cdef int rc
        file.begin_write()
        try:
            rc = self.own(file, &record)
            if rc == 0:
                emmap_cursor_begin(&cursor, &file.core, record.root, record.count)
                file.expect(emmap_cursor_next(&cursor, &entry), "read the store")
                if entry == NULL:
                    raise KeyError("popitem(): the dict is empty")
                key = decode_key(file, entry)
                value = self.pop(key)
        except:
            file.cancel_write()
            raise
        self.finish(file, rc)
        return key, value

    def setdefault(self, key, default=None, /):
        """The value of a key, which is set to the default where it is not there."""
        cdef Key held
        cdef emmap_key it
        cdef emmap_record *record
        cdef int rc
        cdef StoreFile file
        value = self.get_or(key, MISSING)
        if value is not MISSING:
            return value
        file = self.to_write()
        hash_new_key(file, key, &held, &it)
        try:
            file.begin_write()
            try:
                rc = self.own(file, &record)
                if rc == 0:
                    value = self.find_in(file, record.root, &it, MISSING, False)
                    if value is MISSING:
                        rc = self.put_value(file, &it, default)
            except:
                file.cancel_write()
                raise
            self.finish(file, rc)
        finally:
            key_done(&held)
        return default if value is MISSING else value

    def add(self, key, n=1):
        """Adds to a number, and returns the sum: at once, whoever else does. A missing key counts as 0.

        Raises `TypeError` for what are no numbers. Cost: as a set.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     hits = store.dict("hits")
        ...     hits.add("/"), hits.add("/", 2), hits.add("/", 0.5)
        (1, 3, 3.5)
        """
        cdef Key held
        cdef emmap_key it
        cdef emmap_record *record
        cdef int rc
        cdef StoreFile file = self.to_write()
        if not isinstance(n, (int, float)):
            raise TypeError(f"what is added is an int or a float, not {n!r}")
        hash_new_key(file, key, &held, &it)
        try:
            file.begin_write()
            try:
                rc = self.own(file, &record)
                if rc == 0:
                    value = self.find_in(file, record.root, &it, 0, False)
                    if not isinstance(value, (int, float)):
                        raise TypeError(f"{key!r} is no number to be added to, but {value!r}")
                    value += n
                    rc = self.put_value(file, &it, value)
            except:
                file.cancel_write()
                raise
            self.finish(file, rc)
        finally:
            key_done(&held)
        return value

    def edit(self, key, default=MISSING):
        """A context manager: the value of a key, which is written back when the block ends.

        Other writers wait meanwhile, so that nothing of theirs is lost. When the block raises, nothing is
        written. Raises `KeyError` when the key is not there and no default is given.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     d = store.dict("d")
        ...     with d.edit("colours", []) as colours:
        ...         colours.append("red")
        ...     d["colours"]
        ['red']
        """
        self.to_write()
        return Edit(self, key, Transaction(self.handle), *(() if default is MISSING else (default,)))

    def clear(self):
        """Removes all keys, at once. Cost: half a microsecond for each block of it."""
        cdef emmap_record *record
        cdef int rc
        cdef StoreFile file = self.to_write()
        file.begin_write()
        rc = self.own(file, &record)
        if rc == 0:
            with nogil:
                # SAFETY: the caller keeps this object, and the lock keeps all others away.
                rc = emmap_trie_drop(&file.txn, record.root)
            record.root = record.count = 0
        self.finish(file, rc)

    def update(self, other=(), /, **more):
        """Sets keys from a mapping, from pairs or from names: all in one commit, or none when it raises.

        Cost: about 0.4 microseconds a key.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     d = store.dict("d")
        ...     d.update({1: "one"}, two=2)
        ...     d.update((n, n * n) for n in (3, 4))
        ...     sorted(d.values(), key=str)
        [16, 2, 9, 'one']
        """
        cdef StoreFile file = self.to_write()
        # Before the lock is taken: whatever gives the pairs may wait for another writer.
        if type(other) is dict:
            pairs = (<dict>other).items()
        elif isinstance(other, Dict):
            pairs = list((<Dict>other)._walk(ITEMS))
        elif isinstance(other, Mapping) or hasattr(other, "keys"):
            pairs = [(key, other[key]) for key in other.keys()]
        else:
            pairs = [pair_of(i, pair) for i, pair in enumerate(other)]
        with Transaction(self.handle):
            for key, value in pairs:
                self.put_item(file, key, value)
            for key, value in more.items():
                self.put_item(file, key, value)

    cdef int put_item(self, StoreFile file, object key, object value) except -1:
        """In a transaction of this thread."""
        cdef Key held
        cdef emmap_key it
        cdef int rc
        if self.handle.file is None:
            raise ClosedError("the store was closed meanwhile")
        hash_new_key(file, key, &held, &it)
        try:
            file.begin_write()
            try:
                rc = self.put_value(file, &it, value)
            except:
                file.cancel_write()
                raise
            return self.finish(file, rc)
        finally:
            key_done(&held)

    def __ior__(self, other):
        self.update(other)
        return self


@cython.final
cdef class DictIterator:
    """Walks over one moment of a dict, which it keeps."""

    def __dealloc__(self):
        emmap_walk_end(&self.walk)

    cdef tuple pair_of(self, object key, object value):
        """A pair, in the tuple of the last one where nobody has kept that: as dict's own iterator does."""
        cdef tuple pair = self.pair
        cdef PyObject *old_key
        cdef PyObject *old_value
        if pair is None or Py_REFCNT(pair) != 2:
            self.pair = (key, value)
            return self.pair
        # SAFETY: nobody else has the tuple. It is whole before the old ones go, which may run Python.
        old_key, old_value = PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)
        Py_INCREF(key)
        Py_INCREF(value)
        PyTuple_SET_ITEM(pair, 0, key)
        PyTuple_SET_ITEM(pair, 1, value)
        Py_DECREF(<object>old_key)
        Py_DECREF(<object>old_value)
        if not PyObject_GC_IsTracked(pair):
            PyObject_GC_Track(pair)
        return pair

    def __iter__(self):
        return self

    def __length_hint__(self):
        return emmap_walk_left(&self.walk)

    def __next__(self):
        cdef const emmap_entry *entry
        cdef const unsigned char *payload
        cdef StoreFile file
        cdef int rc
        if self.moment is None:
            raise TypeError("iter() of a dict makes such a thing")
        file = self.moment.file
        self.moment.ensure()
        rc = emmap_walk_next(&self.walk, &entry)
        if rc != 0:
            file.expect(rc, "read the store")
        if entry == NULL:
            file.raise_if_lost()
            raise StopIteration
        key = value = None
        if self.what != VALUES:
            if entry.key_kind == KEY_BYTES:
                key = PyBytes_FromStringAndSize(<const char *>emmap_entry_key(entry), entry.key_n)
            else:
                key = decode_key(file, entry)
        if self.what != KEYS:
            payload = emmap_entry_payload(&file.core, entry)
            if payload == NULL:
                file.expect(emmap_wrong_rc(&file.core), "read the store")
            value = decode_here(file, self.codec, entry.tag, payload, entry.value_n)
        if emmap_lost_any(file.core.lost):
            file.raise_if_lost()
        if self.what == ITEMS:
            return self.pair_of(key, value)
        return key if self.what == KEYS else value


MutableMapping.register(Dict)
