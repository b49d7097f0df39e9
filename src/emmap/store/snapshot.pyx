# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Snapshot`: one moment of a store, for as long as wanted."""

from emmap.errors import ClosedError
from emmap.store.directory import A_DICT, A_LIST, AN_ARRAY, kind_of, names
from emmap.store.handle cimport Handle
from emmap.store.moment cimport Moment, moment_of


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

    def __init__(self, Handle handle not None):
        if handle.opened().is_mine():
            raise RuntimeError("a snapshot is of what is committed: take it outside of the transaction")
        self.handle = handle
        self.moment = moment_of(handle.file)

    def __enter__(self):
        self.ensure()
        return self

    def __exit__(self, *error):
        self.close()

    cdef Moment ensure(self):
        if self.moment is None:
            raise ClosedError("the snapshot has ended")
        self.moment.ensure()
        return self.moment

    def close(self):
        """Lets go of the moment. Views of what is in it keep it, until they have gone."""
        self.moment = None

    @property
    def _moment(self):
        return self.ensure()

    @property
    def _handle(self):
        return self.handle
