"""Values out of mapped bytes, for the containers."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t

from emmap.codec.format cimport ASCII, BYTES
from emmap.codec.text cimport copy_ascii
from emmap.codec.values cimport Codec
from emmap.mapping.memory cimport LARGE
from emmap.store.core cimport emmap_entry
from emmap.store.file cimport StoreFile


cdef inline bint is_plain(Codec codec, unsigned char tag, uint64_t n) noexcept:
    """Can it be decoded without running any Python, and in a moment? (Tags up to BYTES are such.)"""
    return tag <= BYTES and n < LARGE and not codec.special


cdef inline object decode_here(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload,
                               uint64_t n):
    """The value. An error says where in the file it is.

    SAFETY: the caller keeps the bytes: a pin that nobody else uses meanwhile, or plain values.
    """
    # The most common in a few instructions.
    if is_plain(codec, tag, n):
        if tag == BYTES:
            return PyBytes_FromStringAndSize(<const char *>payload, <Py_ssize_t>n)
        if tag == ASCII:
            text = copy_ascii(payload, <Py_ssize_t>n)
            if text is not None:
                return text
    return decode_any(file, codec, tag, payload, n)


cdef object decode_any(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n)
cdef object decode_copy(StoreFile file, Codec codec, unsigned char tag, const unsigned char *payload, uint64_t n)
cdef object decode_view(StoreFile file, Codec codec, unsigned char tag, object keeper, const unsigned char *payload,
                        uint64_t n)
cdef object decode_key(StoreFile file, const emmap_entry *entry)
