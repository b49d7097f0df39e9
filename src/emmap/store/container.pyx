# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Container`: what dicts, lists and arrays of a store have in common."""

from types import GenericAlias

from emmap.errors import ProtectionError
from emmap.store.core cimport *
from emmap.store.moment cimport moment_of

cdef extern from "errno.h":
    int ENOENT

KINDS = {EMMAP_A_DICT: "dict", EMMAP_A_LIST: "list", EMMAP_AN_ARRAY: "array", EMMAP_A_PLACE: "lock"}


cdef class Container:
    """A name under which a store has something; the base of what it has."""

    def __cinit__(self, Handle handle not None, *arguments, Lease lease=None, **options):
        self.handle, self.lease = handle, lease

    @property
    def name(self):
        """Its name in the store."""
        return self.called.text

    cdef StoreFile to_write(self):
        if self.lease is not None:
            raise ProtectionError(f"a snapshot is for reading: write to the store's own {KINDS[self.kind]}")
        return self.handle.to_write()

    cdef StoreFile see(self, emmap_record *record):
        """The record as this thread sees it now."""
        cdef StoreFile file
        cdef const emmap_record *found = NULL
        cdef int rc
        if self.lease is not None:
            self.see_moment(record)
            return self.kept().file
        file = self.handle.opened()
        if file.is_mine():
            rc = emmap_record_find(&file.core, file.txn.directory, &self.called.key, &found)
            if found != NULL:
                record[0] = found[0]
            elif rc == 0:
                rc = -ENOENT
        else:
            rc = emmap_record_see(&file.core, file.look(), &self.called.key, &self.last)
            file.leave()
            record[0] = self.last.record
        file.raise_if_lost()
        if rc == -ENOENT:
            raise KeyError(self.called.text)
        file.expect(rc, "read the store")
        self.expect_kind(record.kind)
        return file

    cdef Moment see_moment(self, emmap_record *record):
        """A moment to read, and the record in it."""
        cdef Moment moment = self.kept() if self.lease is not None else moment_of(self.handle.opened())
        moment.record(self.called, record)
        self.expect_kind(record.kind)
        return moment

    cdef int expect_kind(self, int kind) except -1:
        if kind != self.kind:
            raise TypeError(f"{self.called.text!r} is a {KINDS.get(kind, kind)} by now, and no {KINDS[self.kind]}")
        return 0

    cdef int own(self, StoreFile file, emmap_record **record) noexcept:
        """The record, to be changed in the transaction under way: an error as the core has them."""
        cdef int rc = emmap_record_own(&file.txn, &self.called.key, record)
        return OTHER_KIND if rc == 0 and record[0].kind != self.kind else rc

    cdef int finish(self, StoreFile file, int rc) except -1:
        """Ends what `file.begin_write` has begun: `rc` is what became of it."""
        if rc == OTHER_KIND or rc == -ENOENT:
            file.cancel_write()
            if rc == OTHER_KIND:
                raise TypeError(f"{self.called.text!r} is no {KINDS[self.kind]} by now")
            raise KeyError(self.called.text)
        return self.handle.done(file, rc, "write to the store")

    def __reduce__(self):
        raise TypeError(f"a {KINDS[self.kind]} of a store does not pickle: send its path and name, and open it "
                        "there; or copy()")

    __class_getitem__ = classmethod(GenericAlias)
