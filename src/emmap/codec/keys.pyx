# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""Keys as bytes: two keys are equal just when their kinds and their bytes are.

A tuple is its elements one after the other: kind, length (7 bits a byte, the lowest first; all but the
last have the eighth set), bytes. It holds no tuples: a key names something, and is no tree.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t

from emmap.codec.integers cimport big_int_bytes, big_int_from, int_from, int_to
from emmap.codec.text cimport (
    PyUnicode_AsUTF8AndSize,
    PyUnicode_DATA,
    PyUnicode_IS_COMPACT_ASCII,
    copy_ascii,
    corrupt,
    surrogate_bytes,
    surrogate_text,
)

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

# 0 is no key.
cdef enum:
    KEY_STR = 1         # UTF-8, with lone surrogates as it would have them
    KEY_BYTES = 2
    KEY_INT = 3
    KEY_TUPLE = 4


cdef inline int borrow(Key *out, unsigned char kind, object owner, const void *data, Py_ssize_t n) noexcept:
    Py_INCREF(owner)
    out.owner = <PyObject *>owner
    out.kind, out.data, out.n = kind, <const unsigned char *>data, n
    return 0


cdef inline int borrow_bytes(Key *out, unsigned char kind, bytes data) noexcept:
    return borrow(out, kind, data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef int key_of(object key, Key *out) except -1:
    """Fills `out`, which is to be ended with key_done; after an exception it is not.

    Raises TypeError for what is no key. Nothing is allocated for str of ASCII, bytes and int.
    """
    cdef int overflow
    cdef int64_t number
    if type(key) is str:
        if PyUnicode_IS_COMPACT_ASCII(key):
            return borrow(out, KEY_STR, key, PyUnicode_DATA(key), PyUnicode_GET_LENGTH(key))
        return key_of_text(key, out)
    if type(key) is bytes:
        return borrow_bytes(out, KEY_BYTES, key)
    if type(key) is int:
        number = PyLong_AsLongLongAndOverflow(key, &overflow)
        if overflow:
            return borrow_bytes(out, KEY_INT, big_int_bytes(key))
        out.owner = NULL
        out.kind, out.data, out.n = KEY_INT, out.small, int_to(number, out.small)
        return 0
    if type(key) is tuple:
        return borrow_bytes(out, KEY_TUPLE, tuple_bytes(key))
    raise TypeError(f"{no_key(key)}")


cdef int key_of_text(str key, Key *out) except -1:
    cdef const char *data
    cdef Py_ssize_t n
    try:
        data = PyUnicode_AsUTF8AndSize(key, &n)
    except UnicodeEncodeError:
        return borrow_bytes(out, KEY_STR, surrogate_bytes(key))
    return borrow(out, KEY_STR, key, data, n)


cdef str no_key(object key):
    """Why it is none."""
    name = type(key).__qualname__
    if type(key) is bool:
        return "a bool is no key: True would be the same key as 1, and come back as one of them: use int(key)"
    if type(key) is float:
        return "a float is no key: 1.0 would be the same key as 1, and come back as one of them: use int, or str"
    for base in (str, bytes, int, tuple):
        if isinstance(key, base):
            return (f"a {name} is no key, since it would come back as {base.__name__}: use "
                    f"{base.__name__}(key)")
    return f"a key is a str, bytes, an int, or a tuple of them, not {name}"


cdef bytes tuple_bytes(tuple key):
    cdef Key part
    cdef bytearray out = bytearray()
    cdef Py_ssize_t n
    for element in key:
        if type(element) is tuple:
            raise TypeError("a tuple in a tuple is no key: put all elements in one")
        key_of(element, &part)
        try:
            out.append(part.kind)
            n = part.n
            while n >= 0x80:
                out.append(n & 0x7f | 0x80)
                n >>= 7
            out.append(n)
            out += part.data[:part.n]
        finally:
            key_done(&part)
    return bytes(out)


cdef object key_back(unsigned char kind, const unsigned char *data, Py_ssize_t n):
    """The key of these bytes. Raises CorruptFileError for others than key_of gives."""
    if kind == KEY_STR:
        return text_back(data, n)
    if kind == KEY_BYTES:
        return PyBytes_FromStringAndSize(<const char *>data, n)
    if kind == KEY_INT:
        return int_back(data, n)
    if kind == KEY_TUPLE:
        return tuple_back(data, n)
    raise corrupt(f"a key of the unknown kind {kind}", 0)


cdef str text_back(const unsigned char *data, Py_ssize_t n):
    text = copy_ascii(data, n)
    return text if text is not None else surrogate_text(data, n)


cdef object int_back(const unsigned char *data, Py_ssize_t n):
    # A byte too many at the end only repeats the sign.
    if n and (data[n - 1] == 0 and (n == 1 or data[n - 2] < 0x80) or
              n > 1 and data[n - 1] == 0xff and data[n - 2] >= 0x80):
        raise corrupt("an int as a key in more bytes than it takes", 0)
    return int_from(data, n) if n <= 8 else big_int_from(data, n)


cdef tuple tuple_back(const unsigned char *data, Py_ssize_t n):
    cdef Py_ssize_t at = 0
    cdef uint64_t length
    cdef int shift
    cdef unsigned char kind, byte
    cdef list parts = []
    # SAFETY: `at` is compared with n before each access.
    while at < n:
        kind = data[at]
        at += 1
        length = shift = 0
        while True:
            if at == n or shift > 56:
                raise corrupt("a tuple as a key that was cut short", at)
            byte = data[at]
            at += 1
            length |= <uint64_t>(byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                break
        if length > <uint64_t>(n - at) or byte == 0 and shift > 7 or kind == KEY_TUPLE:
            raise corrupt("a tuple as a key that no key has made", at)
        parts.append(key_back(kind, data + at, length))
        at += length
    return tuple(parts)


def encode_key(key):
    """The bytes of a key, its kind first."""
    cdef Key it
    key_of(key, &it)
    try:
        return bytes((it.kind,)) + it.data[:it.n]
    finally:
        key_done(&it)


def decode_key(bytes data):
    """The key of such bytes."""
    if not data:
        raise corrupt("no bytes, which are no key", 0)
    # SAFETY: `data` lives until this returns.
    return key_back(data[0], <const unsigned char *>PyBytes_AS_STRING(data) + 1, len(data) - 1)
