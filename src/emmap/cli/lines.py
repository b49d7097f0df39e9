"""`emmap lines`: some lines of a file, by their numbers."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice, takewhile

import click

import emmap
from emmap.cli.common import FILE, NEGATIVE_NUMBERS, reading
from emmap.cli.progress import Bar
from emmap.cli.streams import lines_read

# So few lines are looked up one by one; for more, all lines of the file are counted.
FEW = 1000
# The lines that are written at once.
MANY = 4096


def parse_range(text: str) -> slice:
    """Read A:B, A:, :B or A; return it as a slice of a sequence, which counts from 0."""
    first, colon, last = text.partition(":")
    try:
        start = int(first) if first else None
        stop = (int(last) if last else None) if colon else start
    except ValueError:
        raise click.BadParameter(f"{text!r} is not A:B, A:, :B or A, by numbers") from None
    if start == 0 or stop == 0:
        raise click.BadParameter("lines are numbered from 1 on, and from -1 on backwards")
    if not text:
        raise click.BadParameter("it is empty: write A:B, A:, :B or A")
    if start is not None and start > 0:
        start -= 1
    if stop is not None and stop < 0:
        stop = stop + 1 or None  # -1 is the last line, and belongs to the range
    return slice(start, stop)


@click.command(
    "lines", short_help="Write lines of a file by number.", context_settings=NEGATIVE_NUMBERS
)
@click.argument("file", type=FILE)
@click.argument("numbers", metavar="A:B", type=parse_range)
@click.option("--index", is_flag=True, help="Keep where lines begin, in FILE.lines.")
def command(file: str, numbers: slice, *, index: bool) -> None:
    """Write the lines A to B of FILE (- for standard input), both included, as sed -n 'A,Bp' does.

    The first line is 1, and -1 is the last. A: is to the end, :B from the beginning, and A by
    itself is one line. Lines that are not there are left out.

    A line is found without reading those before it: their newlines are counted once, at the speed
    of the memory. With --index the counts are kept, and the next time nothing is counted.

    \b
    Example:
      $ emmap lines server.log -2:
      the last line but one
      the last line
    """
    if file == "-" and not is_whole_file(0):
        write(reading(file, choose(lines_of_input(), numbers)))
    else:
        write(reading(file, lines_of_file(file, numbers, index=index)))


def is_whole_file(descriptor: int) -> bool:
    """Return whether this is a file of which nothing was read, so that it can be opened again."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) == 0


def lines_of_file(file: str, numbers: slice, *, index: bool) -> Iterator[bytes]:
    """Yield the lines with their newlines, as far as they have one: the last may not."""
    path = "/dev/stdin" if file == "-" else file
    with emmap.open(path) as mapping:
        is_cut = mapping[-1:] not in (b"", b"\n")
        bar = Bar(len(mapping))
    start, stop = numbers.start or 0, numbers.stop
    with emmap.lines(path, index=index, progress=bar) as text:
        if start >= 0 and stop is not None and 0 <= stop <= start + FEW:
            there = takewhile(partial(has, text), range(start, stop))
            found: Iterable[bytes] = (text[i] for i in there)
            is_last = is_cut and not has(text, stop)
        else:
            found = text[numbers]
            is_last = range(len(text))[numbers].stop == len(text)
        held = b""
        for line in found:
            bar.hide()
            yield held
            held = line + b"\n"
        bar.hide()
        yield held.removesuffix(b"\n") if is_cut and is_last else held


def has(text: emmap.Lines, number: int) -> bool:
    """Return whether there is such a line, without counting those behind it."""
    try:
        text[number]
    except IndexError:
        return False
    return True


def lines_of_input() -> Iterator[bytes]:
    """Yield the lines of standard input, with their newlines, as they come."""
    for piece in lines_read(0):
        *whole, rest = piece.split(b"\n")
        yield from (line + b"\n" for line in whole)
        if rest:
            yield rest


def choose(lines: Iterator[bytes], numbers: slice) -> Iterable[bytes]:
    """Return a slice of lines that come one by one: all are needed to count from the last."""
    start, stop = numbers.start or 0, numbers.stop
    if start >= 0 and (stop is None or stop >= 0):
        return islice(lines, start, max(start, stop) if stop is not None else None)
    return list(lines)[numbers]


def write(lines: Iterable[bytes]) -> None:
    """Write lines, many at a time."""
    coming = iter(lines)
    while some := list(islice(coming, MANY)):
        sys.stdout.buffer.write(b"".join(some))
