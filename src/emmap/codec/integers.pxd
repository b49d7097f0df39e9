"""Integers as two's complement, little-endian, in as few bytes as hold them; 0 takes none."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

cdef extern from "endian.h" nogil:
    uint64_t htole64(uint64_t)

cdef extern from *:
    int __builtin_clzll(unsigned long long number) noexcept nogil


cdef inline int int_to(int64_t number, unsigned char *to) noexcept nogil:
    """Writes 8 bytes, and returns how many of them count."""
    cdef uint64_t word = htole64(<uint64_t>number)
    cdef uint64_t magnitude = <uint64_t>(number ^ (number >> 63))
    memcpy(to, &word, 8)
    if magnitude == 0:
        return number != 0
    return (64 - __builtin_clzll(magnitude)) // 8 + 1


cdef object int_from(const unsigned char *data, Py_ssize_t n)
cdef bytes big_int_bytes(object number)
cdef object big_int_from(const unsigned char *data, Py_ssize_t n)
