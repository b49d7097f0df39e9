"""Keys to bytes: equal keys have equal bytes, others other bytes, and what is no key is refused."""

from __future__ import annotations

import enum
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.samples import INTS, TEXTS
from emmap import CorruptFileError
from emmap.codec.keys import decode_key, encode_key

SIMPLE: list[Any] = [
    *("", "a", "b", "ab", "é", "\ud800", "\ud83d\ude00", "\U0001f600", "a\0", "x" * 200),
    *(b"", b"a", b"\0", "é".encode(), b"x" * 200, *INTS),
]
KEYS: list[Any] = [
    *SIMPLE,
    (),
    *((key,) for key in SIMPLE),
    *(("a", "b"), ("ab", ""), ("", "ab"), ("a", b"b"), (1, 2), (2, 1), ("x" * 20_000, 1)),
]
OTHERS: list[Any] = [None, [], frozenset(), bytearray(), 1j]
PART = TEXTS | st.binary() | st.integers() | st.integers(-(2**80), 2**80)
ANY_KEY = PART | st.lists(PART).map(tuple)


def test_samples() -> None:
    encoded = [encode_key(key) for key in KEYS]
    assert len(set(encoded)) == len(set(KEYS)) == len(KEYS)
    for key, data in zip(KEYS, encoded, strict=True):
        again = decode_key(data)
        assert again == key
        assert type(again) is type(key)
        if isinstance(again, tuple) and isinstance(key, tuple):
            assert list(map(type, again)) == list(map(type, key))


@settings(max_examples=300, deadline=None)
@given(ANY_KEY, ANY_KEY)
def test_equal_just_when_the_bytes_are(one: Any, other: Any) -> None:
    assert decode_key(encode_key(one)) == one
    assert (encode_key(one) == encode_key(other)) == (one == other)


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (True, "True would be the same key as 1"),
        (1.0, r"1\.0 would be the same key as 1"),
        (Colour.RED, r"come back as int: use int\(key\)"),
        (Name("a"), r"come back as str: use str\(key\)"),
        ((1, (2,)), "a tuple in a tuple"),
        *((other, "a key is a str, bytes, an int") for other in OTHERS),
    ],
    ids=repr,
)
def test_refused(key: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        encode_key(key)
    if type(key) is not tuple:
        with pytest.raises(TypeError, match=why):
            encode_key((1, key))


def test_few_bytes() -> None:
    sizes = {
        0: 0,
        1: 1,
        -1: 1,
        127: 1,
        128: 2,
        -128: 1,
        -129: 2,
        2**63 - 1: 8,
        2**63: 9,
        -(2**63): 8,
    }
    assert {key: len(encode_key(key)) - 1 for key in sizes} == sizes
    assert len(encode_key(("user", 5))) == 1 + 2 + 4 + 2 + 1


def test_only_what_a_key_has_made_is_read() -> None:
    read = 0
    for n in range(3):
        for numbers in itertools.product(
            range(6), *[(0, 1, 2, 3, 4, 0x7F, 0x80, 0xD8, 0xED, 0xFF)] * n
        ):
            read += decoded_or_refused(bytes(numbers))
    assert read > 100
    for wrong in (
        b"",
        b"\4\3\x81\0\1",
        b"\4\3\x80\0",
        b"\4\3" + b"\xff" * 20,
        b"\4\4\0",
        b"\1\xff",
    ):
        with pytest.raises(CorruptFileError):
            decode_key(wrong)


def test_mutated_keys() -> None:
    chance = random.Random(1)
    encoded = [encode_key(key) for key in KEYS]
    for _ in range(10_000):
        data = bytearray(chance.choice(encoded))
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.choice(
                (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
            )
        decoded_or_refused(bytes(data))


def decoded_or_refused(data: bytes) -> bool:
    """Whatever is read as a key is the key of just these bytes."""
    try:
        key = decode_key(data)
    except CorruptFileError:
        return False
    assert encode_key(key) == data
    return True
