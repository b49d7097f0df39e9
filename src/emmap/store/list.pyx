# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`List`: a list that lies in a store."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport cython

from collections.abc import MutableSequence
from operator import index as to_index

from emmap.codec.values cimport encoded_copy, encoded_done, encoded_size
from emmap.mapping.memory cimport LARGE
from emmap.store.core cimport *

from emmap.store.edit import Edit
from emmap.store.transaction import Transaction

cdef extern from "errno.h":
    int EFBIG

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t PyNumber_AsSsize_t(object number, object error) except? -1
    int PySlice_Unpack(object slice, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1
    Py_ssize_t PySlice_AdjustIndices(Py_ssize_t length, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t step)


@cython.final
@cython.collection_type("sequence")
cdef class List(ListReading):
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
            file.map_anew(n)
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
                file.map_anew(EMMAP_OPERATION)
        except:
            file.cancel_write()
            raise
        self.finish(file, rc)
        return value

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
            file.map_anew(32 * n)
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


MutableSequence.register(List)
