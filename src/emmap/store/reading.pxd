"""Values out of mapped bytes, for the containers."""

from libc.stdint cimport uint64_t

from emmap.codec.values cimport Codec
from emmap.mapping.memory cimport LARGE
from emmap.store.file cimport StoreFile


cdef inline bint is_plain(Codec codec, unsigned char tag, uint64_t n) noexcept:
    """Can it be decoded without running any Python, and in a moment? (The tags are codec/format.pxd's: up to
    BYTES.)"""
    return tag <= 10 and n < LARGE and not codec.special

cdef object decode_here(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n)
cdef object decode_copy(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n)
