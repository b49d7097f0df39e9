# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Values out of mapped bytes, for the containers."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from emmap.errors import CorruptFileError


cdef object decode_any(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n):
    """As decode_here."""
    try:
        return codec.decode(tag, payload, <Py_ssize_t>n)
    except CorruptFileError as error:
        file.raise_if_lost()
        at = <uint64_t>(payload - file.core.base)
        raise CorruptFileError(error.args[0], file.name, at + error.offset) from None


cdef object decode_copy(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n):
    """The same for bytes that may change as soon as Python runs."""
    cdef bytes copy = PyBytes_FromStringAndSize(<const char *>payload, <Py_ssize_t>n)
    try:
        return codec.decode(tag, <const unsigned char *>PyBytes_AS_STRING(copy), <Py_ssize_t>n)
    except CorruptFileError as error:
        file.raise_if_lost()
        at = <uint64_t>(payload - file.core.base)
        raise CorruptFileError(error.args[0], file.name, at + error.offset) from None
