# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Name`: what something in a store is called, as a key of the directory."""

from emmap.codec.keys cimport key_done, key_of
from emmap.store.core cimport emmap_key_hash

# So that a name and what it stands for lie in one block.
cdef Py_ssize_t LONGEST = 512


cdef class Name:
    """A name in the directory of a file."""

    def __cinit__(self, StoreFile file not None, name):
        if type(name) is not str:
            raise TypeError(f"a name in a store is a str, not {name!r}")
        key_of(name, &self.held)
        if self.held.n > LONGEST:
            raise ValueError(f"a name in a store has at most {LONGEST} bytes, not {self.held.n:,}")
        self.text = name
        self.key.bytes, self.key.n, self.key.kind = self.held.data, <unsigned int>self.held.n, self.held.kind
        emmap_key_hash(&file.core, &self.key)

    def __dealloc__(self):
        key_done(&self.held)
