"""Patterns: what is searched for, applied to one line at a time."""

from __future__ import annotations

import re
from array import array

from emmap.text import kernels
from emmap.text.kernels import Needle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer


class Matcher:
    """A literal, or a compiled pattern with a literal that each match must have, if one is known.

    A line is matched by itself, so that nothing in a pattern can see or cross its ends. The kernels
    look for the literal first, and only lines that have it are given to `re`.
    """

    def __init__(self, pattern: str | Buffer | re.Pattern[bytes], *, ignore_case: bool) -> None:
        self._pattern: re.Pattern[bytes] | None = None
        self._needle: Needle | None = None
        if isinstance(pattern, re.Pattern):
            if not isinstance(pattern.pattern, bytes):
                raise TypeError("a file has bytes: compile the pattern from bytes, as rb'...'")
            if ignore_case:
                raise ValueError("ignore_case= is for literals: compile with re.IGNORECASE instead")
            self._pattern = pattern
            literal = required_literal(pattern)
            ignore_case = bool(pattern.flags & re.IGNORECASE)
        else:
            literal = pattern.encode() if isinstance(pattern, str) else bytes(memoryview(pattern))
            if b"\n" in literal:
                raise ValueError("a match lies in one line, and the pattern has a line end")
            if not literal:
                raise ValueError("there is nothing to search for: the pattern is empty")
        if literal:
            self._needle = Needle(literal, ignore_case=ignore_case)

    def spans(self, line: bytes) -> list[tuple[int, int]]:
        """The (start, stop) of all matches in a line, which do not overlap."""
        if self._pattern is not None:
            return [match.span() for match in self._pattern.finditer(line)]
        assert self._needle is not None
        found, length = [], len(self._needle.pattern)
        at = self._needle.find(line)
        while at >= 0:
            found.append((at, at + length))
            at = self._needle.find(line, at + length)
        return found

    def search(self, view: memoryview) -> array[int]:
        """The lines that match, in a view that begins with a line: for each three offsets, of its
        first match, its start and its stop (before the newline)."""
        hits = array("Q")
        with kernels.Watch(view):
            if self._needle is None:
                self._try_each_line(view, hits)
            else:
                self._try_lines_with(self._needle, view, hits)
        return hits

    def _try_lines_with(self, needle: Needle, view: memoryview, hits: array[int]) -> None:
        at, size = 0, len(view)
        while at < size:
            found = needle.find(view, at)
            if found < 0:
                return
            newline = kernels.last_newline(view, at, found)
            start = newline + 1 if newline >= 0 else at
            behind = kernels.line_start(view, 1, found)
            stop, at = (behind - 1, behind) if behind >= 0 else (size, size)
            if self._pattern is None:
                hits.extend((found, start, stop))
            else:
                self._try_line(view, start, stop, hits)

    def _try_each_line(self, view: memoryview, hits: array[int]) -> None:
        start = 0
        for behind in kernels.line_starts(view)[0]:
            self._try_line(view, start, behind - 1, hits)
            start = behind
        if start < len(view):
            self._try_line(view, start, len(view), hits)

    def _try_line(self, view: memoryview, start: int, stop: int, hits: array[int]) -> None:
        assert self._pattern is not None
        match = self._pattern.search(view[start:stop])
        if match is not None:
            hits.extend((start + match.start(), start, stop))


# The parts of a regular expression, as far as they matter here.
TOKEN = re.compile(
    rb"""(?P<escape> \\. )
    | (?P<set> \[ \^? \]? (?: \\. | [^\]\\] )* \] )
    | (?P<quantifier> [*?] | \{ [0-9,]* \} )
    | (?P<other> . )""",
    re.VERBOSE | re.DOTALL,
)


def required_literal(pattern: re.Pattern[bytes]) -> bytes:
    """Bytes that are in every match of a pattern: the longest that are easily seen, or none.

    They stand outside of all groups and sets, and no quantifier behind them allows none of them.
    Where it is not sure what something means, there are none.

    >>> required_literal(re.compile(rb"(GET|PUT) /index\\.html? [0-9]+"))
    b' /index.htm'
    """
    text = pattern.pattern
    verbose = re.search(rb"\(\?[a-zA-Z]*x", text)  # of a group alone: not in the flags
    if pattern.flags & (re.VERBOSE | re.LOCALE) or verbose or b"(?#" in text:
        return b""
    runs = [b""]
    depth = 0
    for token in TOKEN.finditer(text):
        kind, part = token.lastgroup, token.group()
        if kind == "escape":
            plain = not part[1:].isalnum()
            if part[1:] in b"x0123456789":  # the number goes on behind it
                return b""
            part = part[1:]
        else:
            plain = kind == "other" and part not in b".^$|()+"
        if kind == "other" and part == b"|" and depth == 0:
            return b""
        depth += (part == b"(") - (part == b")") if kind == "other" else 0
        if plain and depth == 0:
            runs[-1] += part
        else:
            if kind == "quantifier":
                runs[-1] = runs[-1][:-1]
            runs.append(b"")
    return max(runs, key=len)
