"""`emmap cat`: files to standard output, by way of mappings."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator

import click

import emmap
from emmap.cli.common import FILE, error_line
from emmap.cli.streams import PIECE as PIECE
from emmap.cli.streams import pieces_read


@click.command("cat", short_help="Write files to standard output.")
@click.argument("files", metavar="[FILE]...", type=FILE, nargs=-1)
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Write each FILE to standard output; with no FILE, or for -, standard input.

    Files are mapped; what cannot be mapped (a pipe, a terminal, a file of /proc) is read.
    The exit code is 1 when any FILE failed; the others are written all the same.

    \b
    Example:
      emmap cat head.txt body.txt > whole.txt
    """
    output = sys.stdout.buffer
    failed = False
    for file in files or ("-",):
        source = pieces(file)
        while True:
            # Only reading is guarded here: a failing output is no fault of the file.
            try:
                piece = next(source, b"")
            except OSError as error:
                click.echo(error_line(file, error), err=True)
                failed = True
                break
            if not piece:
                break
            output.write(piece)
            output.flush()
    ctx.exit(1 if failed else 0)


def pieces(file: str) -> Generator[bytes, None, None]:
    """Yield the bytes of `file` in order, from a mapping wherever there can be one."""
    if file == "-":
        yield from pieces_read(0)
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from pieces_mapped(descriptor) or pieces_read(descriptor)
    finally:
        os.close(descriptor)


def pieces_mapped(descriptor: int) -> Iterator[bytes] | None:
    """Map the whole file and return its pieces; None where there is nothing to map."""
    try:
        mapping = emmap.open(descriptor)
    except (OSError, ValueError):
        return None  # Reading works, or knows better what is wrong.
    if not mapping:
        mapping.close()
        return None  # Empty, or a file of /proc, which has bytes but no size.

    def walk() -> Iterator[bytes]:
        with mapping:
            mapping.advise(emmap.Advice.SEQUENTIAL)
            for start in range(0, len(mapping), PIECE):
                yield mapping[start : start + PIECE]

    return walk()
