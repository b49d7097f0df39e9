"""What the commands share: offsets and error lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import click

Value = TypeVar("Value")

# Lets a negative number reach its argument, to be judged there, instead of the option parser.
NEGATIVE_NUMBERS = {"ignore_unknown_options": True}

# The type of a FILE argument: opening it tells better than click what is wrong with it.
FILE = click.Path(readable=False)


class Failure(click.ClickException):
    """An error in the words of the Unix tools: ``emmap cat: FILE: reason``; exit code 1."""

    def __init__(self, file: str, reason: str | Exception) -> None:
        super().__init__(error_line(file, reason))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, without click's own ``Error:`` before it."""
        click.echo(self.message, file=file, err=True)


def error_line(file: str, reason: str | Exception) -> str:
    """Return the line that says why the current command failed on `file`."""
    if isinstance(reason, OSError):
        reason = reason.strerror or str(reason)
    command = click.get_current_context().command_path
    return f"{command}: {click.format_filename(file)}: {reason}"


@contextmanager
def failing_on(file: str) -> Iterator[None]:
    """Turn an error of the block into the command's `Failure` on `file`."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: what has no end, as /dev/zero.
        raise Failure(file, error) from error


def reading(file: str, source: Iterable[Value]) -> Iterator[Value]:
    """Yield what comes from `file`; its errors are a `Failure`, those of the output are not."""
    with failing_on(file):
        yield from source


def parse_integer(text: str) -> int:
    """Read a decimal or 0x hexadecimal number; `ValueError` if it is neither."""
    return int(text, 16 if "x" in text.lower() else 10)


def parse_offset(text: str) -> int:
    """Read an OFFSET argument; whether it lies within the file is checked later."""
    try:
        return parse_integer(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a decimal or 0x hexadecimal number") from None


def check_offset(file: str, offset: int, width: int, size: int) -> None:
    """Refuse an offset at which no `width` bytes lie within a file of `size` bytes."""
    if size == 0:
        raise Failure(file, "the file is empty: it has no bytes")
    if size < width:
        raise Failure(file, f"{width} bytes asked for, but the file has only {size}")
    if not 0 <= offset <= size - width:
        raise Failure(file, f"offset must be in the range 0-{size - width}")
