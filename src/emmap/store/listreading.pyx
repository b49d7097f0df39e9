# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`ListReading`: what a list of a store is to its readers."""

from libc.stdint cimport uint64_t

cimport cython

from emmap.codec.values cimport Codec
from emmap.mapping.memory cimport emmap_lost_any
from emmap.store.core cimport *
from emmap.store.name cimport Name
from emmap.store.reading cimport decode_copy, decode_here, decode_view, is_plain

cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object number, object error) except? -1
    int PySlice_Unpack(object slice, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1
    Py_ssize_t PySlice_AdjustIndices(Py_ssize_t length, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t step)


@cython.collection_type("sequence")
cdef class ListReading(Container):
    """A list in a store, for reading; the base of `List`."""

    def __cinit__(self, handle, name, Codec codec not None, *, lease=None):
        cdef emmap_record record
        self.kind, self.codec = EMMAP_A_LIST, codec
        self.called = Name(self.to_read(), name)
        self.see(&record)

    # One element

    cdef object get(self, Py_ssize_t index):
        cdef emmap_record record
        cdef const emmap_slot *slot = NULL
        cdef const unsigned char *payload = NULL
        cdef StoreFile file = self.to_read()
        cdef uint64_t n = 0
        cdef Py_ssize_t at
        cdef Moment moment
        cdef int rc
        if self.lease is None and not file.is_mine():
            # A plain value of the live root: no Python runs while it is pinned.
            rc = emmap_record_see(&file.core, file.look(), &self.called.key, &self.last)
            if rc == 0 and self.last.record.kind == EMMAP_A_LIST:
                record = self.last.record
                at = index + <Py_ssize_t>record.count if index < 0 else index
                if 0 <= at < <Py_ssize_t>record.count:
                    rc = emmap_list_get(&file.core, record.root, record.count, at, &slot)
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
            if one == value:
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
                if one == value:
                    return first
                first += 1
        raise ValueError(f"{value!r} is not in list")

    def count(self, value):
        """How often the value is in it."""
        cdef Py_ssize_t n = 0
        for one in self:
            if one == value:
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

    cdef Py_ssize_t place_of(self, const emmap_record *record, Py_ssize_t index, str message) except -1:
        """The position that an index as Python has it means; IndexError."""
        if index < 0:
            index += record.count
        if not 0 <= index < <Py_ssize_t>record.count:
            raise IndexError(message)
        return index


@cython.final
cdef class ListIterator:
    """Walks over one moment of a list, which it keeps."""

    def __iter__(self):
        return self

    def __length_hint__(self):
        return self.cursor.left

    def __next__(self):
        cdef const emmap_slot *slot
        cdef StoreFile file
        if self.moment is None:
            raise TypeError("iter() of a list makes such a thing")
        file = self.moment.file
        self.moment.ensure()
        file.expect(emmap_list_cursor_next(&self.cursor, &slot), "read the store")
        if slot == NULL:
            file.raise_if_lost()
            raise StopIteration
        return self.owner.decode(file, slot, self.moment.pin != NULL)


cdef bint is_list(object value):
    return isinstance(value, (list, ListReading))


cdef object plain(object value):
    return value if isinstance(value, list) else value.copy()
