# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Containers, and what they contain, as MessagePack.

One walk looks at the exact type of each object and writes its bytes. Nothing is taken for something
else on the way: what has no form of its own is refused.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport INT32_MIN, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from emmap.codec.format cimport (
    CODE_BIG_INT,
    CODE_BYTEARRAY,
    CODE_FROZENSET,
    CODE_SET,
    CODE_SURROGATES,
    CODE_TUPLE,
    DEEPEST,
)
from emmap.codec.integers cimport big_int_bytes
from emmap.codec.text cimport (
    PyUnicode_AsUTF8AndSize,
    PyUnicode_DATA,
    PyUnicode_IS_COMPACT_ASCII,
    surrogate_bytes,
)

from emmap.codec import extensions
from emmap.codec.extensions import Refused

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t n) except -1
    PyObject *raw_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t n) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef extern from "endian.h" nogil:
    uint32_t htobe32(uint32_t)
    uint64_t htobe64(uint64_t)

cdef dict takers = extensions.TAKERS

cdef struct Output:
    PyObject *buffer        # bytes that grow; nobody else has them
    Py_ssize_t n            # so many are written


cdef bytes pack(object value):
    """The MessagePack of a value of any kind. Raises TypeError or ValueError, and says where."""
    cdef Output out
    out.n = 0
    out.buffer = raw_bytes(NULL, 240)
    try:
        put(&out, value, 0)
        _PyBytes_Resize(&out.buffer, out.n)
        return <bytes>out.buffer
    except Refused as refused:
        raise refused.error() from None
    finally:
        Py_XDECREF(out.buffer)


