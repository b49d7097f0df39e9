"""`emmap poke`: a typed value into a file."""

from __future__ import annotations

import click

import emmap
from emmap.cli.common import FILE, NEGATIVE_NUMBERS, Failure, failing_on, parse_offset
from emmap.cli.values import encode, type_option

LARGEST_FILE = 2**63 - 1


@click.command(
    "poke", short_help="Write a typed value into a file.", context_settings=NEGATIVE_NUMBERS
)
@click.argument("file", type=FILE)
@click.argument("offset", type=parse_offset)
@click.argument("value")
@type_option("How to write VALUE; numbers are little-endian, text is as typed.")
def command(file: str, offset: int, value: str, kind: str) -> None:
    """Write VALUE at OFFSET of FILE (decimal, or hexadecimal with 0x).

    FILE is created, or grown with zeros, where it must be. The value goes through a shared
    mapping, so other processes see it at once. A VALUE that does not fit its type is refused
    before FILE is touched. Put -- before a VALUE that looks like an option.

    \b
    Example:
      $ emmap poke numbers.bin 8 -70000 --type i32
      wrote 4 bytes at offset 8
    """
    try:
        data = encode(value, kind)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="VALUE") from None
    end = offset + len(data)
    if offset < 0:
        raise Failure(file, "offset must not be negative")
    if end > LARGEST_FILE:
        raise Failure(file, f"offset must be in the range 0-{LARGEST_FILE - len(data)}")
    with failing_on(file), emmap.open(file, "a+", size=end) as mapping:
        mapping[offset:end] = data
    count = "1 byte" if len(data) == 1 else f"{len(data)} bytes"
    click.echo(f"wrote {count} at offset {offset}")
