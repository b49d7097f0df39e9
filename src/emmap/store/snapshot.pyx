# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Snapshot`: one moment of a store, for as long as wanted."""

from emmap.codec.values cimport Codec
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Lease, Moment, moment_of

from emmap.store.array import Array
from emmap.store.dict import Dict
from emmap.store.directory import A_DICT, A_LIST, AN_ARRAY, kind_of, names
from emmap.store.list import List


cdef class Snapshot:
    """What `Store.snapshot` returns, for a `with` block: the store as it is at that moment, for reading.

    It has been taken when it is made. What writers replace meanwhile takes space until the block has been
    left and the last view has gone, in this process; a killed one's are found out.

    Cost: half a microsecond.

    >>> import emmap
    >>> with emmap.Store(None) as store:
    ...     store.dict("d")["key"] = b"value"
    ...     with store.snapshot() as s:
    ...         del store["d"]
    ...         s.names(), bytes(s.dict("d").view("key"))
    (['d'], b'value')
    """

    def __cinit__(self, Handle handle not None):
        if handle.opened().is_mine():
            raise RuntimeError("a snapshot is of what is committed: take it outside of the transaction")
        self.handle, self.lease = handle, Lease()
        self.lease.moment = moment_of(handle.file)

    def __enter__(self):
        self.ensure()
        return self

    def __exit__(self, *error):
        self.close()

    cdef Moment ensure(self):
        if self.lease.moment is None:
            self.lease.refuse()
        self.lease.moment.ensure()
        return self.lease.moment

    def close(self):
        """Lets go of the moment. Views of what is in it keep it, until they have gone."""
        self.lease.moment = None

    def dict(self, name, type=None):
        """The dict of this name, as it is at this moment. Raises `KeyError`, and `TypeError` as `Store.dict`."""
        return Dict(self.handle, name, self.codec_for(type), lease=self.ensured())

    def list(self, name, type=None):
        """The list of this name, as it is at this moment. In all else as `dict`."""
        return List(self.handle, name, self.codec_for(type), lease=self.ensured())

    def array(self, name):
        """The array of this name, as it is at this moment. In all else as `dict`."""
        return Array(self.handle, name, lease=self.ensured())

    cdef Lease ensured(self):
        self.ensure()
        return self.lease

    cdef Codec codec_for(self, object type):
        return self.handle.codec if type is None else Codec.for_type(type)

    def names(self):
        """The names of all that is in it, sorted. Cost: a microsecond for each."""
        return sorted(names(self.handle, self.ensure()))

    def __contains__(self, name):
        return isinstance(name, str) and kind_of(self.handle, name, self.ensure()) != 0

    def __iter__(self):
        return iter(self.names())

    def __len__(self):
        return self.ensure().names

    def __getitem__(self, name):
        kind = kind_of(self.handle, name, self.ensure())
        if kind == 0:
            raise KeyError(name)
        if kind == A_DICT:
            return self.dict(name)
        if kind == A_LIST:
            return self.list(name)
        if kind == AN_ARRAY:
            return self.array(name)
        raise TypeError(f"{name!r} is a lock, which is of no moment: take it from the store")