cdef unsigned char *take(Output *out, Py_ssize_t n) except NULL:
    """The place of the next n bytes."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(<object>out.buffer)
    if n > size - out.n:
        # A failure leaves NULL there, and MemoryError.
        _PyBytes_Resize(&out.buffer, max(out.n + n, 2 * size))
    # SAFETY: the buffer has n bytes more than are written. It may move with the next call.
    out.n += n
    return <unsigned char *>PyBytes_AS_STRING(<object>out.buffer) + out.n - n


cdef int put(Output *out, object value, int depth) except -1:
    cdef double number
    cdef uint64_t word
    if type(value) is str:
        return put_text(out, value)
    if type(value) is int:
        return put_int(out, value)
    if type(value) is float:
        number = PyFloat_AS_DOUBLE(value)
        memcpy(&word, &number, 8)
        return put_number(out, 0xcb, word, 8)
    if value is None or type(value) is bool:
        take(out, 1)[0] = 0xc0 if value is None else 0xc3 if value is True else 0xc2
        return 0
    if type(value) is bytes:
        return put_bytes(out, value)
    if depth >= DEEPEST:
        raise Refused(ValueError, f"a value that is nested more than {DEEPEST} deep, or contains itself")
    if type(value) is dict:
        return put_dict(out, value, depth + 1)
    if type(value) is list:
        return put_list(out, value, depth + 1)
    if type(value) is tuple:
        return put_extension(out, CODE_TUPLE, value, depth + 1)
    if type(value) is set or type(value) is frozenset:
        # In a tuple, which nobody changes on the way.
        return put_extension(out, CODE_SET if type(value) is set else CODE_FROZENSET, tuple(value),
                             depth + 1)
    if type(value) is bytearray:
        return put_raw(out, CODE_BYTEARRAY, bytes(value))
    taker = takers.get(type(value))
    if taker is None:
        taker = extensions.find_taker(type(value))
    return put_extension(out, taker[0], taker[1](value), depth + 1)


cdef int put_number(Output *out, unsigned char head, uint64_t word, int n) except -1:
    """A byte that says what follows, and the lowest n bytes of the word, big-endian."""
    cdef unsigned char *to = take(out, 1 + n)
    to[0] = head
    word = htobe64(word)
    # SAFETY: n is at most 8, and 1 + n bytes were taken.
    memcpy(to + 1, <unsigned char *>&word + 8 - n, n)
    return 0


cdef int put_count(Output *out, unsigned char few, unsigned int most, unsigned char head8,
                   unsigned char head16, Py_ssize_t n) except -1:
    """How many follow: in the first byte up to `most`, else in 1, 2 or 4 bytes behind it."""
    if n <= most:
        take(out, 1)[0] = few | <unsigned char>n
        return 0
    if n <= 0xff and head8:
        return put_number(out, head8, n, 1)
    if n <= 0xffff:
        return put_number(out, head16, n, 2)
    if n <= 0xffffffff:
        return put_number(out, head16 + 1, n, 4)
    raise Refused(ValueError, "4 GiB or more within a container (as a value of its own, a string or bytes "
                              "or an array may be larger)")


cdef int put_int(Output *out, object value) except -1:
    cdef int overflow
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return put_raw(out, CODE_BIG_INT, big_int_bytes(value))
    if -32 <= number < 128:
        take(out, 1)[0] = <unsigned char>number
        return 0
    if number >= 0:
        if number <= 0xff:
            return put_number(out, 0xcc, number, 1)
        if number <= 0xffff:
            return put_number(out, 0xcd, number, 2)
        return put_number(out, 0xce if number <= 0xffffffff else 0xcf, number, 4 if number <= 0xffffffff else 8)
    if number >= -0x80:
        return put_number(out, 0xd0, number, 1)
    if number >= -0x8000:
        return put_number(out, 0xd1, number, 2)
    return put_number(out, 0xd2 if number >= INT32_MIN else 0xd3, number, 4 if number >= INT32_MIN else 8)


cdef int put_text(Output *out, object value) except -1:
    cdef const char *data
    cdef Py_ssize_t n
    if PyUnicode_IS_COMPACT_ASCII(value):
        data, n = <const char *>PyUnicode_DATA(value), len(value)
    else:
        try:
            data = PyUnicode_AsUTF8AndSize(value, &n)
        except UnicodeEncodeError:
            return put_raw(out, CODE_SURROGATES, surrogate_bytes(value))
    put_count(out, 0xa0, 31, 0xd9, 0xda, n)
    # SAFETY: the string keeps its bytes, and the caller keeps the string.
    memcpy(take(out, n), data, n)
    return 0


cdef int put_bytes(Output *out, bytes value) except -1:
    cdef Py_ssize_t n = PyBytes_GET_SIZE(value)
    if n <= 0xff:
        put_number(out, 0xc4, n, 1)
    else:
        put_count(out, 0, 0, 0, 0xc5, n)
    memcpy(take(out, n), PyBytes_AS_STRING(value), n)
    return 0


# Containers. An object that is asked for its parts runs Python, which may change what we walk through:
# what was counted must be there.

cdef object changed():
    return Refused(ValueError, "a container that was changed while it was encoded")


cdef int put_list(Output *out, list items, int depth) except -1:
    cdef Py_ssize_t i = 0, n = PyList_GET_SIZE(items)
    put_count(out, 0x90, 15, 0, 0xdc, n)
    try:
        while i < n:
            if PyList_GET_SIZE(items) != n:
                raise changed()
            item = <object>PyList_GET_ITEM(items, i)    # held: it may leave the list meanwhile
            put(out, item, depth)
            i += 1
    except Refused as refused:
        refused.lies_in(i)
        raise
    return 0


cdef int put_dict(Output *out, dict items, int depth) except -1:
    cdef PyObject *key = NULL
    cdef PyObject *value
    cdef Py_ssize_t at = 0, left = len(items)
    put_count(out, 0x80, 15, 0, 0xde, left)
    held = None
    try:
        while PyDict_Next(items, &at, &key, &value):
            held, item = <object>key, <object>value
            left -= 1
            if left < 0:
                raise changed()
            put(out, held, depth)
            put(out, item, depth)
        if left != 0:
            raise changed()
    except Refused as refused:
        refused.lies_in(held)
        raise
    return 0


cdef int put_extension(Output *out, unsigned char code, tuple parts, int depth) except -1:
    """An array within an extension, whose length is known afterwards."""
    cdef Py_ssize_t at = out.n, i = 0, count = PyTuple_GET_SIZE(parts), n
    cdef unsigned char *start
    take(out, 6)
    put_count(out, 0x90, 15, 0, 0xdc, count)
    try:
        while i < count:
            # The tuple, which the caller holds, holds it.
            put(out, <object>PyTuple_GET_ITEM(parts, i), depth)
            i += 1
    except Refused as refused:
        if code == CODE_TUPLE:
            refused.lies_in(i)
        raise
    n = out.n - at - 6
    # SAFETY: the 6 bytes that were taken, and the n behind them.
    start = <unsigned char *>PyBytes_AS_STRING(<object>out.buffer) + at
    if n <= 0xff:
        memmove(start + 3, start + 6, n)
        out.n -= 3
        start[0], start[1], start[2] = 0xc7, <unsigned char>n, code
        return 0
    return set_long_head(start, code, n)


cdef int set_long_head(unsigned char *start, unsigned char code, Py_ssize_t n) except -1:
    cdef uint32_t length = htobe32(<uint32_t>n)
    if n > 0xffffffff:
        raise Refused(ValueError, "4 GiB or more within a container")
    start[0], start[5] = 0xc9, code
    memcpy(start + 1, &length, 4)
    return 0


cdef int put_raw(Output *out, unsigned char code, bytes data) except -1:
    """Bytes within an extension."""
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
    cdef unsigned char *start
    if n <= 0xff:
        start = take(out, 3)
        start[0], start[1], start[2] = 0xc7, <unsigned char>n, code
    else:
        set_long_head(take(out, 6), code, n)
    memcpy(take(out, n), PyBytes_AS_STRING(data), n)
    return 0
