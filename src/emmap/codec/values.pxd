"""The C face of the codec, for the rooms above. A payload is the bytes of a value without its tag."""

from cpython.ref cimport Py_XDECREF, PyObject
from libc.string cimport memcpy

# The bytes of a value lie where they lay (in a str, in an array) or in `small`: so an Encoded stays where
# it was filled, and ends with encoded_done.
cdef struct Encoded:
    unsigned char tag
    unsigned char small[8]          # of numbers
    const unsigned char *data
    Py_ssize_t n
    const unsigned char *more       # what follows the first n: the elements of an array; otherwise NULL
    Py_ssize_t more_n
    PyObject *owner                 # keeps both alive; may be NULL

cdef inline Py_ssize_t encoded_size(const Encoded *it) noexcept nogil:
    """The length of the payload."""
    return it.n + it.more_n

cdef inline void encoded_copy(const Encoded *it, unsigned char *to) noexcept nogil:
    """Copies the payload. SAFETY: the caller has encoded_size(it) bytes there."""
    memcpy(to, it.data, it.n)
    if it.more_n:
        memcpy(to + it.n, it.more, it.more_n)

cdef inline void encoded_done(Encoded *it) noexcept:
    """Once for each encode that succeeded."""
    Py_XDECREF(it.owner)
    it.owner = NULL


cdef class Codec:
    cdef object typed           # what encodes values of one type; None: of any
    cdef type native            # the type whose native form is used; None: any
    cdef bint pickles
    cdef bint special           # one of the three

    cdef int encode(self, object value, Encoded *out) except -1
    cdef object decode(self, unsigned char tag, const unsigned char *data, Py_ssize_t n)
    cdef object decode_view(self, unsigned char tag, object memory, const unsigned char *data, Py_ssize_t n)
    cdef int encode_special(self, object value, Encoded *out) except -1
