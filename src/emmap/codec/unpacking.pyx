# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""MessagePack to objects. The bytes may be anybody's: each length is compared with what is there.

Each element of a container has a byte of its own, so all the counts in n bytes sum up to n at most.
That is watched too: a few bytes that promise large containers make no large containers.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from emmap.codec.format cimport (
    CODE_BIG_INT,
    CODE_BYTEARRAY,
    CODE_FIRST,
    CODE_FROZENSET,
    CODE_SET,
    CODE_SURROGATES,
    CODE_TUPLE,
    DEEPEST,
)
from emmap.codec.integers cimport big_int_from
from emmap.codec.text cimport corrupt, surrogate_text, utf8_text

from emmap.codec import extensions
from emmap.errors import CorruptFileError

cdef extern from "endian.h" nogil:
    uint64_t be64toh(uint64_t)

cdef dict makers = extensions.MAKERS

cdef struct Input:
    const unsigned char *start
    const unsigned char *at     # what comes next
    const unsigned char *end    # of the object that is being read
    Py_ssize_t unclaimed        # so many elements may still be promised


cdef object unpack(const unsigned char *data, Py_ssize_t n):
    """The one value that these bytes are, all of them. Anything else is CorruptFileError."""
    cdef Input source
    source.start = source.at = data
    source.end = data + n
    source.unclaimed = n
    try:
        value = get(&source, 0)
    except (CorruptFileError, ImportError, MemoryError):
        raise
    except Exception as error:
        # A maker's, or an unhashable key's.
        raise corrupt(f"no value of ours: {error}", source.at - data) from None
    if source.at != source.end:
        raise corrupt("more bytes than a value has", source.at - data)
    return value


cdef object damaged(Input *source, str message):
    return corrupt(message, source.at - source.start)


cdef const unsigned char *pass_by(Input *source, Py_ssize_t n) except NULL:
    """The next n bytes, which must be there."""
    if n > source.end - source.at:
        raise damaged(source, "a value that was cut short")
    # SAFETY: inside of the bytes, as just compared; the caller's caller keeps them.
    source.at += n
    return source.at - n


cdef uint64_t number(Input *source, int n) except? 0:
    """An unsigned number of n bytes, big-endian."""
    cdef uint64_t word = 0
    memcpy(<unsigned char *>&word + 8 - n, pass_by(source, n), n)
    return be64toh(word)


cdef Py_ssize_t count(Input *source, uint64_t n) except -1:
    """How many elements follow: each has a byte of its own."""
    if n > <uint64_t>(source.end - source.at) or <Py_ssize_t>n > source.unclaimed:
        raise damaged(source, "a container that promises more than there is")
    source.unclaimed -= n
    return n


cdef object get(Input *source, int depth):
    cdef unsigned char head = pass_by(source, 1)[0]
    cdef uint64_t word
    cdef double real
    cdef Py_ssize_t n
    if head < 0x80:
        return <int>head
    if head < 0x90:
        return get_dict(source, head & 15, depth + 1)
    if head < 0xa0:
        return get_list(source, head & 15, depth + 1)
    if head < 0xc0:
        return get_text(source, head & 31)
    if head >= 0xe0:
        return <int><int8_t>head
    if head == 0xc0:
        return None
    if head == 0xc2:
        return False
    if head == 0xc3:
        return True
    if 0xc4 <= head <= 0xc6:
        n = number(source, 1 << (head - 0xc4))
        return PyBytes_FromStringAndSize(<const char *>pass_by(source, n), n)
    if head == 0xc7 or head == 0xc9:
        return get_extension(source, number(source, 1 if head == 0xc7 else 4), depth)
    if head == 0xcb:
        word = number(source, 8)
        memcpy(&real, &word, 8)
        return real
    if 0xcc <= head <= 0xcf:
        return number(source, 1 << (head - 0xcc))
    if head == 0xd0:
        return <int8_t>number(source, 1)
    if head == 0xd1:
        return <int16_t>number(source, 2)
    if head == 0xd2:
        return <int32_t>number(source, 4)
    if head == 0xd3:
        return <int64_t>number(source, 8)
    if 0xd9 <= head <= 0xdb:
        return get_text(source, number(source, 1 << (head - 0xd9)))
    if head == 0xdc or head == 0xdd:
        return get_list(source, number(source, 2 if head == 0xdc else 4), depth + 1)
    if head == 0xde or head == 0xdf:
        return get_dict(source, number(source, 2 if head == 0xde else 4), depth + 1)
    raise damaged(source, f"a value that begins with the byte {head:#x}")


cdef str get_text(Input *source, Py_ssize_t n):
    cdef const unsigned char *data = pass_by(source, n)
    return utf8_text(data, n)


cdef int check_deeper(Input *source, int depth) except -1:
    if depth > DEEPEST:
        raise damaged(source, f"a value that is nested more than {DEEPEST} deep")
    return 0


