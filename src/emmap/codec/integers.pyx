# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Integers as two's complement, little-endian, in as few bytes as hold them; 0 takes none."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, uint32_t

from emmap.codec.text cimport corrupt

cdef extern from "endian.h" nogil:
    uint32_t le32toh(uint32_t)


cdef object int_from(const unsigned char *data, Py_ssize_t n):
    """The int of 8 bytes at most."""
    cdef uint64_t word
    cdef uint32_t low, high
    cdef int unused
    if n > 8:
        raise corrupt("a small int of more than 8 bytes", 0)
    if n == 1:
        return <int8_t>data[0]
    if n == 0:
        return 0
    # SAFETY: inside of the n bytes. Two loads of a fixed size, which may overlap, cost less than a copy of n.
    if n >= 4:
        memcpy(&low, data, 4)
        memcpy(&high, data + n - 4, 4)
        word = le32toh(low) | <uint64_t>le32toh(high) << (8 * (n - 4))
    else:
        word = data[0] | data[1] << 8 | data[n - 1] << 8 * (n - 1)
    unused = 64 - 8 * <int>n
    return <int64_t>(word << unused) >> unused


cdef bytes big_int_bytes(object number):
    """Of an int of any size."""
    bits = (number if number >= 0 else ~number).bit_length()
    return number.to_bytes(bits // 8 + 1, "little", signed=True) if number else b""


cdef object big_int_from(const unsigned char *data, Py_ssize_t n):
    return int.from_bytes(PyBytes_FromStringAndSize(<const char *>data, n), "little", signed=True)
