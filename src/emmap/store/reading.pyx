# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Values out of mapped bytes, for the containers."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from emmap.codec.keys cimport key_back
from emmap.errors import CorruptFileError
from emmap.store.core cimport emmap_entry_key


cdef object located(StoreFile file, object error, const void *at):
    """The error of bytes at this address, with the file and the place in it; or that pages are lost."""
    file.raise_if_lost()
    offset = <uint64_t>(<const unsigned char *>at - file.core.base) + <uint64_t>error.offset
    return CorruptFileError(error.args[0], file.name, offset)


cdef object decode_any(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n):
    """As decode_here."""
    try:
        return codec.decode(tag, payload, <Py_ssize_t>n)
    except CorruptFileError as error:
        raise located(file, error, payload) from None


cdef object decode_copy(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n):
    """The same for bytes that may change as soon as Python runs."""
    cdef bytes copy = PyBytes_FromStringAndSize(<const char *>payload, <Py_ssize_t>n)
    try:
        return codec.decode(tag, <const unsigned char *>PyBytes_AS_STRING(copy), <Py_ssize_t>n)
    except CorruptFileError as error:
        raise located(file, error, payload) from None


cdef object decode_view(StoreFile file, Codec codec, unsigned char tag, object keeper, const unsigned char *payload,
                        uint64_t n):
    """The value where it lies, which `keeper` keeps."""
    try:
        return codec.decode_view(tag, keeper, payload, <Py_ssize_t>n)
    except CorruptFileError as error:
        raise located(file, error, payload) from None


cdef object decode_key(StoreFile file, const emmap_entry *entry):
    """The key of an entry. SAFETY: as decode_here."""
    try:
        return key_back(entry.key_kind, emmap_entry_key(entry), entry.key_n)
    except CorruptFileError as error:
        raise located(file, error, emmap_entry_key(entry)) from None
