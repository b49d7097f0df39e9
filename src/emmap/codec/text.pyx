# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Strings as UTF-8, lone surrogates included. Of bytes that are neither: CorruptFileError."""

from emmap.errors import CorruptFileError

cdef extern from "Python.h":
    str PyUnicode_DecodeUTF8(const char *data, Py_ssize_t n, const char *errors)

cdef object corrupt(str message, Py_ssize_t offset):
    """The exception to raise for bytes that no encoder of ours has written."""
    return CorruptFileError(message, None, offset)


cdef str decode_utf8(const unsigned char *data, Py_ssize_t n):
    try:
        return PyUnicode_DecodeUTF8(<const char *>data, n, NULL)
    except UnicodeDecodeError as error:
        raise corrupt("a string that is not UTF-8", error.start) from None


cdef str surrogate_text(const unsigned char *data, Py_ssize_t n):
    try:
        return PyUnicode_DecodeUTF8(<const char *>data, n, "surrogatepass")
    except UnicodeDecodeError as error:
        raise corrupt("a string that is not UTF-8", error.start) from None


cdef bytes surrogate_bytes(str text):
    return text.encode("utf-8", "surrogatepass")
