"""`emmap tour`: the newcomer's first minute, one small module a step."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack

import click

import emmap
from emmap.cli.common import FILE, Failure, error_line, failing_on
from emmap.cli.tour import (
    anonymous,
    first_byte,
    growth,
    keeping,
    locks,
    scan,
    sharing,
    truncation,
    words,
    writes,
)
from emmap.cli.tour.measure import most_resident
from emmap.cli.tour.place import Place, own_text
from emmap.cli.tour.report import Report, amount, duration, make_console, show

# The steps in their order. A step gets the place and returns its report.
STEPS: tuple[Callable[[Place], Report], ...] = (
    first_byte.run,
    words.run,
    scan.run,
    writes.run,
    anonymous.run,
    truncation.run,
    growth.run,
    sharing.run,
    locks.run,
    keeping.run,
)


@click.command("tour", short_help="See what emmap does, on a file of yours or its own.")
@click.argument("file", type=FILE, required=False)
@click.pass_context
def command(ctx: click.Context, file: str | None) -> None:
    """See what emmap does, on FILE or on a text that the tour makes itself.

    FILE is never changed: what writes, writes to a copy of its beginning.

    \b
    Example:
      emmap tour notes.txt
    """
    if file is not None:
        check(file)
    # A tour that is cut short by a closed pipe must still clear its folder away.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with ExitStack() as stack:
        with failing_on("temporary folder"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="emmap-tour-"))
            place = Place(file or own_text(folder), folder)
        succeeded = walk(place)
    ctx.exit(0 if succeeded else 1)


def check(file: str) -> None:
    """Refuse a file that the tour cannot take place on."""
    with failing_on(file):
        mode = os.stat(file).st_mode
        # Mapping says what is wrong with a folder; a pipe would make us wait for a writer.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise Failure(file, "Not a regular file")
        emmap.open(file).close()


def walk(place: Place) -> bool:
    """Take all steps and show them; a step that fails says so and stops no other."""
    started = time.perf_counter()
    console = make_console()
    what = "a text of its own," if place.own else f"{place.literal},"
    console.print(f"A tour of {what} {amount(os.path.getsize(place.file))}", soft_wrap=True)
    succeeded = True
    for number, step in enumerate(STEPS, 1):
        try:
            report = step(place)
        except (OSError, MemoryError) as error:
            click.echo(error_line(f"step {number}", error), err=True)
            succeeded = False
        else:
            show(console, number, report)
    took, memory = duration(time.perf_counter() - started), amount(most_resident())
    console.print(f"\n{len(STEPS)} steps in {took}, with at most {memory} resident.")
    console.print("Next: emmap --help, and the examples/ of the sources.")
    return succeeded
