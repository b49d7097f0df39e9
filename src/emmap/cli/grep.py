"""`emmap grep`: the lines that match, as GNU grep writes them."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator

import click

import emmap
from emmap.cli.common import FILE, Failure, reading
from emmap.cli.progress import Bar
from emmap.cli.streams import lines_read, map_rest

# What a regular expression may hold that does not stand for itself.
SYNTAX = frozenset(b".^$*+?{}[]\\|()")
# So much output is collected before it is written, except for a terminal.
LARGE = 256 << 10

Pattern = bytes | re.Pattern[bytes]


@click.command("grep", short_help="Find the lines of files that match.")
@click.option("-c", "only_counts", is_flag=True, help="Write only how many lines match.")
@click.option("-n", "numbered", is_flag=True, help="Write the number of each line before it.")
@click.option("-o", "only_matches", is_flag=True, help="Write only what matches, each in a line.")
@click.option("-i", "ignore_case", is_flag=True, help="ASCII letters match in either case.")
@click.option("-F", "literal", is_flag=True, help="PATTERN is a text, not a regular expression.")
@click.option("-E", "_extended", is_flag=True, help="Accepted, and no different from the default.")
@click.argument("pattern")
@click.argument("files", metavar="[FILE]...", type=FILE, nargs=-1)
@click.pass_context
def command(
    ctx: click.Context,
    pattern: str,
    files: tuple[str, ...],
    *,
    only_counts: bool,
    numbered: bool,
    only_matches: bool,
    ignore_case: bool,
    literal: bool,
    _extended: bool,
) -> None:
    """Write the lines of each FILE that PATTERN matches; with no FILE, or for -, standard input.

    Output and exit code are those of GNU grep -a with LC_ALL=C: 0 if a line matched, 1 if none did,
    2 for an error. Lines of several PATTERNs are alternatives.

    PATTERN is a regular expression of Python's re, on bytes. It differs from POSIX: of alternatives
    the first that matches counts, not the longest; there is no [[:digit:]], but \\d, \\w, \\s and
    lookaheads; and ( ) { } + ? | have their meaning without a backslash.

    \b
    Example:
      $ emmap grep -n timeout server.log
      31337:GET /news timeout
    """
    try:
        wanted = compiled(os.fsencode(pattern), literal=literal, ignore_case=ignore_case)
    except (re.error, FutureWarning) as error:
        click.echo(f"{ctx.command_path}: {pattern!r} is not a pattern of re: {error}", err=True)
        ctx.exit(2)
    search = Search(
        wanted,
        ignore_case=ignore_case,
        only_counts=only_counts,
        numbered=numbered,
        only_matches=only_matches,
        named=len(files) > 1,
    )
    found = [search.in_file(file) for file in files or ("-",)]
    search.flush()
    ctx.exit(2 if search.failed else 0 if any(found) else 1)


def compiled(pattern: bytes, *, literal: bool, ignore_case: bool) -> Pattern:
    """Return the pattern as `emmap.grep` wants it: plain text as it is, the rest compiled."""
    lines = pattern.split(b"\n")
    if pattern and len(lines) == 1 and (literal or SYNTAX.isdisjoint(pattern)):
        return pattern
    parts = [re.escape(line) if literal else line for line in lines]
    flags = re.IGNORECASE if ignore_case else 0
    with warnings.catch_warnings():
        # The only sign of [[:digit:]], which means something else to re.
        warnings.simplefilter("error", FutureWarning)
        if len(parts) == 1:
            return re.compile(parts[0], flags)
        return re.compile(b"|".join(b"(?:%s)" % part for part in parts), flags)


class Search:
    """What is looked for, and how it is shown."""

    def __init__(
        self,
        pattern: Pattern,
        *,
        ignore_case: bool,
        only_counts: bool,
        numbered: bool,
        only_matches: bool,
        named: bool,
    ) -> None:
        self._pattern = pattern
        self._ignore_case = ignore_case and isinstance(pattern, bytes)
        self._only_counts = only_counts
        self._numbered = numbered
        self._only_matches = only_matches
        self._named = named
        self._output = bytearray()
        self._most = 0 if sys.stdout.isatty() else LARGE
        self._bar = Bar(0)
        self.failed = False

    def in_file(self, file: str) -> bool:
        """Write what is found in a file, and return whether a line matched."""
        prefix = b""
        if self._named:
            prefix = b"(standard input):" if file == "-" else os.fsencode(file) + b":"
        try:
            descriptor = 0 if file == "-" else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._fail(Failure(file, error))
            return False
        found = 0
        try:
            for before, text in reading(file, self._texts(descriptor)):
                for hit in reading(file, self._grep(text)):
                    found += 1
                    if not self._only_counts:
                        self._show(hit, before, prefix)
                self.flush()
        except Failure as failure:
            self._fail(failure)
        finally:
            if descriptor:
                os.close(descriptor)
        if self._only_counts:
            self._write(b"%s%d\n" % (prefix, found))
        return found > 0

    def _texts(self, descriptor: int) -> Iterator[tuple[int, emmap.MemoryMap | bytes]]:
        """Yield the mapped file, or what is read of it; with the number of lines before."""
        mapping = map_rest(descriptor)
        if mapping is not None:
            with mapping:
                self._bar = Bar(len(mapping))
                yield 0, mapping
            return
        before = 0
        for piece in lines_read(descriptor):
            yield before, piece
            if self._numbered:
                before += emmap.count(piece, what="lines").lines

    def _grep(self, text: emmap.MemoryMap | bytes) -> Iterator[emmap.Hit]:
        return emmap.grep(self._pattern, text, ignore_case=self._ignore_case, progress=self._bar)

    def _show(self, hit: emmap.Hit, before: int, prefix: bytes) -> None:
        if self._numbered:
            prefix += b"%d:" % (before + hit.number)
        if not self._only_matches:
            self._write(b"%s%s\n" % (prefix, hit.line))
            return
        for start, stop in hit.spans():
            if start < stop:
                self._write(b"%s%s\n" % (prefix, hit.line[start:stop]))

    def _write(self, line: bytes) -> None:
        self._output += line
        if len(self._output) > self._most:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        self._bar.hide()
        sys.stdout.buffer.write(self._output)
        sys.stdout.buffer.flush()
        self._output.clear()

    def _fail(self, failure: Failure) -> None:
        self.failed = True
        self.flush()
        failure.show()
