"""What objects of the standard library and of NumPy are made of, and how they are made again.

Each has a code and is an array of plainer values. A module is imported when a value needs it.
"""

from collections.abc import Callable
from sys import modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Parts = tuple[Any, ...]
    Taker = tuple[int, Callable[[Any], Parts]]


class Refused(Exception):
    """A value that cannot be encoded: why, and where in its container it lies. Never leaves us."""

    def __init__(self, kind: type[Exception], message: str) -> None:
        self.kind = kind
        self.message = message
        self.path: list[str] = []

    def lies_in(self, key: object) -> None:
        """Note the place within the next container outside."""
        try:
            place = repr(key)
        except Exception:
            place = f"a key of type {type(key).__name__}"
        self.path.append(f"[{place[:50]}]")

    def error(self) -> Exception:
        """What the user sees."""
        path = self.path[::-1]
        where = "".join(path if len(path) <= 10 else [*path[:5], "...", *path[-5:]])
        return self.kind(f"cannot encode {self.message}{f', at {where}' if where else ''}")


def refuse_type(kind: type) -> Refused:
    """For values of a type that has no form of its own, and is not written as another."""
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    for base in kind.__mro__[1:-1]:
        if base in TAKERS or base in PLAIN:
            return Refused(
                TypeError,
                f"a {name}, which would come back as {base.__qualname__}: make it one, or say "
                f"with type= what to store",
            )
    return Refused(
        TypeError,
        f"a value of type {name}: make it of plain types, or say with type= what to store "
        f"(a dataclass, a msgspec.Struct or what else msgspec knows)",
    )


PLAIN = {str, bytes, int, float, list, tuple, dict, set, frozenset, bytearray}

# The standard library


def take_complex(value: "Any") -> "Parts":
    return value.real, value.imag


def make_complex(real: float, imag: float) -> complex:
    return complex(real, imag)


def take_range(value: "Any") -> "Parts":
    return value.start, value.stop, value.step


def take_decimal(value: "Any") -> "Parts":
    # The only text form that is exact: digits, exponent, sign, and what a NaN carries.
    return (str(value),)


def make_decimal(text: str) -> object:
    from decimal import Context, Decimal

    # A context that traps nothing makes a NaN of bad text, which a NaN would not be written as.
    value = Decimal(text, Context(traps=[]))
    if value.is_nan() and "nan" not in text.lower():
        raise ValueError("a Decimal of other text")
    return value


# Two numbers that may be anything have to be reduced, which takes the square of their length: two
# of a megabyte 100 seconds.
LONGEST_FRACTION = 2**32768


def take_fraction(value: "Any") -> "Parts":
    if max(abs(value.numerator), value.denominator) >= LONGEST_FRACTION:
        raise Refused(ValueError, "a Fraction of numbers of more than 4 KiB")
    return value.numerator, value.denominator


def make_fraction(numerator: int, denominator: int) -> object:
    from fractions import Fraction

    if max(abs(numerator), abs(denominator)) >= LONGEST_FRACTION:
        raise ValueError("a Fraction of numbers of more than 4 KiB")
    return Fraction(numerator, denominator)


def take_uuid(value: "Any") -> "Parts":
    return value.bytes, value.is_safe.value


def make_uuid(data: bytes, is_safe: int | None) -> object:
    from uuid import UUID, SafeUUID

    return UUID(bytes=data, is_safe=SafeUUID(is_safe))


def take_date(value: "Any") -> "Parts":
    return value.year, value.month, value.day


def make_date(year: int, month: int, day: int) -> object:
    from datetime import date

    return date(year, month, day)


def take_time(value: "Any") -> "Parts":
    # A zone is a value too: one by a class that nobody knows (pytz, dateutil) is refused.
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)


def make_time(
    hour: int, minute: int, second: int, microsecond: int, fold: int, zone: "Any"
) -> object:
    from datetime import time

    return time(hour, minute, second, microsecond, zone, fold=fold)


def take_datetime(value: "Any") -> "Parts":
    return *take_date(value), *take_time(value)


