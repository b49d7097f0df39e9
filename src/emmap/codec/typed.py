"""Values of one type, by msgspec: what `Codec.for_type` stands on."""

from dataclasses import fields, is_dataclass

import msgspec

from emmap.codec.unpacking import check_depth
from emmap.errors import CorruptFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Typed:
    """Encodes and decodes values of one type.

    msgspec looks neither at the types of what it encodes nor at the fields that a type does not
    have. So what was encoded is decoded at once: nothing gets into a file that would not come back.
    """

    def __init__(self, kind: "Any") -> None:
        self.name = getattr(kind, "__name__", repr(kind)) if isinstance(kind, type) else repr(kind)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def encode(self, value: object) -> bytes:
        """The MessagePack of a value. Raises TypeError unless it comes back as it is."""
        try:
            data = self._encode(value)
            check_depth(data)
            again = self._decode(data)
        except (msgspec.MsgspecError, TypeError) as error:
            raise TypeError(f"a value of type {self.name} is expected: {error}") from None
        except (ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"cannot encode this {type(value).__name__}: {error}") from None
        if type(again) is not type(value):
            raise TypeError(
                f"a value of type {self.name} is expected, not {type(value).__qualname__}"
            )
        if again != value and not alike(again, value):
            raise TypeError(
                f"a value of type {self.name} is expected, and a field of this one is of another "
                f"type: it would come back as {again!r:.200}"
            )
        return data

    def decode(self, data: bytes) -> object:
        """The value. Raises CorruptFileError for bytes that are none of this type."""
        try:
            check_depth(data)
            return self._decode(data)
        except (MemoryError, CorruptFileError):
            raise
        except Exception as error:
            raise CorruptFileError(f"no value of type {self.name}: {error}") from None


def alike(one: "Any", other: "Any") -> bool:
    """Are two objects made of the same? For NaN, and for classes whose `==` means identity."""
    if type(one) is not type(other):
        return False
    if isinstance(one, msgspec.Struct):
        names = one.__struct_fields__
    elif is_dataclass(one):
        names = tuple(field.name for field in fields(one))
    elif isinstance(one, float):
        return one == other or (one != one and other != other)
    elif isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    elif isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    else:
        return bool(one == other)
    return all(alike(getattr(one, name), getattr(other, name)) for name in names)
