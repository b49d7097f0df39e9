"""Typed values for `emmap peek` and `emmap poke`: text to bytes and back."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import click

from emmap.cli.common import parse_integer

# Always little-endian, which is also the native order of every machine that emmap builds on
# in practice (x86-64, ARM64, RISC-V), so that a file means the same everywhere.
INTEGERS = {
    "u8": "<B",
    "i8": "<b",
    "u16": "<H",
    "i16": "<h",
    "u32": "<I",
    "i32": "<i",
    "u64": "<Q",
    "i64": "<q",
}
FLOATS = {"f32": "<f", "f64": "<d"}
NUMBERS = INTEGERS | FLOATS
TYPES = (*NUMBERS, "text", "hex")


def type_option(explanation: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option ``--type``, which a command gets as its parameter `kind`."""
    return click.option(
        "--type",
        "kind",
        type=click.Choice(TYPES),
        default="u8",
        show_default=True,
        help=explanation,
    )


def encode(value: str, kind: str) -> bytes:
    """Return the bytes of `value` as `kind`; `ValueError` says what is wrong with it."""
    if kind == "text":
        data = os.fsencode(value)
    elif kind == "hex":
        try:
            data = bytes.fromhex(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a row of hexadecimal bytes") from None
    else:
        return encode_number(value, kind)
    if not data:
        raise ValueError("there are no bytes in it to write")
    return data


def encode_number(value: str, kind: str) -> bytes:
    """Return the bytes of a number, which must fit its type."""
    number: int | float
    try:
        number = parse_integer(value) if kind in INTEGERS else float(value)
    except ValueError:
        what = "an integer" if kind in INTEGERS else "a number"
        raise ValueError(f"{value!r} is not {what}") from None
    try:
        return struct.pack(NUMBERS[kind], number)
    except (struct.error, OverflowError):
        raise ValueError(f"{value} does not fit in {kind}{limits(kind)}") from None


def limits(kind: str) -> str:
    """Return the range of an integer type in words; floats need none."""
    if kind in FLOATS:
        return ""
    bits = int(kind[1:])
    if kind[0] == "u":
        return f" (0 to {2**bits - 1})"
    return f" ({-(2 ** (bits - 1))} to {2 ** (bits - 1) - 1})"


def decode(data: bytes, kind: str) -> str | bytes:
    """Return what to print for `data` as `kind`; text stays the bytes that it is."""
    if kind == "text":
        return data
    if kind == "hex":
        return data.hex()
    return str(struct.unpack(NUMBERS[kind], data)[0])