def make_datetime(
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    microsecond: int,
    fold: int,
    zone: "Any",
) -> object:
    from datetime import datetime

    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def take_timedelta(value: "Any") -> "Parts":
    return value.days, value.seconds, value.microseconds


def make_timedelta(days: int, seconds: int, microseconds: int) -> object:
    from datetime import timedelta

    return timedelta(days, seconds, microseconds)


def take_timezone(value: "Any") -> "Parts":
    # (offset,) or (offset, name)
    arguments: Parts = value.__getinitargs__()
    return arguments


def make_timezone(*arguments: "Any") -> object:
    from datetime import timezone

    return timezone(*arguments)


def take_zoneinfo(value: "Any") -> "Parts":
    if value.key is None:
        raise Refused(TypeError, "a ZoneInfo that was read from a file and has no key")
    return (value.key,)


def make_zoneinfo(key: str) -> object:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(key)
    except Exception:
        raise ValueError(
            f"the time zone {key!r} is not known here: pip install tzdata, if it exists"
        ) from None


def make_slice(start: object, stop: object, step: object) -> slice:
    return slice(start, stop, step)


def make_range(start: int, stop: int, step: int) -> range:
    return range(start, stop, step)


# NumPy: nothing is imported until a value of its own comes, in or out.


def take_array(value: "Any") -> "Parts":
    from emmap.codec.arrays import take_array

    return take_array(value)


def make_array(*parts: "Any") -> object:
    from emmap.codec.arrays import make_array

    return make_array(*parts)


def take_scalar(value: "Any") -> "Parts":
    from emmap.codec.arrays import take_scalar

    return take_scalar(value)


def make_scalar(*parts: "Any") -> object:
    from emmap.codec.arrays import make_scalar

    return make_scalar(*parts)


ARRAY, SCALAR = 28, 29

# By the name of the type: its code, and what takes it apart.
NAMED: "dict[tuple[str, str], Taker]" = {
    ("builtins", "complex"): (16, take_complex),
    ("builtins", "range"): (17, take_range),
    ("builtins", "slice"): (18, take_range),
    ("decimal", "Decimal"): (19, take_decimal),
    ("fractions", "Fraction"): (20, take_fraction),
    ("uuid", "UUID"): (21, take_uuid),
    ("datetime", "date"): (22, take_date),
    ("datetime", "time"): (23, take_time),
    ("datetime", "datetime"): (24, take_datetime),
    ("datetime", "timedelta"): (25, take_timedelta),
    ("datetime", "timezone"): (26, take_timezone),
    ("zoneinfo", "ZoneInfo"): (27, take_zoneinfo),
    ("numpy", "ndarray"): (ARRAY, take_array),
}

# By the code: what makes it again, of its parts.
MAKERS: "dict[int, Callable[..., object]]" = {
    16: make_complex,
    17: make_range,
    18: make_slice,
    19: make_decimal,
    20: make_fraction,
    21: make_uuid,
    22: make_date,
    23: make_time,
    24: make_datetime,
    25: make_timedelta,
    26: make_timezone,
    27: make_zoneinfo,
    ARRAY: make_array,
    SCALAR: make_scalar,
}

# By the type itself, of those that were met.
TAKERS: "dict[type, Taker]" = {}


def has_form(kind: object) -> bool:
    """Is it a class whose values are encoded without being told of it?"""
    if not isinstance(kind, type):
        return False
    if kind in PLAIN or kind is bool:
        return True
    try:
        find_taker(kind)
    except Refused:
        return False
    return True


def find_taker(kind: type) -> "Taker":
    """The code of values of just this type, and what takes them apart. Or raises `Refused`."""
    taker = NAMED.get((kind.__module__, kind.__qualname__))
    # A class may call itself as it likes: it must also be what the module has by that name.
    if taker and getattr(modules.get(kind.__module__), kind.__qualname__, None) is kind:
        TAKERS[kind] = taker
        return taker
    numpy = modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.generic):
        return SCALAR, take_scalar
    raise refuse_type(kind)
