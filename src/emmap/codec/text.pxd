"""Strings as UTF-8, lone surrogates included. Of bytes that are neither: CorruptFileError."""

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text) noexcept
    void *PyUnicode_DATA(object text) noexcept
    str PyUnicode_New(Py_ssize_t n, Py_UCS4 highest)
    str PyUnicode_FromOrdinal(int character)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *n) except NULL

# From so many bytes on, a copy gives the GIL away: pages that are not in memory take long.
cdef enum:
    LARGE = 32768


cdef extern from "ascii.h" nogil:
    bint emmap_copy_ascii(unsigned char *to, const unsigned char *data, size_t n)


cdef str decode_utf8(const unsigned char *data, Py_ssize_t n)
cdef str surrogate_text(const unsigned char *data, Py_ssize_t n)
cdef bytes surrogate_bytes(str text)
cdef object corrupt(str message, Py_ssize_t offset)


# In each module: most strings are ASCII, and a call costs as much as the copy.

cdef inline str copy_ascii(const unsigned char *data, Py_ssize_t n):
    """The string, or None when a byte is not ASCII."""
    cdef str text
    cdef bint ascii
    cdef unsigned char *to
    if n < 2:
        if n == 0:
            return ""
        # The interpreter keeps one string for each character.
        return PyUnicode_FromOrdinal(data[0]) if data[0] < 128 else None
    text = PyUnicode_New(n, 127)
    to = <unsigned char *>PyUnicode_DATA(text)
    # SAFETY: nobody else has the string yet; the caller keeps the bytes.
    if n < LARGE:
        ascii = emmap_copy_ascii(to, data, n)
    else:
        with nogil:
            ascii = emmap_copy_ascii(to, data, n)
    return text if ascii else None


cdef inline str utf8_text(const unsigned char *data, Py_ssize_t n):
    text = copy_ascii(data, n)
    return text if text is not None else decode_utf8(data, n)
