# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Moment`: one state of a store, kept for as long as somebody looks at it."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cimport cython

import os
from _weakref import ref
from fcntl import F_OFD_SETLK, F_WRLCK, fcntl
from struct import pack

from emmap.errors import ClosedError
from emmap.store.core cimport *

# The bytes by which the living are known: see locks/life.h.
cdef object ID_BYTES = 1 << 62
cdef int ID_BITS = 60
cdef int FLAG_BITS = 4

# All that keep a pin, for forks.
_pinned = {}


cdef Moment moment_of(StoreFile file):
    """What this thread sees now: the live root, pinned; or what its transaction has made so far."""
    cdef const emmap_root *root
    cdef emmap_pin *pin
    cdef Moment moment
    if file.is_mine():
        # What it has made is not changed in place from now on.
        file.expect(emmap_freeze(&file.txn), "read in the transaction")
        moment = Moment.__new__(Moment)
        moment.file, moment.memory = file, file.memory
        moment.serial = file.serial
        moment.txn, moment.directory, moment.names = file.txn.txn, file.txn.directory, file.txn.names
        return moment
    if file.latest != NULL:
        moment = <Moment>file.latest
        # Its record is not used again as long as it is pinned, so the same offset is the same root.
        if moment.pin != NULL and moment.root == emmap_live_of(&file.core).root:
            return moment
    file.expect(emmap_pin_claim(&file.core, &pin), "keep what is read")
    root = emmap_pin_set(&file.core, pin)
    if file.is_outgrown():
        emmap_pin_give(pin)
        file.map_anew(0)
        return moment_of(file)
    if root == NULL:
        emmap_pin_give(pin)
        file.expect(emmap_wrong_rc(&file.core), "read the store")
    emmap_pin_since(pin)
    moment = Moment.__new__(Moment)
    moment.file, moment.memory, moment.pin = file, file.memory, pin
    moment.txn, moment.directory, moment.names = root.txn, root.directory, root.names
    moment.root = <uint64_t>(<const unsigned char *>root - file.core.base)
    file.latest = <PyObject *>moment
    _pinned[id(moment)] = ref(moment)
    return moment


@cython.no_gc_clear  # __dealloc__ needs `file`
cdef class Moment:
    """Keeps a root until it is deallocated. It is never changed, and shared."""

    def __dealloc__(self):
        if self.file is None:
            return
        if self.file.latest == <PyObject *>self:
            self.file.latest = NULL
        _pinned.pop(id(self), None)
        if self.pin != NULL:
            # SAFETY: the mapping that it lies in is held by the file, also where that was outgrown.
            emmap_pin_give(self.pin)

    cdef int ensure(self) except -1:
        """Raises when it is over: those of a transaction end with it."""
        if self.pin == NULL:
            if self.serial == 0:
                raise RuntimeError("there was no pin left for what a parent read when it forked: read it anew")
            if not self.file.is_mine() or self.file.serial != self.serial:
                raise RuntimeError("the transaction has ended in which this was begun")
            if self.file.undone is not None:
                for first, last in self.file.undone:
                    if first <= self.txn <= last:
                        raise RuntimeError("what was read here has been undone since: a part of the transaction was "
                                           "rolled back")
        return 0

    cdef int record(self, Name name, emmap_record *record) except -1:
        """What the name stands for at this moment; KeyError."""
        cdef const emmap_record *found
        self.ensure()
        self.file.expect(emmap_record_find(&self.file.core, self.directory, &name.key, &found), "read the store")
        if found == NULL:
            raise KeyError(name.text)
        record[0] = found[0]
        return 0


cdef class Lease:
    """A moment for the length of a block: what a snapshot has handed out is over with it."""

    cdef int refuse(self) except -1:
        raise ClosedError("the snapshot has ended")


# Forks: the child gets pins of its own. It cannot take them before the parent gives his back, so the parent
# takes them for it, in the name of somebody whose byte is locked by a descriptor that the child inherits.

_heirs = {}     # id(file) -> (file, descriptor)


cdef int bequeath(Moment moment) except -1:
    cdef StoreFile file = moment.file
    cdef emmap_pin *spare
    cdef uint64_t me
    if id(file) not in _heirs:
        me = int.from_bytes(os.urandom(8), "little") >> FLAG_BITS
        fd = os.open(f"/proc/self/fd/{file.core.fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl(fd, F_OFD_SETLK, pack("hhqqi4x", F_WRLCK, 0, ID_BYTES + me, 1, 0))
        except BaseException:
            os.close(fd)
            raise
        _heirs[id(file)] = file, fd, me
    me = _heirs[id(file)][2]
    if emmap_pin_claim_for(&file.core, me << FLAG_BITS, &spare) == 0:
        emmap_pin_copy(&file.core, spare, moment.txn)
        moment.spare = spare
    return 0


def _before_fork():
    cdef Moment moment
    for weak in list(_pinned.values()):
        moment = weak()
        if moment is not None and moment.pin != NULL:
            try:
                bequeath(moment)
            except OSError:
                pass    # the child is told when it uses what it inherited


def _in_parent():
    cdef Moment moment
    for weak in list(_pinned.values()):
        moment = weak()
        if moment is not None:
            moment.spare = NULL
    for _, fd, _ in _heirs.values():
        os.close(fd)
    _heirs.clear()


def _in_child():
    cdef Moment moment
    cdef StoreFile file
    for weak in list(_pinned.values()):
        moment = weak()
        if moment is not None:
            moment.pin, moment.spare = moment.spare, NULL
            if moment.pin != NULL:
                emmap_pin_since(moment.pin)
    for file, fd, _ in _heirs.values():
        file.adopted.append(fd)
    _heirs.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
