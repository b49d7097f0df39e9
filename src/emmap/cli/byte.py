"""`emmap byte`: one byte of a file."""

from __future__ import annotations

import click

import emmap
from emmap.cli.common import FILE, NEGATIVE_NUMBERS, check_offset, failing_on, parse_offset


@click.command("byte", short_help="Print one byte of a file.", context_settings=NEGATIVE_NUMBERS)
@click.argument("file", type=FILE)
@click.argument("offset", type=parse_offset)
def command(file: str, offset: int) -> None:
    """Print the byte of FILE that lies at OFFSET (decimal, or hexadecimal with 0x).

    \b
    Example:
      $ emmap byte notes.txt 30
      byte at offset 30 is 'e'
    """
    with failing_on(file), emmap.open(file) as mapping:
        check_offset(file, offset, 1, len(mapping))
        byte = mapping[offset]
    # The repr of bytes without its b: 'e', '\n', '\x00'.
    click.echo(f"byte at offset {offset} is {repr(bytes([byte]))[1:]}")
