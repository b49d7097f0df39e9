"""Bytes of anybody's: a value or CorruptFileError, and little more memory than they are long."""

from __future__ import annotations

import pickle
import random
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from codec.samples import SAMPLES
from codec.test_typed import FITTING, Job, Tree
from emmap import CorruptFileError
from emmap.codec.values import Codec

plain = Codec()
SMALL = [data for value in SAMPLES if len(data := plain.encode_value(value)) < 2000]
TYPED = [
    (codec, codec.encode_value(value))
    for kind, value in FITTING
    for codec in [Codec.for_type(kind)]
]
# What a hostile file would put in the place of a length.
LENGTHS = [b"\xff" * n for n in (1, 2, 4, 8)] + [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0",
]


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        how = chance.randrange(6)
        if how == 0:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 1 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif how == 2:
            del changed[at : at + chance.randrange(1, 5)]
        elif how == 3:
            length = chance.choice(LENGTHS)
            changed[at : at + len(length)] = length
        elif how == 4:
            other = chance.choice(SMALL)
            changed[at:at] = other[chance.randrange(len(other)) :]
        else:
            changed[at:at] = bytes(
                chance.choice((0x91, 0x81, 0xC7, 0xC9, 0xDD, 0xDF, 0xC0)) for _ in range(9)
            )
    return bytes(changed)


def value_or_refused(decode: Callable[[bytes], Any], data: bytes) -> bool:
    try:
        value = decode(data)
    except CorruptFileError:
        return False
    # What was made can be used, and an encoder makes of it what it makes of any value.
    try:
        text = repr(value)
        assert isinstance(text, str)
        again = plain.encode_value(value)
    except (TypeError, ValueError):
        return True
    assert type(plain.decode_value(again)) is type(value)
    return True


def attack(count: int, seed: int) -> None:
    chance = random.Random(seed)
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(count):
            data = mutated(chance, chance.choice(SMALL))
            read += value_or_refused(plain.decode_value, data)
            value_or_refused(plain.view_value, data)
            codec, data = chance.choice(TYPED)
            value_or_refused(codec.decode_value, mutated(chance, data))
    assert count / 10 < read < count


def test_mutations() -> None:
    attack(10_000, seed=1)


@pytest.mark.slow
def test_a_million_mutations() -> None:
    attack(1_000_000, seed=2)


def test_every_byte_of_each_value() -> None:
    # Cut off everywhere, and each byte replaced.
    for data in SMALL:
        if len(data) < 60:
            for at in range(len(data)):
                value_or_refused(plain.decode_value, data[:at])
                for byte in (0, 1, 0x7F, 0x80, 0xC7, 0xFF):
                    value_or_refused(plain.decode_value, data[:at] + bytes([byte]) + data[at + 1 :])


def test_random_bytes() -> None:
    chance = random.Random(3)
    for tag in range(256):
        for size in (0, 1, 4, 8, 9, 64, 200):
            value_or_refused(plain.decode_value, bytes([tag]) + chance.randbytes(size))


PROMISES = [
    b"\x0b\xdd\xff\xff\xff\xff",
    b"\x0b\xdf\xff\xff\xff\xff",
    b"\x0b\xc6\xff\xff\xff\xff",
    b"\x0b\xdb\xff\xff\xff\xff",
    b"\x0b\xc9\xff\xff\xff\xff\1",
    b"\x0b\xc7\5\1\xdd\xff\xff\xff\xff",
    b"\x0b\xc7\5\2\xdd\xff\xff\xff\xff",
    # Each list promises all bytes that are left.
    b"\x0b"
    + b"".join(b"\xdd" + (5 * n).to_bytes(4, "big") for n in range(20_000, 19_800, -1))
    + b"\0" * 99_000,
    b"\x0b" + b"\xdc\x0f\xff" * 200 + b"\xc0" * 4200,
    b"\x0c\xff\xff\xff\xff",
    b"\x0c\xff\xff\xff\x7f" + bytes(100),
    # Shapes that are not there.
    plain.encode_value(np.zeros(3)).replace(b"\x91\3", b"\x91\x7f"),
    b"\x0c" + (11).to_bytes(4, "little") + b"\x93\xa3|V0\xc7\2\1\x91\3\xc2" + bytes(60),
    *(
        b"\x0c" + len(head).to_bytes(4, "little") + head + bytes(-(4 + len(head)) % 64)
        for shape in ((2**62, 4), (2**40,), (0, 2**62), (2**63,), (-1,), (True,), (0,) * 65)
        for head in [plain.encode_value(("|i1", shape, False))[4:]]
    ),
]


