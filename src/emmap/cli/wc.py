"""`emmap wc`: lines, words and bytes, as GNU wc counts and writes them."""

from __future__ import annotations

import os
import stat
import sys
from functools import partial
from getopt import GetoptError, gnu_getopt
from itertools import takewhile

import emmap
from emmap.cli.cluster import workers_of
from emmap.cli.progress import Bar
from emmap.cli.streams import lines_read, map_rest, pieces_read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor
    from typing import TypeAlias

    Workers: TypeAlias = int | Executor | None

SHORT_HELP = "Count the lines, words and bytes of files."
HELP = """\
Usage: emmap wc [OPTION]... [FILE]...
       emmap wc [OPTION]... --files-from F

Count the newlines, words and bytes of each FILE, and of all FILEs together. With no FILE, or for
-, count standard input. The output is that of GNU wc with LC_ALL=C.

  -l, --lines            count newlines
  -w, --words            count words: a printable ASCII byte begins one, white space ends it
  -m, --chars            count characters of UTF-8
  -c, --bytes            count bytes
  -L, --max-line-length  the columns of the longest line
      --files-from F     count the files that F names, one a line; for -, standard input does
                         (names end with a newline, not with a zero as for wc --files0-from)
      --workers N        so many threads; if not given, as many as there are processors
      --workers dask://HOST:PORT
                         the workers of a Dask cluster, who see the same files
      --help             show this text

Example:
  $ emmap wc notes.txt
   12  87 530 notes.txt
"""

# What `emmap.count` calls each option, in the order of the columns.
COLUMNS = {
    "lines": ("-l", "--lines"),
    "words": ("-w", "--words"),
    "characters": ("-m", "--chars"),
    "bytes": ("-c", "--bytes"),
    "longest_line": ("-L", "--max-line-length"),
}
LONG_OPTIONS = [names[1][2:] for names in COLUMNS.values()] + ["files-from=", "workers=", "help"]
STANDARD = ("lines", "words", "bytes")

# Threads are worth their start for so many bytes. One window of a count has as many.
LARGE = 64 << 20
# GNU wc asks for the sizes of the files beforehand if their names are in a file no longer than this
# one. The columns are made as wide as they must be; where it does not ask, that is 1.
LONGEST_NAMES = 10 << 20
# The least width where the length of an input cannot be known.
WIDTH_OF_STREAMS = 7


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code, which is wc's."""
    try:
        flags, files = gnu_getopt(arguments, "lwmcL", LONG_OPTIONS)
    except GetoptError as error:
        return refuse(f"{wording(error)}\nTry 'emmap wc --help' for more information.")
    given = dict(flags)
    if "--help" in given:
        sys.stdout.write(HELP)
        return 0
    what = [name for name, names in COLUMNS.items() if not given.keys().isdisjoint(names)]
    names_from = given.get("--files-from")
    is_named, are_sized = bool(files), True
    if names_from is not None:
        if files:
            return refuse(
                f"extra operand {quoted(files[0], always=True)}\n"
                "file operands cannot be combined with --files-from\n"
                "Try 'emmap wc --help' for more information."
            )
        try:
            files, are_sized = read_names(names_from)
        except OSError as error:
            name = quoted(names_from, always=True)
            return refuse(f"cannot open {name} for reading: {error.strerror}")
        except ValueError as error:
            return refuse(str(error))
        is_named = True
    try:
        with workers_of(given.get("--workers")) as workers:
            table = Table(what or list(STANDARD), workers, is_named=is_named)
            return table.count(files if is_named else ["-"], are_sized=are_sized)
    except ValueError as error:
        return refuse(str(error))


def refuse(reason: str) -> int:
    """Say why nothing was counted, and return the exit code for that."""
    complain(reason)
    return 1


def complain(reason: str) -> None:
    """Write an error line."""
    sys.stdout.flush()
    print(f"emmap wc: {reason}", file=sys.stderr)


def wording(error: GetoptError) -> str:
    """Say what is wrong with an option, in the words of the Unix tools."""
    if not error.msg.endswith("not recognized"):
        return error.msg
    if len(error.opt) == 1:
        return f"invalid option -- '{error.opt}'"
    return f"unrecognized option '--{error.opt}'"


def read_names(path: str) -> tuple[list[str], bool]:
    """Return the names that a file holds, and whether their sizes are to be asked for."""
    descriptor = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        names = b"".join(pieces_read(descriptor))
    finally:
        if descriptor:
            os.close(descriptor)
    files = os.fsdecode(names.removesuffix(b"\n")).split("\n") if names else []
    if "" in files:
        number = files.index("") + 1
        raise ValueError(f"{quoted(path)}:{number}: invalid zero-length file name")
    if path == "-" and "-" in files:
        raise ValueError("when reading file names from standard input, no file name of '-' allowed")
    return files, stat.S_ISREG(status.st_mode) and status.st_size <= LONGEST_NAMES


