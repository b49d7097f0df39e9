"""`emmap upper`: a text changed in place, or only in a private copy."""

from __future__ import annotations

import hashlib
import string

import click

import emmap
from emmap.cli.common import FILE, Failure, failing_on

PIECE = 1 << 20
LOWER = string.ascii_lowercase.encode()


@click.command("upper", short_help="Turn a text into capitals, in place.")
@click.argument("file", type=FILE)
@click.option("--dry-run", is_flag=True, help="Work on a private copy; FILE does not change.")
def command(file: str, *, dry_run: bool) -> None:
    """Turn the ASCII letters of FILE into capitals, in place.

    The text is changed through a shared mapping. With --dry-run the same is done through a
    private one (copy-on-write), and the file is shown not to have changed.

    \b
    Example:
      $ emmap upper notes.txt
      notes.txt: 1,024 letters changed
    """
    if dry_run:
        show_private(file)
        return
    with failing_on(file), emmap.open(file, "r+") as mapping:
        letters = sum(upper_piece(mapping, start) for start in range(0, len(mapping), PIECE))
    click.echo(f"{click.format_filename(file)}: {count(letters)} changed")


def show_private(file: str) -> None:
    """Change a private mapping of the file and show that the file stayed as it was."""
    letters = 0
    changed = b""
    with failing_on(file):
        before = checksum(file)
        with emmap.open(file, "c") as mapping:
            first = first_line(mapping[:PIECE])
            for start in range(0, len(mapping), PIECE):
                letters += upper_piece(mapping, start)
                if start == 0:
                    changed = first_line(mapping[:PIECE])
                # Give the private pages back, or a large file would fill the memory.
                mapping.advise(emmap.Advice.DONTNEED, start, min(PIECE, len(mapping) - start))
        with open(file, "rb") as source:
            after = first_line(source.read(PIECE))
        unchanged = checksum(file) == before
    click.echo(f"the file before    {first!r}")
    click.echo(f"the mapping        {changed!r}")
    click.echo(f"the file after     {after!r}")
    click.echo(f"SHA-256 before     {before}")
    if not unchanged:
        raise Failure(file, "somebody else changed the file meanwhile")
    click.echo("SHA-256 after      the same: the file did not change")
    click.echo(f"{click.format_filename(file)}: {count(letters)} would change")


def upper_piece(mapping: emmap.MemoryMap, start: int) -> int:
    """Turn the letters of one piece into capitals and return how many there were."""
    old = mapping[start : start + PIECE]
    letters = len(old) - len(old.translate(None, LOWER))
    if letters:  # A page that needs no change stays clean.
        mapping[start : start + len(old)] = old.upper()
    return letters


def first_line(data: bytes) -> bytes:
    """Return the beginning of the first line, short enough to be shown."""
    return data.partition(b"\n")[0][:48]


def checksum(file: str) -> str:
    """Return the SHA-256 of the file, by ordinary read."""
    with open(file, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def count(letters: int) -> str:
    """Return the number of letters in words."""
    return "1 letter" if letters == 1 else f"{letters:,} letters"