@pytest.mark.parametrize("data", PROMISES, ids=range(len(PROMISES)))
def test_promises_take_no_memory(data: bytes) -> None:
    plain.encode_value(np.zeros(1)), plain.decode_value(plain.encode_value([np.zeros(1)]))
    tracemalloc.start()
    try:
        for codec in (plain, Codec.for_type(list[int]), Codec.for_type(Tree), Codec.for_type(Job)):
            value_or_refused(codec.decode_value, data)
        value_or_refused(plain.view_value, data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data) + 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0", "unknown kind 0"),
        (b"\xff", "unknown kind 255"),
        (b"\x02x", "more bytes"),
        (b"\x04123456789", "more than 8"),
        (b"\x06123", "8 bytes"),
        (b"\x07a\x80b", "ASCII with other"),
        (b"\x07\x80", "ASCII with other"),
        (b"\x08\xed\xa0\x80", "not UTF-8"),
        (b"\x09\xff", "not UTF-8"),
        (b"\x0b", "cut short"),
        (b"\x0b\xc1", "byte 0xc1"),
        (b"\x0b\xc0\xc0", "more bytes"),
        (b"\x0b\x82\1\1\1\1", "key twice"),
        (b"\x0b\x81\x90\1", "unhashable"),
        (b"\x0b\xc7\3\2\x92\1\1", "element twice"),
        (b"\x0b\xc7\1\1\xc0", "without its array"),
        (b"\x0b\xc7\2\1\x90\xc0", "longer than what it holds"),
        (b"\x0b\xc7\1\x7f\x90", "unknown kind 127"),
        (b"\x0b" + b"\x91" * 201 + b"\xc0", "nested"),
        (b"\x0c\1\0\0\0" + b"\xc0" + bytes(59), "no array of ours"),
        (plain.encode_value(np.zeros(3)) + b"\0", "differ in length"),
        (b"\x0e" + pickle.dumps(1), "pickle"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, message: str) -> None:
    with pytest.raises(CorruptFileError, match=message):
        plain.decode_value(data)


def test_strings_of_no_characters_are_refused() -> None:
    fields = [("a", "<U2", (2,)), ("b", [("c", ">U1")])]
    for array in (
        np.array(["Qx"]),
        np.array([["Qx"]], ">U2"),
        np.array([(["a", "bQ"], ("c",))], fields),
    ):
        for value in (array, [array]):
            data = plain.encode_value(value)
            place = data.rindex(b"Q")
            for at in range(place - 3, place + 3):
                value_or_refused(plain.decode_value, data[:at] + b"\x7f" + data[at + 1 :])
            wrong = data[:place] + b"Q\xff\xff\xff" + data[place + 4 :]
            if array.dtype.byteorder == ">":
                wrong = data[: place - 3] + b"\xff\xff\xffQ" + data[place + 1 :]
            with pytest.raises(CorruptFileError, match="no character"):
                plain.decode_value(wrong)


def test_a_large_fraction_is_not_reduced() -> None:
    number = b"\xc9" + (10**6).to_bytes(4, "big") + b"\5" + b"\x55" * 10**6
    data = b"\x92" + number + number
    with pytest.raises(CorruptFileError, match="4 KiB"):
        plain.decode_value(b"\x0b\xc9" + len(data).to_bytes(4, "big") + b"\x14" + data)


def test_zones_are_not_looked_for_elsewhere() -> None:
    zone = plain.encode_value(ZoneInfo("America/Denver"))
    for key in (b"../../etc/pass", b"/etc/localtime", b"No/SuchCountry"):
        with pytest.raises(CorruptFileError, match="time zone"):
            plain.decode_value(zone.replace(b"America/Denver", key[:14].ljust(14, b"x")))
