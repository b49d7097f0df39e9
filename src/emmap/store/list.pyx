# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`List`: a list that lies in a store."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport cython

from collections.abc import MutableSequence
from operator import index as to_index

from emmap.codec.values cimport encoded_copy, encoded_done, encoded_size
from emmap.errors import ClosedError
from emmap.mapping.memory cimport LARGE, emmap_lost_any
from emmap.store.core cimport *
from emmap.store.container cimport Container
from emmap.store.moment cimport Lease, Moment
from emmap.store.name cimport Name
from emmap.store.reading cimport decode_copy, decode_here, decode_view, is_plain

from emmap.store.edit import Edit
from emmap.store.transaction import Transaction

cdef extern from "errno.h":
    int EFBIG, ENOENT

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t PyNumber_AsSsize_t(object number, object error) except? -1
    int PySlice_Unpack(object slice, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1
    Py_ssize_t PySlice_AdjustIndices(Py_ssize_t length, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t step)

@cython.final
@cython.collection_type("sequence")
@cython.collection_type("sequence")
cdef class List(Container):
    """A list in a store: shared, in the file, and safe against `kill -9`. `Store.list` makes it.

    It is a `MutableSequence` with all that a list has; get, set, insert and delete cost the same anywhere in
    it. Values, and what holds of each operation, are as those of `Dict`: a value is a copy, to be changed by
    `edit`; iteration is over the moment at which it began, and so is comparison. Slices are plain lists. What
    a list does in many steps (`extend`, `sort`, a slice that is set) is done as one.

    It is a name, under which the store has the list: when that has been deleted, all raises `KeyError`.

    Cost: a get 0.2 to 0.6 microseconds, a set, insert or delete about one; `extend` 0.2 for each.

    >>> import emmap
    >>> with emmap.Store(None) as store:
    ...     words = store.list("words")
    ...     words += ["to", "or", "not"]
    ...     words.insert(1, "be")
    ...     words[2:2] = words[:2]
    ...     words, words[-1], words == ["to", "be", "to", "be", "or", "not"]
    (List('words', ['to', 'be', 'to', 'be', 'or', 'not']), 'not', True)
    """

    def __cinit__(self, handle, name, Codec codec not None, *, lease=None):
        cdef emmap_record record
        self.kind, self.codec = EMMAP_A_LIST, codec
        self.called = Name(self.to_read(), name)
        self.see(&record)

    # Reading

    cdef object get(self, Py_ssize_t index):
        cdef emmap_record record
        cdef const emmap_slot *slot = NULL
        cdef const unsigned char *payload = NULL
        cdef StoreFile file = self.to_read()
        cdef uint64_t n = 0
        cdef Moment moment
        cdef int rc
        if self.lease is None and not file.is_mine():
            # A plain value of the live root: no Python runs while it is pinned.
            rc = emmap_record_see(&file.core, file.look(), &self.called.key, &self.last)
            if rc == 0 and self.last.record.kind == EMMAP_A_LIST:
                record = self.last.record
                if index < 0:
                    index += record.count
                if 0 <= index < <Py_ssize_t>record.count:
                    rc = emmap_list_get(&file.core, record.root, record.count, index, &slot)
                    if rc == 0:
                        payload = emmap_slot_payload(&file.core, slot, &n)
                else:
                    file.leave()
                    file.raise_if_lost()
                    raise IndexError("list index out of range")
            if payload != NULL and is_plain(self.codec, slot.tag, n):
                try:
                    value = decode_here(file, self.codec, slot.tag, payload, n)
                finally:
                    file.leave()
                if emmap_lost_any(file.core.lost):
                    file.raise_if_lost()
                return value
            file.leave()
            # Others take a pin of their own, and so do errors: to be told by those who know them.
            moment = self.see_moment(&record)
            return self.get_in(file, &record, index, True)
        self.see(&record)
        return self.get_in(file, &record, index, self.lease is not None)

    cdef object get_in(self, StoreFile file, const emmap_record *record, Py_ssize_t index, bint pinned):
        """The same where the record is pinned for long, or what this thread's transaction has made."""
        cdef const emmap_slot *slot
        index = self.place_of(record, index, "list index out of range")
        file.expect(emmap_list_get(&file.core, record.root, record.count, index, &slot), "read the store")
        return self.decode(file, slot, pinned)

    cdef object decode(self, StoreFile file, const emmap_slot *slot, bint pinned):
        cdef uint64_t n
        cdef const unsigned char *payload = emmap_slot_payload(&file.core, slot, &n)
        if payload == NULL:
            file.expect(emmap_wrong_rc(&file.core), "read the store")
        if pinned or is_plain(self.codec, slot.tag, n):
            value = decode_here(file, self.codec, slot.tag, payload, n)
        else:
            value = decode_copy(file, self.codec, slot.tag, payload, n)
        if emmap_lost_any(file.core.lost):
            file.raise_if_lost()
        return value

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.get_slice(index)
        return self.get(PyNumber_AsSsize_t(index, IndexError))

    cdef list get_slice(self, object indices):
        cdef emmap_record record
        cdef const emmap_slot *slot
        cdef ListIterator it
        cdef Py_ssize_t start, stop, step, n, i
        cdef Moment moment
        PySlice_Unpack(indices, &start, &stop, &step)
        moment = self.see_moment(&record)
        n = PySlice_AdjustIndices(record.count, &start, &stop, step)
        found = []
        if n > 1 and (step == 1 or step == -1):
            it = self.walk_in(moment, &record, start, step)
            for i in range(n):
                found.append(next(it))
            return found
        for i in range(n):
            moment.ensure()
            moment.file.expect(emmap_list_get(&moment.file.core, record.root, record.count, start + i * step, &slot),
                               "read the store")
            found.append(self.decode(moment.file, slot, moment.pin != NULL))
        return found

    def __len__(self):
        cdef emmap_record record
        self.see(&record)
        return record.count

    def view(self, index):
        """The element as it lies in the file, in a snapshot: a memoryview of bytes, a read-only array.

        It is not copied, and keeps the snapshot's moment. Other values come as `l[index]` gives them. Raises
        `ValueError` outside of snapshots, where it could change.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     store.list("l").append(b"value")
        ...     with store.snapshot() as s:
        ...         view = s.list("l").view(0)
        ...     bytes(view[1:3])
        b'al'
        """
        cdef Py_ssize_t i = PyNumber_AsSsize_t(index, IndexError)
        cdef emmap_record record
        cdef const emmap_slot *slot
        cdef const unsigned char *payload
        cdef StoreFile file
        cdef uint64_t n
        if self.lease is None:
            raise ValueError("only what is in a snapshot stays where it is: with store.snapshot() as s: "
                             f"s.list({self.called.text!r}).view(index)")
        file = self.see(&record)
        i = self.place_of(&record, i, "list index out of range")
        file.expect(emmap_list_get(&file.core, record.root, record.count, i, &slot), "read the store")
        payload = emmap_slot_payload(&file.core, slot, &n)
        if payload == NULL:
            file.expect(emmap_wrong_rc(&file.core), "read the store")
        # SAFETY: the moment, which the view holds, keeps the block.
        value = decode_view(file, self.codec, slot.tag, self.kept(), payload, n)
        file.raise_if_lost()
        return value

    # Walking

    cdef ListIterator walk_in(self, Moment moment, const emmap_record *record, Py_ssize_t start, Py_ssize_t step):
        cdef ListIterator it = ListIterator.__new__(ListIterator)
        it.owner, it.moment = self, moment
        emmap_list_cursor_begin(&it.cursor, &moment.file.core, record.root, record.count, start, step)
        return it

    def __iter__(self):
        cdef emmap_record record
        cdef Moment moment = self.see_moment(&record)
        return self.walk_in(moment, &record, 0, 1)

    def __reversed__(self):
        cdef emmap_record record
        cdef Moment moment = self.see_moment(&record)
        return self.walk_in(moment, &record, <Py_ssize_t>record.count - 1, -1)

    def __contains__(self, value):
        for one in self:
            if one is value or one == value:
                return True
        return False

    def index(self, value, start=0, stop=9223372036854775807, /):
        """The first position of the value, from `start` on and before `stop`; `ValueError` when there is none."""
        cdef Py_ssize_t first, last, step
        cdef emmap_record record
        cdef ListIterator it
        cdef Moment moment
        PySlice_Unpack(slice(start, stop), &first, &last, &step)
        moment = self.see_moment(&record)
        PySlice_AdjustIndices(record.count, &first, &last, step)
        if first < last:
            it = self.walk_in(moment, &record, first, 1)
            while first < last:
                one = next(it)
                if one is value or one == value:
                    return first
                first += 1
        raise ValueError(f"{value!r} is not in list")

    def count(self, value):
        """How often the value is in it."""
        cdef Py_ssize_t n = 0
        for one in self:
            if one is value or one == value:
                n += 1
        return n

    def copy(self):
        """A plain list of all that is in it at this moment."""
        return list(self.__iter__())

    # As values

    def __eq__(self, other):
        return self.copy() == plain(other) if is_list(other) else NotImplemented

    def __ne__(self, other):
        return self.copy() != plain(other) if is_list(other) else NotImplemented

    def __lt__(self, other):
        return self.copy() < plain(other) if is_list(other) else NotImplemented

    def __le__(self, other):
        return self.copy() <= plain(other) if is_list(other) else NotImplemented

    def __gt__(self, other):
        return self.copy() > plain(other) if is_list(other) else NotImplemented

    def __ge__(self, other):
        return self.copy() >= plain(other) if is_list(other) else NotImplemented

    __hash__ = None

    def __add__(self, other):
        return self.copy() + plain(other) if is_list(other) else NotImplemented

    def __radd__(self, other):
        return plain(other) + self.copy() if is_list(other) else NotImplemented

    def __mul__(self, n):
        return self.copy() * n

    def __rmul__(self, n):
        return self.copy() * n

    def __repr__(self):
        if self.lease is None and self.handle.file is None:
            return f"<List {self.called.text!r} of a closed store>"
        return f"List({self.called.text!r}, {self.copy()!r})"

    # Writing

    cdef int put(self, StoreFile file, How how, Py_ssize_t index, const Encoded *value,
                 emmap_record *built) except 1:
        """Sets or inserts in the transaction under way: 0, or an error as the core has them.

        `index` as Python has them; IndexError. SET and INSERT are at the record of the store.
        """
        cdef emmap_record *record = built
        cdef unsigned char *payload
        cdef uint64_t n = <uint64_t>encoded_size(value)
        cdef Py_ssize_t at, count
        cdef int rc = 0, tries
        for tries in range(2):
            if how != BUILD:
                rc = self.own(file, &record)
                if rc != 0:
                    return rc
            count = <Py_ssize_t>record.count
            if how == SET:
                at = self.place_of(record, index, "list assignment index out of range")
                rc = emmap_list_set(&file.txn, &record.root, count, at, value.tag, n, &payload)
            else:
                at = min(max(index + count if index < 0 else index, 0), count)
                rc = emmap_list_insert(&file.txn, &record.root, &record.count, at, value.tag, n, &payload)
            if rc != -EFBIG or tries:
                break
            file.enlarge(n)
        if rc != 0:
            return rc
        # SAFETY: a block of our own, with room for so much.
        if n < LARGE:
            encoded_copy(value, payload)
        else:
            with nogil:
                encoded_copy(value, payload)
        return 0

    cdef int put_value(self, How how, Py_ssize_t index, object value) except -1:
        cdef Encoded encoded
        cdef StoreFile file = self.to_write()
        cdef int rc
        self.codec.encode(value, &encoded)
        try:
            file.begin_write()
            try:
                rc = self.put(file, how, index, &encoded, NULL)
            except:
                file.cancel_write()
                raise
        finally:
            encoded_done(&encoded)
        return self.finish(file, rc)

    def __setitem__(self, index, value):
        if isinstance(index, slice):
            self.set_slice(index, list(value))
        else:
            self.put_value(SET, PyNumber_AsSsize_t(index, IndexError), value)

    def append(self, value):
        """Adds a value at the end."""
        self.put_value(INSERT, PY_SSIZE_T_MAX, value)

    def insert(self, index, value):
        """Inserts a value before the position."""
        cdef Py_ssize_t at = to_index(index)
        self.put_value(INSERT, at, value)

    cdef object take(self, Py_ssize_t index, bint wanted, str message):
        """Deletes an element, and returns it where it is wanted."""
        cdef emmap_record *record
        cdef StoreFile file = self.to_write()
        cdef int rc, tries
        value = None
        file.begin_write()
        try:
            for tries in range(2):
                rc = self.own(file, &record)
                if rc == 0 and wanted:
                    value = self.get_in(file, record, self.place_of(record, index, message), False)
                    rc = self.own(file, &record)    # decoding may have run anything
                if rc == 0:
                    rc = emmap_list_delete(&file.txn, &record.root, &record.count,
                                           self.place_of(record, index, message))
                if rc != -EFBIG or tries:
                    break
                file.enlarge(EMMAP_OPERATION)
        except:
            file.cancel_write()
            raise
        self.finish(file, rc)
        return value

    cdef Py_ssize_t place_of(self, const emmap_record *record, Py_ssize_t index, str message) except -1:
        """The position that an index as Python has it means; IndexError."""
        if index < 0:
            index += record.count
        if not 0 <= index < <Py_ssize_t>record.count:
            raise IndexError(message)
        return index

    def pop(self, index=-1, /):
        """Removes an element, and returns it; `IndexError` when there is none at the position."""
        return self.take(PyNumber_AsSsize_t(index, IndexError), True,
                         "pop index out of range" if len(self) else "pop from empty list")

    def __delitem__(self, index):
        if isinstance(index, slice):
            self.delete_slice(index)
        else:
            self.take(PyNumber_AsSsize_t(index, IndexError), False, "list assignment index out of range")

    def remove(self, value):
        """Removes the first element that equals the value; `ValueError` when there is none."""
        cdef Py_ssize_t at = 0
        self.to_write()
        with Transaction(self.handle):
            for one in self:
                if one is value or one == value:
                    self.take(at, False, "list changed while it was searched")
                    return
                at += 1
        raise ValueError("list.remove(x): x not in list")

    def clear(self):
        """Removes all elements, at once. Cost: half a microsecond for each block of it."""
        self.set_slice(slice(None), [])

    def extend(self, values):
        """Adds all of them at the end, in one commit, or none when that raises."""
        self.set_slice(slice(PY_SSIZE_T_MAX, None), list(values))

    def __iadd__(self, values):
        self.extend(values)
        return self

    def __imul__(self, n):
        cdef Py_ssize_t times = PyNumber_AsSsize_t(n, OverflowError)
        cdef StoreFile file = self.to_write()
        with Transaction(self.handle):
            values = self.copy()
            if times <= 0:
                self.splice(file, 0, len(values), [])
            else:
                self.splice(file, len(values), len(values), values * (times - 1))
        return self

    cdef int set_slice(self, object indices, list values) except -1:
        cdef Py_ssize_t start, stop, step, n, i
        cdef emmap_record record
        cdef StoreFile file = self.to_write()
        PySlice_Unpack(indices, &start, &stop, &step)
        with Transaction(self.handle):
            self.see(&record)
            n = PySlice_AdjustIndices(record.count, &start, &stop, step)
            if step == 1:
                self.splice(file, start, max(start, stop), values)
            elif n != len(values):
                raise ValueError(f"attempt to assign sequence of size {len(values)} to extended slice of size {n}")
            else:
                for i in range(n):
                    self.put_value(SET, start + i * step, values[i])
        return 0

    cdef int delete_slice(self, object indices) except -1:
        cdef Py_ssize_t start, stop, step, n, i
        cdef emmap_record record
        cdef StoreFile file = self.to_write()
        PySlice_Unpack(indices, &start, &stop, &step)
        with Transaction(self.handle):
            self.see(&record)
            n = PySlice_AdjustIndices(record.count, &start, &stop, step)
            if n == 0:
                return 0
            if step < 0:
                start, step = start + (n - 1) * step, -step
            if step == 1:
                self.splice(file, start, start + n, [])
            else:
                for i in range(n - 1, -1, -1):
                    self.take(start + i * step, False, "list changed while it was cut")
        return 0

    cdef int splice(self, StoreFile file, uint64_t start, uint64_t stop, list values) except -1:
        """Replaces a range, in a transaction of this thread. The new elements are a list of their own first."""
        cdef emmap_record built
        cdef emmap_record *record
        cdef Encoded encoded
        cdef int rc = 0
        if start == stop and not values:
            return 0
        memset(&built, 0, sizeof(built))
        file.begin_write()
        try:
            for value in values:
                self.codec.encode(value, &encoded)
                try:
                    rc = self.put(file, BUILD, PY_SSIZE_T_MAX, &encoded, &built)
                finally:
                    encoded_done(&encoded)
                if rc != 0:
                    break
            if rc == 0:
                rc = self.own(file, &record)
            if rc == 0:
                if stop > record.count:
                    raise RuntimeError("list changed while it was written to")
                with nogil:
                    # SAFETY: the caller keeps this object, and the writer's lock keeps all others away.
                    rc = emmap_list_splice(&file.txn, &record.root, &record.count, start, stop, built.root,
                                           built.count)
        except:
            file.cancel_write()
            raise
        return self.finish(file, rc)

    def reverse(self):
        """Turns it round, in one commit."""
        cdef emmap_record record
        cdef StoreFile file = self.to_write()
        with Transaction(self.handle):
            self.see(&record)
            self.rearrange(file, list(range(<Py_ssize_t>record.count - 1, -1, -1)))

    def sort(self, *, key=None, reverse=False):
        """Sorts it as `list.sort` does, in one commit; values are not written anew."""
        cdef emmap_record before, after
        cdef StoreFile file = self.to_write()
        with Transaction(self.handle):
            self.see(&before)
            values = self.copy()
            keys = values if key is None else [key(value) for value in values]
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
            self.see(&after)
            if after.root != before.root or after.count != before.count:
                raise ValueError("list modified during sort")
            self.rearrange(file, order)

    cdef int rearrange(self, StoreFile file, list order) except -1:
        """Puts the elements into another order, in a transaction of this thread."""
        cdef emmap_record *record
        cdef Py_ssize_t i, n = len(order)
        cdef uint64_t *numbers
        cdef int rc
        if n < 2:
            return 0
        numbers = <uint64_t *>malloc(8 * n)
        if numbers == NULL:
            raise MemoryError
        for i in range(n):
            numbers[i] = order[i]
        try:
            file.begin_write()
            try:
                rc = self.rearrange_by(file, numbers, n)
            except:
                file.cancel_write()
                raise
        finally:
            free(numbers)
        return self.finish(file, rc)

    cdef int rearrange_by(self, StoreFile file, const uint64_t *numbers, uint64_t n) except 1:
        cdef emmap_record *record
        cdef int rc, tries
        for tries in range(2):
            rc = self.own(file, &record)
            if rc != 0:
                break
            with nogil:
                # SAFETY: the caller keeps this object, and the writer's lock keeps all others away.
                rc = emmap_list_rearrange(&file.txn, &record.root, &record.count, numbers, n)
            if rc != -EFBIG or tries:
                break
            file.enlarge(32 * n)
        return rc

    def edit(self, index):
        """A context manager: an element, which is written back when the block ends.

        Other writers wait meanwhile, so that nothing of theirs is lost. When the block raises, nothing is
        written. Raises `IndexError` when there is none at the position.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     l = store.list("l")
        ...     l.append(["red"])
        ...     with l.edit(0) as colours:
        ...         colours.append("green")
        ...     l[0]
        ['red', 'green']
        """
        self.to_write()
        return Edit(self, to_index(index), Transaction(self.handle))


@cython.final
cdef class ListIterator:
    """Walks over one moment of a list, which it keeps."""

    def __iter__(self):
        return self

    def __length_hint__(self):
        return self.cursor.left

    def __next__(self):
        cdef const emmap_slot *slot
        cdef StoreFile file = self.moment.file
        self.moment.ensure()
        file.expect(emmap_list_cursor_next(&self.cursor, &slot), "read the store")
        if slot == NULL:
            file.raise_if_lost()
            raise StopIteration
        return self.owner.decode(file, slot, self.moment.pin != NULL)


cdef bint is_list(object value):
    return isinstance(value, (list, List))


cdef object plain(object value):
    return value if isinstance(value, list) else value.copy()


MutableSequence.register(List)
