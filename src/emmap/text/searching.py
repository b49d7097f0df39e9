"""Searching, as `grep` does: the lines that match."""

from __future__ import annotations

from emmap.text import kernels
from emmap.text.patterns import Matcher
from emmap.text.splitting import line_windows
from emmap.text.targets import target_of
from emmap.text.workers import check_workers, in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from array import array
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from emmap.text.targets import FileTarget, MemoryTarget, Progress, Target
    from emmap.text.workers import Workers

# The bytes that one task maps and searches: few at first, so that the first hits come at once.
FIRST_WINDOW, WINDOW = 256 << 10, 64 << 20
# The bytes that are mapped at once to count lines.
COUNTED = 64 << 20


class Hit:
    """A line that matches: what `grep` yields.

    `line` are its bytes without the newline, `line_offset` where it begins in the target, and
    `offset` where its first match begins there. `number` is the line's number, from 1 on, and
    `spans()` are all its matches.

    >>> import emmap
    >>> for hit in emmap.grep("o", b"one\\ntwo\\nthree\\nfour o'clock"):
    ...     hit.number, hit.offset, hit.line, hit.spans()
    (1, 0, b'one', [(0, 1)])
    (2, 6, b'two', [(2, 3)])
    (4, 15, b"four o'clock", [(1, 2), (5, 6), (9, 10)])
    """

    __slots__ = ("_matcher", "_number", "_numbers", "line", "line_offset", "offset")

    def __init__(
        self, offset: int, line_offset: int, line: bytes, matcher: Matcher, numbers: LineNumbers
    ) -> None:
        self.offset = offset
        self.line_offset = line_offset
        self.line = line
        self._matcher = matcher
        self._numbers = numbers
        self._number = 0

    @property
    def number(self) -> int:
        """The line's number, from 1 on.

        It is found out when first asked for, by counting lines from the hit that was asked last:
        for all hits in turn that is one pass over the target. Raises `PageLostError` when the file
        was truncated.
        """
        if not self._number:
            self._number = self._numbers.at(self.line_offset)
        return self._number

    def spans(self) -> list[tuple[int, int]]:
        """The (start, stop) in `line` of each match; they do not overlap.

        >>> import emmap
        >>> [hit.spans() for hit in emmap.grep("Ab", b"abba, abab", ignore_case=True)]
        [[(0, 2), (6, 8), (8, 10)]]
        """
        return self._matcher.spans(self.line)

    def __repr__(self) -> str:
        return f"<Hit offset={self.offset} line={self.line!r}>"


class LineNumbers:
    """Numbers the lines of a target, each from the one before it that was asked for."""

    def __init__(self, source: FileTarget | MemoryTarget) -> None:
        self._source = source
        self._known = (0, 1)  # an offset where a line begins, and its number

    def at(self, offset: int) -> int:
        """The number of the line that begins at an offset."""
        known, number = self._known
        low, high = sorted((known, offset))
        newlines = 0
        for start in range(low, high, COUNTED):
            with self._source.view(start, min(start + COUNTED, high)) as view:
                newlines += kernels.count(view, kernels.LINES).lines
        number += newlines if offset >= known else -newlines
        self._known = (offset, number)
        return number


def grep(
    pattern: str | Buffer | re.Pattern[bytes],
    target: Target,
    *,
    ignore_case: bool = False,
    workers: Workers = None,
    progress: Progress | None = None,
) -> Iterator[Hit]:
    """Yields a `Hit` for each line of a target that the pattern matches, in their order.

    `pattern` is a literal: bytes, or a str that stands for its UTF-8; with `ignore_case`, ASCII
    letters match in either case. Or it is a pattern of bytes that `re` has compiled: it is applied
    to each line by itself, without the newline, so that `^` and `$` are the ends of the line with
    or without `re.MULTILINE`, and neither `\\s` nor a lookahead sees another line.

    `target` is a path, a `MemoryMap`, or any other object with the buffer protocol. `workers` and
    `progress` are as for `count`. Literals, also that in a compiled pattern, are searched for
    without the GIL, but `re` keeps it: where it has much to do, processes are faster than threads.

    Hits come while the search goes on, and who stops asking stops it. Raises `OSError` as opening
    the file does, `ValueError` for an empty literal or one with a newline, `TypeError` for a
    compiled pattern of str, and `PageLostError` when the file is truncated meanwhile. Cost: that of
    reading the memory where the literal is rare, 10 GB/s and more on a core; some microseconds for
    each hit, and one for each line that `re` is given. Memory: a few windows of 64 MiB, or the
    longest line.

    >>> import emmap, re
    >>> text = b"GET /a 200\\nGET /b 404\\nPUT /a 500\\n"
    >>> [hit.line for hit in emmap.grep(re.compile(rb"[45][0-9][0-9]$"), text)]
    [b'GET /b 404', b'PUT /a 500']
    >>> next(emmap.grep("put", text, ignore_case=True)).number
    3
    """
    matcher = Matcher(pattern, ignore_case=ignore_case)
    check_workers(workers)
    return _grep(matcher, target_of(target), workers, progress)


def _grep(
    matcher: Matcher,
    source: FileTarget | MemoryTarget,
    workers: Workers,
    progress: Progress | None,
) -> Iterator[Hit]:
    numbers = LineNumbers(source)
    cuts = line_windows(source, FIRST_WINDOW, largest=WINDOW)
    tasks = ((source, matcher, *window) for window in cuts)
    for (_, _, begin, end), hits in in_order(search_window, tasks, workers):
        for i in range(0, len(hits), 3):
            offset, start, stop = (begin + place for place in hits[i : i + 3])
            yield Hit(offset, start, source.read(start, stop), matcher, numbers)
        if progress is not None:
            progress(end)


def search_window(
    source: FileTarget | MemoryTarget, matcher: Matcher, start: int, stop: int
) -> array[int]:
    """What workers do: the hits in a window of whole lines, by their offsets in it."""
    with source.view(start, stop) as view:
        return matcher.search(view)
