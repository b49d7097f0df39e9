"""How a target is cut: into windows of one size, or at line ends."""

from __future__ import annotations

from emmap.text.kernels import last_newline, line_start
from emmap.text.targets import target_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from emmap.text.targets import FileTarget, MemoryTarget, Target

# How far a line end is looked for at first, and at most in one step.
STEP, LONGEST_STEP = 4 << 10, 64 << 20


def split(target: Target, n: int) -> list[tuple[int, int]]:
    """Cuts a target at line ends into at most `n` ranges of about the same length.

    `target` is a path, a `MemoryMap`, or any other object with the buffer protocol. Each range is
    `(offset, length)` in bytes; none is empty, together they are the whole target, and each but the
    last ends with a newline. There are fewer than `n` where lines are too long.

    Raises `OSError` as opening the file does, `ValueError` when `n` is below 1, `PageLostError`.
    Cost: it reads from each cut on to the next newline.

    >>> import emmap
    >>> emmap.split(b"one\\ntwo\\nthree\\nfour\\n", 3)
    [(0, 8), (8, 6), (14, 5)]
    """
    if n < 1:
        raise ValueError(f"a target is split into at least 1 range, not {n}")
    source = target_of(target)
    ranges: list[tuple[int, int]] = []
    start = 0
    for i in range(1, n + 1):
        wanted = source.size * i // n
        if wanted > start:
            stop = behind_newline(source, wanted - 1)
            ranges.append((start, stop - start))
            start = stop
    return ranges


def windows(source: FileTarget | MemoryTarget, size: int) -> Iterator[tuple[int, int]]:
    """The windows (start, stop) of `size` bytes that cover a target."""
    for start in range(0, source.size, size):
        yield start, min(start + size, source.size)


def line_windows(
    source: FileTarget | MemoryTarget, size: int, start: int = 0, *, largest: int = 0
) -> Iterator[tuple[int, int]]:
    """Windows of whole lines: of at most `size` bytes, unless one line is longer.

    The size is doubled each time, up to `largest`.
    """
    while start < source.size:
        stop = start + size
        if stop < source.size:
            stop = behind_last_newline(source, start, stop) or behind_newline(source, stop)
        stop = min(stop, source.size)
        yield start, stop
        start, size = stop, max(size, min(2 * size, largest))


def behind_last_newline(source: FileTarget | MemoryTarget, start: int, stop: int) -> int:
    """The offset just behind the last newline of a range, or 0."""
    step = STEP
    while start < stop:
        begin = max(start, stop - step)
        with source.view(begin, stop) as view:
            found = last_newline(view)
        if found >= 0:
            return begin + found + 1
        stop, step = begin, min(4 * step, LONGEST_STEP)
    return 0


def behind_newline(source: FileTarget | MemoryTarget, start: int) -> int:
    """The offset just behind the first newline from `start` on; without one, the end."""
    step = STEP
    while start < source.size:
        stop = min(start + step, source.size)
        with source.view(start, stop) as view:
            found = line_start(view, 1)
        if found >= 0:
            return start + found
        start, step = stop, min(4 * step, LONGEST_STEP)
    return source.size
