"""Keys as bytes: two keys are equal just when their kinds and their bytes are."""

from cpython.ref cimport Py_XDECREF, PyObject

# The bytes lie in the key itself, in `small` or in what `owner` keeps: so a Key stays where it was filled,
# and ends with key_done.
cdef struct Key:
    unsigned char kind
    unsigned char small[8]
    const unsigned char *data
    Py_ssize_t n
    PyObject *owner

cdef inline void key_done(Key *it) noexcept:
    """Once for each key_of that succeeded."""
    Py_XDECREF(it.owner)
    it.owner = NULL

cdef int key_of(object key, Key *out) except -1
cdef object key_back(unsigned char kind, const unsigned char *data, Py_ssize_t n)
