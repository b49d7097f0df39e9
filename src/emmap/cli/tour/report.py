"""What a step of the tour tells, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

INDENT = 4
WIDEST = 100


class Report(NamedTuple):
    """One step: the calls that it made, what was measured, and what that means."""

    title: str
    calls: str
    measured: Sequence[tuple[str, ...]]
    meaning: str
    header: tuple[str, ...] = ()


def make_console() -> Console:
    """Return a console on standard output: colours on a terminal, plain text in a pipe."""
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    return console


def show(console: Console, number: int, report: Report) -> None:
    """Print a step, with its number, as one block."""
    with console.capture() as capture:
        draw(console, f"{number}. {report.title}", report)
    # Rich fills lines with blanks up to the width; in a pipe they would be litter.
    for line in capture.get().splitlines():
        print(line.rstrip())


def draw(console: Console, title: str, report: Report) -> None:
    """Write the parts of a report to the console, one under the other."""
    console.print()
    if console.is_terminal:
        console.print(Rule(Text(title, "bold"), align="left", style="cyan"))
    else:
        console.print(title)
    console.print()
    for part in (code(report.calls), table(report)):
        console.print(Padding.indent(part, INDENT))
        console.print()
    console.print(Padding.indent(Text(report.meaning), INDENT))


def code(calls: str) -> Text:
    """Return Python lines in colours, each behind a prompt."""
    lines = Syntax("", "python", theme="ansi_dark").highlight(calls).split()
    return Text("\n").join(Text.assemble((">>> ", "dim"), line) for line in lines)


def table(report: Report) -> Table:
    """Return the measurements as a table without lines: what, then one or more values."""
    grid = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_header=bool(report.header))
    columns = report.header or ("",) * len(report.measured[0])
    for index, heading in enumerate(columns):
        right = bool(report.header) and index > 0
        grid.add_column(
            heading,
            style="bold green" if index else "",
            header_style="dim",
            justify="right" if right else "left",
            overflow="fold",
        )
    for row in report.measured:
        grid.add_row(*map(Text, row))
    return grid


def amount(size: int) -> str:
    """Return a number of bytes for people: ``12 bytes``, ``4 KiB``, ``1.5 GiB``."""
    if abs(size) < 1024:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.1f}".removesuffix(".0") + f" {unit}"


def duration(seconds: float) -> str:
    """Return a time for people: ``1.25 s``, ``12.5 ms``, ``3.1 us`` (microseconds)."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.1f} us"
