"""`emmap.cli.values`: typed values to bytes and back."""

from __future__ import annotations

import pytest

from emmap.cli.values import INTEGERS, NUMBERS, TYPES, decode, encode, limits


@pytest.mark.parametrize(
    ("value", "kind", "data"),
    [
        ("255", "u8", b"\xff"),
        ("-1", "i8", b"\xff"),
        ("0x1234", "u16", b"\x34\x12"),
        ("-2", "i16", b"\xfe\xff"),
        ("0xDEADBEEF", "u32", b"\xef\xbe\xad\xde"),
        ("-70000", "i32", b"\x90\xee\xfe\xff"),
        ("18446744073709551615", "u64", b"\xff" * 8),
        ("-0x8000000000000000", "i64", bytes(7) + b"\x80"),
        ("1.5", "f32", b"\x00\x00\xc0\x3f"),
        ("-2.5e-3", "f64", bytes.fromhex("7b14ae47e17a64bf")),
        ("nan", "f32", b"\x00\x00\xc0\x7f"),
        ("caf\u00e9", "text", b"caf\xc3\xa9"),
        ("\udce9", "text", b"\xe9"),
        ("de AD beef", "hex", b"\xde\xad\xbe\xef"),
    ],
)
def test_encode(value: str, kind: str, data: bytes) -> None:
    assert encode(value, kind) == data


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_keep_to_their_limits(kind: str) -> None:
    bits = int(kind[1:])
    low, high = (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert limits(kind) == f" ({low} to {high})"
    for number in (low, high):
        assert decode(encode(str(number), kind), kind) == str(number)
    for number in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"does not fit in {kind} \({low} to {high}\)"):
            encode(str(number), kind)


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("value", ["", "x", "1,5", "--1", "0x", "12 13"])
def test_no_number(value: str, kind: str) -> None:
    with pytest.raises(ValueError, match=r"is not (an integer|a number)"):
        encode(value, kind)


def test_a_fraction_is_no_integer() -> None:
    with pytest.raises(ValueError, match=r"'1\.5' is not an integer"):
        encode("1.5", "i32")


def test_too_large_for_a_short_float() -> None:
    with pytest.raises(ValueError, match="1e39 does not fit in f32"):
        encode("1e39", "f32")


@pytest.mark.parametrize("value", ["abc", "zz", "0x12"])
def test_no_hex(value: str) -> None:
    with pytest.raises(ValueError, match="not a row of hexadecimal bytes"):
        encode(value, "hex")


@pytest.mark.parametrize("kind", ["text", "hex"])
def test_nothing_to_write(kind: str) -> None:
    with pytest.raises(ValueError, match="no bytes"):
        encode("", kind)


def test_decode() -> None:
    assert decode(b"\x00\x00\xc0\x3f", "f32") == "1.5"
    assert decode(b"\xde\xad", "hex") == "dead"
    assert decode(b"caf\xe9", "text") == b"caf\xe9"
    assert {*NUMBERS, "text", "hex"} == set(TYPES)
