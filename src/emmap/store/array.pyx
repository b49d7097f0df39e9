# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Array`: a NumPy array that lies in a store."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

cimport cython

from emmap.codec.values cimport Codec, Encoded, encoded_copy, encoded_done, encoded_size
from emmap.errors import CorruptFileError
from emmap.mapping.memory cimport LARGE
from emmap.store.container cimport Container
from emmap.store.core cimport *
from emmap.store.directory cimport find, put
from emmap.store.file cimport StoreFile
from emmap.store.moment cimport Lease, Moment
from emmap.store.name cimport Name
from emmap.store.reading cimport decode_here, decode_view

from emmap.store.edit import Edit
from emmap.store.transaction import Transaction

cdef extern from "errno.h":
    int EFBIG, ENOENT

# The tag of arrays: see codec/format.pxd.
cdef int ARRAY = 12

cdef Codec codec = Codec()


@cython.final
cdef class Array(Container):
    """A NumPy array in a store: shared, in the file, and safe against `kill -9`. `Store.array` makes it.

    `a[...]`, and any other index, reads without a copy: what it gives is read-only, and stays what it was at
    that moment, whatever becomes of the store. `a[...] = value` replaces the whole array, as one; so does
    `a[2:4] = 0`, which changes a copy while other writers wait. For more than one change use `Store.edit`.
    In a transaction a read is a copy.

    It is a name, under which the store has the array: when that has been deleted, all raises `KeyError`.

    Cost: a read a few microseconds; a write a copy of the whole array, or two.

    >>> import emmap
    >>> with emmap.Store(None) as store:
    ...     a = store.array("a", (2, 3), "i4")
    ...     before = a[...]
    ...     a[0] = [1, 2, 3]
    ...     a.shape, a[0].tolist(), int(before.sum())
    ((2, 3), [1, 2, 3], 0)
    """

    def __cinit__(self, handle, name, shape=None, dtype=None, *, lease=None):
        cdef emmap_record record
        cdef StoreFile file = self.to_read()
        self.kind, self.codec = EMMAP_AN_ARRAY, codec
        self.called = Name(file, name)
        if shape is not None and not find(self.handle, None if self.lease is None else self.kept(), self.called, &record):
            if self.lease is not None or not self.handle.writable:
                raise KeyError(name)
            if self.make(zeros(shape, dtype)):
                return
        self.see(&record)
        if shape is not None or dtype is not None:
            self.expect_like(shape, dtype)

    cdef bint make(self, object array) except -1:
        """Makes it, unless somebody was quicker."""
        cdef emmap_record record
        cdef StoreFile file = self.to_write()
        cdef bint is_there
        with Transaction(self.handle):
            is_there = find(self.handle, None, self.called, &record)
            if not is_there:
                self.replace(array, True)
        return not is_there

    cdef int expect_like(self, object shape, object dtype) except -1:
        """Raises where it is another one than was asked for."""
        import numpy

        array = self.view()
        if shape is not None and array.shape != shape_of(shape):
            raise ValueError(f"the array {self.called.text!r} is there, and its shape is {array.shape}, not "
                             f"{shape_of(shape)}")
        if dtype is not None and array.dtype != numpy.dtype(dtype):
            raise ValueError(f"the array {self.called.text!r} is there, and of {array.dtype}, not of "
                             f"{numpy.dtype(dtype)}")
        return 0

    # Reading

    cdef object view(self):
        """All of it, read-only; in a transaction of this thread a copy."""
        cdef emmap_record record
        cdef const unsigned char *payload
        cdef uint64_t n
        cdef Moment moment = self.see_moment(&record)
        cdef StoreFile file = moment.file
        payload = emmap_value_at(&file.core, record.root, &n)
        if payload == NULL:
            file.expect(emmap_wrong_rc(&file.core), "read the store")
        if record.tag != ARRAY:
            raise CorruptFileError("an array of the store is none", file.name, record.root)
        if moment.pin != NULL:
            # SAFETY: the moment, which the array holds, keeps the block.
            array = decode_view(file, codec, ARRAY, moment, payload, n)
        else:
            # SAFETY: what the transaction has made until now is not changed by itself any more.
            array = decode_here(file, codec, ARRAY, payload, n)
            array.flags.writeable = False
        file.raise_if_lost()
        return array

    def __getitem__(self, index):
        return self.view()[index]

    def __len__(self):
        return len(self.view())

    def __iter__(self):
        return iter(self.view())

    def __array__(self, dtype=None, copy=None):
        array = self.view()
        if dtype is not None and dtype != array.dtype:
            if copy is False:
                raise ValueError(f"an array of {array.dtype} is one of {dtype} by a copy only")
            return array.astype(dtype)
        return array.copy() if copy else array

    def copy(self):
        """A NumPy array of its own, which may be written."""
        return self.view().copy()

    @property
    def shape(self):
        """How long it is in each dimension."""
        return self.view().shape

    @property
    def dtype(self):
        """What its elements are."""
        return self.view().dtype

    @property
    def ndim(self):
        """How many dimensions it has."""
        return self.view().ndim

    @property
    def size(self):
        """How many elements it has."""
        return self.view().size

    @property
    def nbytes(self):
        """How many bytes its elements take."""
        return self.view().nbytes

    def __repr__(self):
        if self.lease is None and self.handle.file is None:
            return f"<Array {self.called.text!r} of a closed store>"
        array = self.view()
        return f"<Array {self.called.text!r}: {array.shape} of {array.dtype}>"

    # Writing

    def __setitem__(self, index, value):
        import numpy

        self.to_write()
        with Transaction(self.handle):
            array = self.view()
            if index is ...:
                array = numpy.broadcast_to(numpy.asarray(value, array.dtype), array.shape)
            else:
                array = array.copy()
                array[index] = value
            self.replace(array, False)

    def _edit(self):
        """A context manager: a copy of it, which is written back."""
        self.to_write()
        return Edit(Whole(self), ..., Transaction(self.handle))

    cdef int replace(self, object array, bint is_new) except -1:
        """Writes the array, in a transaction of this thread."""
        cdef Encoded encoded
        cdef StoreFile file = self.to_write()
        cdef int rc
        codec.encode(array, &encoded)
        try:
            file.begin_write()
            try:
                rc = self.write(file, &encoded, array.size, is_new)
            except:
                file.cancel_write()
                raise
        finally:
            encoded_done(&encoded)
        return self.finish(file, rc)

    cdef int write(self, StoreFile file, const Encoded *value, uint64_t size, bint is_new) except 1:
        cdef emmap_record new
        cdef emmap_record *record = &new
        cdef unsigned char *payload
        cdef uint64_t n = <uint64_t>encoded_size(value), at, old = 0
        cdef int rc = emmap_prepare(&file.txn, 2 * EMMAP_OPERATION + n)
        if rc == -EFBIG:
            file.map_anew(2 * EMMAP_OPERATION + n)
            rc = emmap_prepare(&file.txn, 2 * EMMAP_OPERATION + n)
        memset(&new, 0, sizeof(new))
        new.kind = EMMAP_AN_ARRAY
        if rc == 0 and not is_new:
            rc = self.own(file, &record)
            old = record.root
        if rc != 0:
            return rc
        at = emmap_value_new(&file.txn, n, &payload, &rc)
        if at == 0:
            return rc
        # SAFETY: a block of our own, with room for so much.
        if n < LARGE:
            encoded_copy(value, payload)
        else:
            with nogil:
                encoded_copy(value, payload)
        record.root, record.tag, record.count = at, value.tag, size
        return put(file, self.called, &new) if is_new else emmap_retire(&file.txn, old)


@cython.final
cdef class Whole:
    """An array as a container of one value, a copy of itself: to be edited."""

    cdef Array array

    def __init__(self, Array array not None):
        self.array = array

    def __getitem__(self, key):
        return self.array.copy()

    def __setitem__(self, key, value):
        self.array[key] = value


cdef tuple shape_of(object shape):
    from operator import index

    return tuple(map(index, shape)) if isinstance(shape, (tuple, list)) else (index(shape),)


cdef object zeros(object shape, object dtype):
    import numpy

    kind = numpy.dtype(float if dtype is None else dtype)
    if kind.hasobject:
        raise TypeError(f"an array of Python objects cannot lie in a store: {kind}")
    return numpy.zeros(shape_of(shape), kind)
