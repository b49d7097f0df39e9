"""NumPy arrays and scalars: what they are made of, and the header of an array that is a value.

An array by itself is laid out so that it can be read in place:

```
 0        4            4 + n                 a multiple of 64
 +--------+------------+---------------------+----------------------+
 | n      | dtype,     | zeros               | the elements, in C   |
 | uint32 | shape,     |                     | or Fortran order     |
 |        | order      |                     |                      |
 +--------+------------+---------------------+----------------------+
           MessagePack
```
"""

import re
import warnings
from math import prod

from emmap.codec.extensions import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Parts = tuple[Any, ...]

try:
    import numpy as np
except ImportError:
    raise ImportError(
        "this value is a NumPy array or scalar, and NumPy is missing: pip install 'emmap[numpy]'"
    ) from None

# What a dtype without fields calls itself, with the characters for types that have a twin of
# the same size.
SIMPLE = re.compile(r"[<>|=](?:[?biufcmMSUV]\d+(?:\[\w+\])?|[qQ])")


def take_dtype(dtype: "np.dtype[Any]") -> "Any":
    """A dtype as plain values: a string, or for fields a list as `dtype.descr`."""
    if dtype.hasobject:
        raise Refused(TypeError, f"an array of Python objects ({dtype}): store a list of them")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain: Any = np.lib.format.dtype_to_descr(dtype)
        if dtype.char in "qQ" and np.dtype(plain).char != dtype.char:
            plain = plain[0] + dtype.char
        again = make_dtype(plain)
        same = again == dtype and again.type is dtype.type
    except Exception:
        same = False
    if not same:
        raise Refused(TypeError, f"an array of the dtype {dtype!r}, which has no plain description")
    return plain


def make_dtype(plain: "Any") -> "np.dtype[Any]":
    """The same, back. Raises ValueError and others for what no dtype is described by."""
    if isinstance(plain, str) and not SIMPLE.fullmatch(plain):
        raise ValueError(f"no dtype is called {plain!r}")
    dtype = np.lib.format.descr_to_dtype(plain)
    if dtype.hasobject:
        raise ValueError("a dtype of Python objects")
    return dtype


def check_array(value: "np.ndarray[Any, Any]") -> "Parts":
    """What describes an array: dtype, shape, whether in Fortran order."""
    plain = take_dtype(value.dtype)
    if value.itemsize == 0:
        raise Refused(TypeError, f"an array whose elements take no bytes ({value.dtype!r})")
    return plain, value.shape, value.flags.f_contiguous and not value.flags.c_contiguous


def take_array(value: "np.ndarray[Any, Any]") -> "Parts":
    return *check_array(value), value.tobytes(order="A")


def layout(plain: "Any", shape: "Parts", *, fortran: bool) -> "tuple[Any, int]":
    """The dtype, and how many bytes the elements take."""
    dtype = make_dtype(plain)
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("an array without a shape")
    if type(fortran) is not bool or dtype.itemsize == 0 or dtype.shape:
        raise ValueError("an array of no known layout")
    return dtype, prod(shape) * dtype.itemsize


def view_array(parts: "Parts", memory: "Any", offset: int) -> "np.ndarray[Any, Any]":
    """The array whose elements are all bytes of `memory` from the offset on."""
    plain, shape, fortran = parts
    dtype, size = layout(plain, shape, fortran=fortran)
    if size != len(memory) - offset:
        raise ValueError("an array and its bytes differ in length")
    order: Any = "F" if fortran else "C"
    array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, memory, offset, order=order)
    if array.size:
        check_texts(array, memory, offset)
    return array


def check_texts(array: "np.ndarray[Any, Any]", memory: "Any", offset: int) -> None:
    """Refuse strings of numbers that are no characters: NumPy raises SystemError for them later."""
    for start, dtype in texts(array.dtype, 0):
        shape, strides = (array.size, dtype.itemsize // 4), (array.itemsize, 4)
        codes: np.ndarray[Any, Any] = np.ndarray(
            shape, f"{dtype.str[0]}u4", memory, offset + start, strides
        )
        if codes.max() > 0x10FFFF:
            raise ValueError("an array of strings with a number that is no character")


def texts(dtype: "np.dtype[Any]", start: int) -> "Iterator[tuple[int, np.dtype[Any]]]":
    """Where in each element strings lie, and of which dtype."""
    if dtype.kind == "U" and dtype.itemsize:
        yield start, dtype
    elif dtype.subdtype is not None:
        base, shape = dtype.subdtype
        for i in range(prod(shape)):
            yield from texts(base, start + i * base.itemsize)
    elif dtype.fields is not None:
        for field in dtype.fields.values():
            yield from texts(field[0], start + field[1])


def make_array(*parts: "Any") -> "np.ndarray[Any, Any]":
    *described, data = parts
    if type(data) is not bytes:
        raise ValueError("an array without its bytes")
    return view_array(tuple(described), bytearray(data), 0)


def bytes_of(value: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """All elements of an array as bytes, in its own order: a view, or a copy of what has gaps."""
    flags = value.flags
    if not flags.c_contiguous and not flags.f_contiguous:
        value = np.ascontiguousarray(value)
    return value.reshape(-1, order="A").view(np.uint8)


def empty(size: int) -> "np.ndarray[Any, Any]":
    """So many bytes, to be filled and then viewed as an array: the memory that NumPy would take."""
    return np.empty(size, np.uint8)


# Scalars


def take_scalar(value: "Any") -> "Parts":
    kind = type(value)
    if kind is np.str_:
        # NumPy's own str() loses NUL at the end.
        return "U", str.__str__(value)
    if kind is np.bytes_:
        return "S", bytes(value)
    if kind is not value.dtype.type:
        raise Refused(TypeError, f"a {kind.__qualname__}: store value.item(), or use type=")
    if value.dtype.itemsize == 0:
        raise Refused(TypeError, "a NumPy scalar that takes no bytes")
    return take_dtype(value.dtype), value.tobytes()


def make_scalar(plain: "Any", data: "Any") -> object:
    if plain == "U" and type(data) is str:
        return np.str_(data)
    if plain == "S" and type(data) is bytes:
        return np.bytes_(data)
    fortran = False
    array = make_array(plain, (), fortran, data)
    scalar: object = array[()]
    return scalar