class Table:
    """The counts of files, a line each."""

    def __init__(self, what: list[str], workers: Workers, *, is_named: bool = True) -> None:
        self._what = what
        self._workers = workers
        self._is_named = is_named
        self._width = 1
        self._failed = False
        self._progress = Bar(0)

    def count(self, files: list[str], *, are_sized: bool) -> int:
        """Count all files, write the lines, and return the exit code."""
        statuses = [status_of(file) for file in files]
        size = sum(status.st_size for status in statuses if status and is_regular(status))
        if are_sized and not (len(files) == 1 and len(self._what) == 1):
            self._width = width_for(size, statuses)
        if isinstance(self._workers, int) and size <= LARGE:
            self._workers = None
        self._progress = Bar(size)
        total = emmap.count(b"", what=self._what)
        for file, counts in self._count_each(files, statuses):
            if counts is not None:
                self._write(counts, file)
                total += counts
        if len(files) > 1:
            self._write(total, "total")
        self._progress.hide()
        return 1 if self._failed else 0

    def _count_each(
        self, files: list[str], statuses: list[os.stat_result | None]
    ) -> Iterator[tuple[str, emmap.Counts | None]]:
        """Yield each file with its counts, or with None where it could not be opened."""
        i = done = 0
        while i < len(files):
            # All that can be mapped are counted in one go, so that each worker has something to do.
            mapped = takewhile(
                lambda j: files[j] != "-" and is_regular(statuses[j]), range(i, len(files))
            )
            progress = partial(self._show_progress, done)
            paths = (files[j] for j in mapped)
            try:
                for counts in emmap.count_each(
                    paths, what=self._what, workers=self._workers, progress=progress
                ):
                    done += counts.bytes
                    yield files[i], counts
                    i += 1
            except OSError as error:
                if hasattr(self._workers, "submit"):  # It is what another machine says of the file.
                    self._fail(because(files[i], error))
                    yield files[i], None
                    i += 1
                    continue
            # Whatever ended that: reading works, or knows better what is wrong.
            if i < len(files):
                yield files[i], self._read(files[i])
                i += 1

    def _show_progress(self, before: int, more: int) -> None:
        self._progress(before + more)

    def _read(self, file: str) -> emmap.Counts | None:
        """Count standard input, or what cannot be mapped."""
        if file == "-":
            mapping = map_rest(0)
            if mapping is not None:
                with mapping:
                    return emmap.count(mapping, what=self._what)
            return self._count_stream(0, file)
        if not file:
            self._fail("invalid zero-length file name")
            return None
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._fail(because(file, error))
            return None
        try:
            return self._count_stream(descriptor, file)
        finally:
            os.close(descriptor)

    def _count_stream(self, descriptor: int, file: str) -> emmap.Counts:
        """Count what comes; up to where it fails, if it does."""
        # Newlines and bytes are counted in any piece; the others may go on in the next.
        read = pieces_read if {"lines", "bytes"}.issuperset(self._what) else lines_read
        counts = emmap.count(b"", what=self._what)
        try:
            for piece in read(descriptor):
                counts += emmap.count(piece, what=self._what)
        except OSError as error:
            self._fail(because(file, error))
        return counts

    def _fail(self, reason: str) -> None:
        self._failed = True
        self._progress.hide()
        complain(reason)

    def _write(self, counts: emmap.Counts, file: str) -> None:
        columns = (name for name in COLUMNS if name in self._what)
        line = " ".join(f"{getattr(counts, name):{self._width}}" for name in columns)
        if self._is_named:
            line += " " + (quoted(file) if "\n" in file else file)
        self._progress.hide()
        sys.stdout.buffer.write(os.fsencode(line) + b"\n")


def because(file: str, error: OSError) -> str:
    """Return the words for an error of a file."""
    return f"{quoted(file)}: {error.strerror or error}"


def status_of(file: str) -> os.stat_result | None:
    """Return what the kernel says of a file, or None if it cannot be asked."""
    try:
        return os.fstat(0) if file == "-" else os.stat(file)
    except OSError:
        return None


def is_regular(status: os.stat_result | None) -> bool:
    """Return whether a file is one that can be mapped, as far as that can be known."""
    return status is not None and stat.S_ISREG(status.st_mode)


def width_for(size: int, statuses: list[os.stat_result | None]) -> int:
    """Return how wide each column is, for regular files of so many bytes in all, and others."""
    has_streams = any(status and not is_regular(status) for status in statuses)
    return max(len(str(size)), WIDTH_OF_STREAMS if has_streams else 1)


# Names in messages, as the Unix tools write them.
SPECIAL = frozenset(" !\"$&'()*:;<=>?[\\^`|")
SPECIAL_AT_THE_START = frozenset("#~")


def quoted(name: str, *, always: bool = False) -> str:
    """Return a name as one word of the shell, in quotes only where it needs them."""
    escaped = [char if char.isascii() and char.isprintable() else escape(char) for char in name]
    is_plain = (
        name != ""
        and SPECIAL.isdisjoint(name)
        and name[0] not in SPECIAL_AT_THE_START
        and escaped == list(name)
    )
    if is_plain and not always:
        return name
    if "'" in name and escaped == list(name) and SPECIAL.isdisjoint(set(name) - set(" ':")):
        return f'"{name}"'
    inner = "".join("'\\''" if char == "'" else char for char in escaped)
    return f"'{inner}'".replace("''$'", "$'").removesuffix("''") if name else "''"


def escape(char: str) -> str:
    """Return a character that cannot be printed as the shell writes it, between two quotes."""
    short = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r"}
    if char in short:
        return f"'$'\\{short[char]}''"
    return "'$'" + "".join(f"\\{byte:03o}" for byte in os.fsencode(char)) + "''"
