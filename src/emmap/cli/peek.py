"""`emmap peek`: a typed value of a file."""

from __future__ import annotations

import struct

import click

import emmap
from emmap.cli.common import FILE, NEGATIVE_NUMBERS, check_offset, failing_on, parse_offset
from emmap.cli.values import NUMBERS, decode, type_option

DEFAULT_LENGTH = 16


@click.command(
    "peek", short_help="Print a typed value of a file.", context_settings=NEGATIVE_NUMBERS
)
@click.argument("file", type=FILE)
@click.argument("offset", type=parse_offset)
@type_option("What lies there; numbers are little-endian.")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help=f"How many bytes of text or hex; up to {DEFAULT_LENGTH} if not given.",
)
def command(file: str, offset: int, kind: str, length: int | None) -> None:
    """Print the value at OFFSET of FILE (decimal, or hexadecimal with 0x).

    The value is taken from a shared mapping, so it is what other processes see now.

    \b
    Example:
      $ emmap poke numbers.bin 8 -70000 --type i32
      wrote 4 bytes at offset 8
      $ emmap peek numbers.bin 8 --type i32
      -70000
    """
    if kind in NUMBERS:
        if length is not None:
            raise click.UsageError(f"--length is for text and hex; {kind} has a length of its own")
        length = struct.calcsize(NUMBERS[kind])
    with failing_on(file), emmap.open(file) as mapping:
        check_offset(file, offset, length or 1, len(mapping))
        data = mapping[offset : offset + (length or DEFAULT_LENGTH)]
    click.echo(decode(data, kind))
