# cython: binding=False, embedsignature=True, embedsignature.format=clinic, autotestdict=False
"""`Codec`: Python values to bytes and back, equal and of the same types, or not at all."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport cython

import sys

from emmap.codec.format cimport (
    ARRAY,
    ASCII,
    BIG_INT,
    BYTES,
    FALSE,
    FLOAT,
    INT,
    NONE,
    PACKED,
    PICKLE,
    SURROGATES,
    TRUE,
    TYPED,
    UTF8,
)
from emmap.codec.integers cimport big_int_bytes, big_int_from, int_from, int_to
from emmap.codec.packing cimport pack
from emmap.codec.text cimport (
    LARGE,
    PyUnicode_AsUTF8AndSize,
    PyUnicode_DATA,
    PyUnicode_IS_COMPACT_ASCII,
    copy_ascii,
    corrupt,
    surrogate_bytes,
    surrogate_text,
    utf8_text,
)
from emmap.codec.unpacking cimport unpack

from emmap.codec import extensions
from emmap.codec.extensions import Refused
from emmap.errors import CorruptFileError

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    Py_buffer *PyMemoryView_GET_BUFFER(object view) noexcept

cdef extern from "endian.h" nogil:
    uint32_t htole32(uint32_t)
    uint32_t le32toh(uint32_t)
    uint64_t htole64(uint64_t)
    uint64_t le64toh(uint64_t)

# A string keeps the UTF-8 that it was asked for. Of longer ones it is made each time, and forgotten.
cdef Py_ssize_t KEPT = 65536

# The elements of an array begin at a multiple of this, from the payload's start.
cdef Py_ssize_t ALIGNMENT = 64


cdef inline void borrow(Encoded *out, unsigned char tag, object owner, const void *data, Py_ssize_t n) noexcept:
    """The bytes lie in `owner`, which never changes them."""
    Py_INCREF(owner)
    out.owner = <PyObject *>owner
    out.tag, out.data, out.n = tag, <const unsigned char *>data, n


cdef inline void borrow_bytes(Encoded *out, unsigned char tag, bytes data) noexcept:
    borrow(out, tag, data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


@cython.final
cdef class Codec:
    """Encodes values, and decodes what it has encoded: equal, and of the same types all the way down.

    `Codec()` takes None, bool, int of any size, float, str and bytes; list, tuple, dict, set,
    frozenset and bytearray of such values; complex, range, slice, Decimal, Fraction, UUID, dates,
    times and their zones (`timezone` and `ZoneInfo`); NumPy arrays and scalars. A value of any other type,
    a subclass of one of these too, raises `TypeError`; one that is nested more than 200 deep `ValueError`.
    What comes back is a copy.

    `Codec.for_type(T)` is for values of one type, `Codec.pickle()` for whatever pickle takes.

    Whatever the bytes, decoding gives a value or raises `CorruptFileError`, and runs no code of theirs.

    Cost: numbers 15 ns, str and bytes twice a copy of them; containers 20 ns an element.

    >>> codec = Codec()
    >>> codec.decode_value(codec.encode_value({"a": (1, True, 1.0)}))
    {'a': (1, True, 1.0)}
    >>> codec.encode_value([object()])
    Traceback (most recent call last):
    TypeError: cannot encode a value of type object: ...
    """

    def __cinit__(self):
        pass

    @staticmethod
    def for_type(kind):
        """A codec for the values of one type: a dataclass, a `msgspec.Struct`, `list[int]`...

        A class whose values `Codec()` takes has the same bytes as there. Any other is what msgspec
        knows as a type, and what is in its fields is as msgspec has it: an int where a float is
        declared comes back as a float, a `ZoneInfo` as the offset that it had.

        A value of another type raises `TypeError` when it is encoded, and so does one that would
        not come back equal. Bytes that do not fit the type, for instance of an older form of the
        class, raise `CorruptFileError`, which tells why.
        """
        cdef Codec codec = Codec()
        codec.special = True
        if extensions.has_form(kind):
            codec.native = kind
        else:
            from emmap.codec.typed import Typed

            codec.typed = Typed(kind)
        return codec

    @staticmethod
    def pickle():
        """A codec for all that pickle takes. **Decoding runs whatever code the bytes say.**

        Only for bytes that nobody else can write. Numbers, strings, bytes and arrays are as those
        of `Codec()`.
        """
        cdef Codec codec = Codec()
        codec.special = codec.pickles = True
        return codec

    cdef int encode(self, object value, Encoded *out) except -1:
        """Fills `out`, which is to be ended with encoded_done. After an exception it is not."""
        out.owner = NULL
        out.more_n = 0
        if self.special:
            return self.encode_special(value, out)
        return encode_native(value, out) or encode_other(value, out)

    cdef int encode_special(self, object value, Encoded *out) except -1:
        if self.native is not None:
            if type(value) is not self.native:
                raise TypeError(f"a value of type {self.native.__name__} is expected, not "
                                f"{type(value).__name__}")
            return encode_native(value, out) or encode_other(value, out)
        if self.typed is not None:
            borrow_bytes(out, TYPED, self.typed.encode(value))
            return 1
        if encode_native(value, out):
            return 1
        if is_array(value) and not value.dtype.hasobject:
            return encode_other(value, out)
        import pickle

        borrow_bytes(out, PICKLE, pickle.dumps(value, 5))
        return 1

    cdef object decode(self, unsigned char tag, const unsigned char *data, Py_ssize_t n):
        """The value of a payload, a copy.

        SAFETY: the caller keeps the bytes until this returns, also from other threads: what is large is
        copied without the GIL.
        """
        if not self.special:
            return ascii_text(data, n) if tag == ASCII else decode_any(tag, data, n)
        if self.typed is not None:
            if tag != TYPED:
                raise corrupt("a value that was stored without type=, where one is expected that was "
                              "stored with it", 0)
            return self.typed.decode(PyBytes_FromStringAndSize(<const char *>data, n))
        if self.pickles and tag == PICKLE:
            return unpickle(PyBytes_FromStringAndSize(<const char *>data, n))
        value = decode_any(tag, data, n)
        if self.native is not None and type(value) is not self.native:
            raise corrupt(f"a value of type {type(value).__name__}, where type={self.native.__name__} is "
                          f"expected", 0)
        return value

    cdef object decode_view(self, unsigned char tag, object memory, const unsigned char *data, Py_ssize_t n):
        """As decode, but of bytes a memoryview, and of an array an array, both read-only and in place.

        SAFETY: the bytes stay as they are as long as `memory` lives, which the view holds.
        """
        cdef Held held
        if tag != ARRAY and tag != BYTES or self.typed is not None:
            return self.decode(tag, data, n)
        if self.native is not None and (self.native is bytes) != (tag == BYTES):
            return self.decode(tag, data, n)
        held = Held()
        held.memory, held.data, held.n = memory, data, n
        return memoryview(held) if tag == BYTES else view_array(data, n, held)

    def encode_value(self, value):
        """The bytes of a value: its tag and its payload."""
        cdef Encoded it
        cdef unsigned char *to
        self.encode(value, &it)
        try:
            data = PyBytes_FromStringAndSize(NULL, 1 + encoded_size(&it))
            to = <unsigned char *>PyBytes_AS_STRING(data)
            to[0] = it.tag
            # SAFETY: behind the tag there is room for the payload.
            encoded_copy(&it, to + 1)
        finally:
            encoded_done(&it)
        return data

    def decode_value(self, data):
        """The value of bytes that `encode_value` has made, or of any buffer that holds them."""
        cdef Py_buffer buffer
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            check_tag(buffer.len)
            # SAFETY: the buffer is held until the value has been made.
            return self.decode((<unsigned char *>buffer.buf)[0], <unsigned char *>buffer.buf + 1, buffer.len - 1)
        finally:
            PyBuffer_Release(&buffer)

    def view_value(self, data):
        """The same, but bytes and arrays are views of the buffer, read-only, which they hold."""
        cdef Py_buffer *buffer
        memory = memoryview(data).cast("B")
        buffer = PyMemoryView_GET_BUFFER(memory)
        check_tag(buffer.len)
        # SAFETY: the memoryview, which is held, holds the buffer.
        return self.decode_view((<unsigned char *>buffer.buf)[0], memory, <unsigned char *>buffer.buf + 1,
                                buffer.len - 1)


cdef int check_tag(Py_ssize_t n) except -1:
    if n == 0:
        raise corrupt("no bytes, which are no value", 0)
    return 0


# What takes no MessagePack

cdef int encode_native(object value, Encoded *out) except -1:
    """1 when the value is of a type that has a form of its own, else 0."""
    if type(value) is str:
        if PyUnicode_IS_COMPACT_ASCII(value):
            borrow(out, ASCII, value, PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value))
            return 1
        return encode_text(value, out)
    if type(value) is bytes:
        borrow_bytes(out, BYTES, value)
        return 1
    if type(value) is int:
        return encode_int(value, out)
    if type(value) is float:
        encode_float(PyFloat_AS_DOUBLE(value), out)
        return 1
    if value is None or type(value) is bool:
        out.tag = NONE if value is None else TRUE if value is True else FALSE
        out.data, out.n = out.small, 0
        return 1
    return 0


cdef inline void encode_float(double number, Encoded *out) noexcept:
    cdef uint64_t word
    memcpy(&word, &number, 8)
    word = htole64(word)
    memcpy(out.small, &word, 8)
    out.tag, out.data, out.n = FLOAT, out.small, 8


cdef int encode_int(object value, Encoded *out) except -1:
    cdef int overflow
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        borrow_bytes(out, BIG_INT, big_int_bytes(value))
        return 1
    out.tag, out.data, out.n = INT, out.small, int_to(number, out.small)
    return 1


cdef int encode_text(str value, Encoded *out) except -1:
    cdef const char *data
    cdef Py_ssize_t n
    try:
        if PyUnicode_GET_LENGTH(value) > KEPT:
            borrow_bytes(out, UTF8, value.encode())
        else:
            data = PyUnicode_AsUTF8AndSize(value, &n)
            borrow(out, UTF8, value, data, n)
    except UnicodeEncodeError:
        borrow_bytes(out, SURROGATES, surrogate_bytes(value))
    return 1


cdef inline str ascii_text(const unsigned char *data, Py_ssize_t n):
    text = copy_ascii(data, n)
    if text is None:
        raise corrupt("a string of ASCII with other bytes in it", 0)
    return text


cdef inline bytes copy_bytes(const unsigned char *data, Py_ssize_t n):
    if n < LARGE:
        return PyBytes_FromStringAndSize(<const char *>data, n)
    copied = PyBytes_FromStringAndSize(NULL, n)
    copy(PyBytes_AS_STRING(copied), data, n)
    return copied


cdef inline void copy(void *to, const void *data, Py_ssize_t n) noexcept:
    """SAFETY: the caller keeps both, and nobody else knows `to`."""
    if n < LARGE:
        memcpy(to, data, n)
    else:
        with nogil:
            memcpy(to, data, n)


cdef object decode_any(unsigned char tag, const unsigned char *data, Py_ssize_t n):
    cdef double number
    cdef uint64_t word
    if tag == ASCII:
        return ascii_text(data, n)
    if tag == BYTES:
        return copy_bytes(data, n)
    if tag == INT:
        return int_from(data, n)
    if tag == FLOAT:
        if n != 8:
            raise corrupt("a float that is not 8 bytes long", 0)
        memcpy(&word, data, 8)
        word = le64toh(word)
        memcpy(&number, &word, 8)
        return number
    if NONE <= tag <= TRUE:
        if n:
            raise corrupt("more bytes than a value has", 0)
        return None if tag == NONE else tag == TRUE
    if tag == PACKED:
        return unpack(data, n)
    if tag == UTF8:
        return utf8_text(data, n)
    if tag == BIG_INT:
        return big_int_from(data, n)
    if tag == SURROGATES:
        return surrogate_text(data, n)
    if tag == ARRAY:
        return copy_array(data, n)
    if tag == PICKLE:
        raise corrupt("a pickle, which can run any code: if you trust whoever wrote it, say codec=\"pickle\"", 0)
    if tag == TYPED:
        raise corrupt("a value that was stored with type=: say the same type= to read it", 0)
    raise corrupt(f"a value of the unknown kind {tag}", 0)


cdef object unpickle(bytes data):
    import pickle

    try:
        return pickle.loads(data)
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise CorruptFileError(f"no pickle that can be loaded: {type(error).__name__}: {error}") from error


# The rest

cdef int encode_other(object value, Encoded *out) except -1:
    if is_array(value):
        try:
            return encode_array(value, out)
        except Refused as refused:
            raise refused.error() from None
    borrow_bytes(out, PACKED, pack(value))
    return 1


cdef bint is_array(object value) except -1:
    if type(value) is dict or type(value) is list or type(value) is tuple:
        return False
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is getattr(numpy, "ndarray", None)


cdef int encode_array(object array, Encoded *out) except -1:
    """The header of its own, and the elements where they are."""
    from emmap.codec.arrays import bytes_of, check_array

    cdef bytes described = pack(check_array(array))
    cdef uint32_t n = <uint32_t>PyBytes_GET_SIZE(described)
    cdef Py_buffer *buffer
    header = PyBytes_FromStringAndSize(<char *>&n, 4)
    n = htole32(n)
    memcpy(PyBytes_AS_STRING(header), &n, 4)
    header += described
    header += bytes(-len(header) % ALIGNMENT)
    elements = memoryview(bytes_of(array))
    owner = (header, elements)
    borrow(out, ARRAY, owner, PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header))
    buffer = PyMemoryView_GET_BUFFER(elements)
    # SAFETY: `owner` holds the memoryview, and that the array.
    out.more, out.more_n = <const unsigned char *>buffer.buf, buffer.len
    return 1


cdef Py_ssize_t elements_of(const unsigned char *data, Py_ssize_t n, list parts) except -1:
    """Where in the payload of an array its elements begin. Appends what the header says."""
    cdef uint32_t described
    cdef Py_ssize_t start
    if n < 4:
        raise corrupt("an array that was cut short", 0)
    memcpy(&described, data, 4)
    described = le32toh(described)
    start = (<Py_ssize_t>described + 4 + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    if start > n:
        raise corrupt("an array that was cut short", 0)
    # SAFETY: inside of the n bytes, as just compared.
    parts.append(unpack(data + 4, described))
    return start


cdef object view_array(const unsigned char *data, Py_ssize_t n, object memory):
    """The array that a payload is, over `memory`, which gives these bytes."""
    from emmap.codec.arrays import view_array

    cdef list parts = []
    cdef Py_ssize_t start = elements_of(data, n, parts)
    try:
        return view_array(parts[0], memory, start)
    except MemoryError:
        raise
    except Exception as error:
        raise corrupt(f"no array of ours: {error}", 0) from None


cdef object copy_array(const unsigned char *data, Py_ssize_t n):
    """The same over bytes of its own, which may be written."""
    from emmap.codec.arrays import empty, view_array

    cdef list parts = []
    cdef Py_ssize_t start = elements_of(data, n, parts)
    cdef Py_buffer buffer
    memory = empty(n - start)
    PyObject_GetBuffer(memory, &buffer, PyBUF_SIMPLE)
    # SAFETY: both have n - start bytes.
    copy(buffer.buf, data + start, n - start)
    PyBuffer_Release(&buffer)
    try:
        return view_array(parts[0], memory, 0)
    except MemoryError:
        raise
    except Exception as error:
        raise corrupt(f"no array of ours: {error}", 0) from None


@cython.final
cdef class Held:
    """Bytes of somebody's, read-only, who lives as long as there are views of them."""

    cdef object memory
    cdef const unsigned char *data
    cdef Py_ssize_t n

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void *>self.data, self.n, 1, flags)

    def __len__(self):
        return self.n
