"""The lines of a file as a sequence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from operator import index as as_index

from emmap.text.lineindex import LineIndex, require_index
from emmap.text.splitting import behind_newline, line_windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Self, SupportsIndex, overload

    from emmap.text.targets import Path, Progress

# The bytes that are read at once to iterate.
WINDOW = 256 << 10


class Lines(Sequence[bytes]):
    """The lines of a file, as an immutable sequence of bytes without their newlines.

    `lines` makes one. A slice is one too, over the same file, and copies nothing. Each line is read
    when it is asked for.

    >>> import emmap, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "numbers")
    >>> with open(path, "w") as f: _ = f.write("one\\ntwo\\nthree\\nfour")
    >>> with emmap.lines(path) as numbers:
    ...     len(numbers), numbers[2], numbers[-1], list(numbers[1::2])
    (4, b'three', b'four', [b'two', b'four'])
    """

    def __init__(self, text: LineIndex, numbers: range | None = None) -> None:
        self._text = text
        self._range = numbers  # None: all there are

    @property
    def _numbers(self) -> range:
        if self._range is None:
            self._range = range(self._text.lines())
        return self._range

    def __len__(self) -> int:
        return len(self._numbers)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, number: SupportsIndex, /) -> bytes: ...
        @overload
        def __getitem__(self, number: slice, /) -> Lines: ...

    def __getitem__(self, number: Any, /) -> Any:
        if isinstance(number, slice):
            return Lines(self._text, self._numbers[number])
        i = as_index(number)
        if i >= 0 and self._range is None:
            line = self._line(i)  # found without counting those behind it
            if line is None:
                raise IndexError(f"there is no line {i}: the file has {len(self)}")
            return line
        try:
            line_number = self._numbers[i]
        except IndexError:
            raise IndexError(f"there is no line {i}: there are {len(self)}") from None
        return self._line(line_number)

    def _line(self, number: int) -> bytes | None:
        start = self._text.start(number)
        if start is None:
            return None
        file = self._text.file
        return file.read(start, behind_newline(file, start)).removesuffix(b"\n")

    def __iter__(self) -> Iterator[bytes]:
        if self._range is None:
            return self._from(0)
        if self._range and self._range.step == 1:
            start = self._text.start(self._range[0])
            assert start is not None
            return islice(self._from(start), len(self._range))
        return (self[i] for i in range(len(self._range)))

    def _from(self, start: int) -> Iterator[bytes]:
        """The lines from an offset on, many at a time."""
        for begin, end in line_windows(self._text.file, WINDOW, start):
            found = self._text.file.read(begin, end).removesuffix(b"\n").split(b"\n")
            yield from found

    def close(self) -> None:
        """Closes the file, for all slices too; who asks them for a line gets `ClosedError`.

        >>> import emmap
        >>> text = emmap.lines("/etc/passwd")
        >>> text.close()
        >>> text[0]
        Traceback (most recent call last):
        emmap.errors.ClosedError: the lines were closed
        """
        self._text.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "all" if self._range is None else f"{self._range}"
        return f"<Lines of {self._text.file.path!r}: {what}>"


def lines(
    path: Path, *, index: Path | bool | None = None, progress: Progress | None = None
) -> Lines:
    """The lines of a file of any size, by their numbers.

    `path` names the file. The first question that needs it counts the newlines, as far as needed,
    and from then on any line costs reading 64 KiB. With `index=True` the counts are kept in a file
    of the same name with `.lines` behind it, or with `index="..."` in the file named, and another
    time nothing needs to be counted: as long as the file has the same size, inode and time of
    change. A damaged index, or somebody else's, is not used, and a new one is written. Nothing is
    kept of a file that changed within the last second.

    `progress` is called with the bytes counted so far, in whichever thread asks.

    The file is taken as it is when it is opened: what is appended later is not seen. If it is
    truncated, reading raises `PageLostError`. It should not be changed in place meanwhile. A change
    through a mapping may leave the time of change as it was: keep no index then.

    Raises `ValueError` when `index` names a file that holds something else, and `OSError` as
    opening the file does, and where an index cannot be written (it is there for this `Lines` all
    the same). Cost: counting as `count` does, once; 8 bytes of memory for each
    64 KiB; a line some microseconds, or a tenth of one where they are iterated.

    >>> import emmap, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "log")
    >>> with open(path, "w") as f: _ = f.write("line\\n" * 10_000)
    >>> emmap.lines(path)[9_999]
    b'line'
    """
    kept: str | None = None
    if index is True:
        kept = os.path.abspath(os.fsdecode(path)) + ".lines"
    elif index is not None and index is not False:
        kept = os.path.abspath(os.fsdecode(index))
        require_index(kept, path)
    return Lines(LineIndex(path, kept, progress))