cdef list get_list(Input *source, uint64_t promised, int depth):
    cdef Py_ssize_t i, n = count(source, promised)
    check_deeper(source, depth)
    items = PyList_New(n)
    for i in range(n):
        item = get(source, depth)
        Py_INCREF(item)     # which SET_ITEM takes
        PyList_SET_ITEM(items, i, item)
    return items


cdef tuple get_tuple(Input *source, int depth):
    """The array that an extension holds."""
    cdef unsigned char head = pass_by(source, 1)[0]
    cdef Py_ssize_t i, n
    if 0x90 <= head <= 0x9f:
        n = count(source, head & 15)
    elif head == 0xdc or head == 0xdd:
        n = count(source, number(source, 2 if head == 0xdc else 4))
    else:
        raise damaged(source, "an extension without its array")
    items = PyTuple_New(n)
    for i in range(n):
        item = get(source, depth)
        Py_INCREF(item)
        PyTuple_SET_ITEM(items, i, item)
    return items


cdef dict get_dict(Input *source, uint64_t promised, int depth):
    cdef Py_ssize_t i, n = count(source, 2 * promised) // 2
    check_deeper(source, depth)
    cdef dict items = {}
    for i in range(n):
        key = get(source, depth)
        items[key] = get(source, depth)
    if len(items) != n:
        raise damaged(source, "a dict that has a key twice")
    return items


cdef object get_extension(Input *source, Py_ssize_t n, int depth):
    cdef unsigned char code = pass_by(source, 1)[0]
    cdef const unsigned char *data
    cdef const unsigned char *end = source.end
    if code == CODE_BYTEARRAY or code == CODE_BIG_INT or code == CODE_SURROGATES:
        data = pass_by(source, n)
        if code == CODE_SURROGATES:
            return surrogate_text(data, n)
        if code == CODE_BIG_INT:
            return big_int_from(data, n)
        return bytearray(PyBytes_FromStringAndSize(<const char *>data, n))
    if n > end - source.at:
        raise damaged(source, "a value that was cut short")
    check_deeper(source, depth + 1)
    # SAFETY: inside of the bytes, as just compared.
    source.end = source.at + n
    parts = get_tuple(source, depth + 1)
    if source.at != source.end:
        raise damaged(source, "an extension that is longer than what it holds")
    source.end = end
    if code == CODE_TUPLE:
        return parts
    if code == CODE_SET or code == CODE_FROZENSET:
        return get_set(source, code, parts)
    maker = makers.get(code)
    if maker is None:
        raise damaged(source, f"an extension of the unknown kind {code}")
    return maker(*parts)


cdef object get_set(Input *source, unsigned char code, tuple parts):
    items = set(parts) if code == CODE_SET else frozenset(parts)
    if len(items) != len(parts):
        raise damaged(source, "a set that has an element twice")
    return items


def check_depth(bytes data):
    """Raise for MessagePack, of whatever origin, that is nested too deep for a decoder that recurses.

    Whether it is right in other ways is for that decoder to say.
    """
    cdef Py_ssize_t left[DEEPEST + 1]
    cdef Input source
    cdef unsigned char head
    cdef uint64_t items, size
    cdef int depth = 0
    # SAFETY: `data` lives until this returns.
    source.start = source.at = <const unsigned char *>PyBytes_AS_STRING(data)
    source.end = source.at + len(data)
    left[0] = 1
    while depth >= 0:
        if left[depth] == 0:
            depth -= 1
            continue
        left[depth] -= 1
        head = pass_by(&source, 1)[0]
        items = size = 0
        if 0x80 <= head < 0x90:
            items = 2 * (head & 15)
        elif 0x90 <= head < 0xa0:
            items = head & 15
        elif 0xa0 <= head < 0xc0:
            size = head & 31
        elif 0xc4 <= head <= 0xc6:
            size = number(&source, 1 << (head - 0xc4))
        elif 0xc7 <= head <= 0xc9:
            size = 1 + number(&source, 1 << (head - 0xc7))
        elif head == 0xca or head == 0xcb:
            size = 4 << (head - 0xca)
        elif 0xcc <= head <= 0xd3:
            size = 1 << ((head - 0xcc) & 3)
        elif 0xd4 <= head <= 0xd8:
            size = 1 + (1 << (head - 0xd4))
        elif 0xd9 <= head <= 0xdb:
            size = number(&source, 1 << (head - 0xd9))
        elif head == 0xdc or head == 0xdd:
            items = number(&source, 2 << (head - 0xdc))
        elif head == 0xde or head == 0xdf:
            items = 2 * number(&source, 2 << (head - 0xde))
        pass_by(&source, size)
        if items:
            depth += 1
            check_deeper(&source, depth)
            left[depth] = items
