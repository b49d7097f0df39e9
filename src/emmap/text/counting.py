"""Counting, as `wc` does: `count` one target, `count_each` of many files."""

from __future__ import annotations

import os

from emmap.text import kernels
from emmap.text.kernels import Tally
from emmap.text.splitting import windows
from emmap.text.targets import FileTarget, MemoryTarget, target_of
from emmap.text.workers import check_workers, in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, NoReturn, TypeAlias

    from emmap.text.targets import Path, Progress, Target
    from emmap.text.workers import Workers

    What: TypeAlias = str | Iterable[str]

# What can be asked for, and what the kernels call it. The bytes cost nothing.
COUNTS = {
    "lines": kernels.LINES,
    "words": kernels.WORDS,
    "characters": kernels.CHARACTERS,
    "bytes": 0,
    "longest_line": kernels.LONGEST,
}
# The bytes that one task maps and counts: many, so that mapping them costs little beside it.
WINDOW = 64 << 20
# The files that one task counts, when they are small.
FILES = 32
# A character has at most 6 bytes: so many may lie behind the window that it begins in.
LOOK_AHEAD = 5


class Counts:
    """What was counted: `lines`, `words`, `characters`, `bytes` and `longest_line`.

    Only what was asked for is there, and `bytes`, which are always. `a + b` is the total of two
    targets (and the longest line of both), `sum` that of any number. Equal counts are equal, hash
    the same, and pickle. They cannot be changed.

    >>> import emmap
    >>> one, two = emmap.count(b"a line\\n"), emmap.count(b"another\\nand more\\n")
    >>> one + two
    Counts(lines=3, words=5, bytes=24)
    >>> sum([one, two]).lines
    3
    """

    __slots__ = tuple(COUNTS)
    lines: int
    words: int
    characters: int
    bytes: int
    longest_line: int

    def __init__(self, **counts: int) -> None:
        for name, number in counts.items():
            object.__setattr__(self, name, number)

    def __getattr__(self, name: str) -> NoReturn:
        if name in COUNTS:
            raise AttributeError(
                f"{name} was not counted: ask for it, as in count(..., what={name!r})"
            )
        raise AttributeError(f"Counts have no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("Counts cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("Counts cannot be changed")

    def _asdict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS if hasattr(self, name)}

    def __add__(self, other: Counts) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        left, right = self._asdict(), other._asdict()
        if left.keys() != right.keys():
            raise ValueError(
                f"these have no total: {', '.join(left)} were counted of the one, "
                f"{', '.join(right)} of the other"
            )
        total = {name: left[name] + right[name] for name in left}
        if "longest_line" in total:
            total["longest_line"] = max(left["longest_line"], right["longest_line"])
        return Counts(**total)

    def __radd__(self, other: int) -> Counts:
        return self if other == 0 else NotImplemented  # where `sum` begins

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        return self._asdict() == other._asdict()

    def __hash__(self) -> int:
        return hash(tuple(self._asdict().items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self._asdict(),)

    def __repr__(self) -> str:
        return f"Counts({', '.join(f'{name}={n}' for name, n in self._asdict().items())})"


def _make(counts: Mapping[str, int]) -> Counts:
    return Counts(**counts)


def count(
    target: Target,
    *,
    what: What = ("lines", "words", "bytes"),
    workers: Workers = None,
    progress: Progress | None = None,
) -> Counts:
    """Counts the lines, words and bytes of a target of any size.

    `target` is a path, a `MemoryMap`, or any other object with the buffer protocol (`bytes` are the
    text itself, not a path). `what` names what to count, one or several of:

    - ``"lines"``: newlines, as `wc -l`.
    - ``"words"``: as `wc -w` in the C locale. A printable ASCII byte begins a word, white space
      ends it.
    - ``"bytes"``: always counted.
    - ``"characters"``: of UTF-8, as `wc -m`; bytes that are not valid count nothing.
    - ``"longest_line"``: its columns, as `wc -L` in the C locale, with tabs to every eighth column.

    `workers` is the number of threads (None: this one), or any executor of `concurrent.futures`:
    processes, or a Dask cluster whose machines see the file under the same path. Other processes
    take paths and mappings that are shared, and refuse other objects with `TypeError`. An executor
    is not shut down. `progress` is called in this thread with the bytes counted so far.

    Raises `OSError` as opening the file does, `ValueError` for an unknown count, and
    `PageLostError` when the file is truncated meanwhile. A file that grows meanwhile is counted up
    to where it ended. Cost: lines and words that of reading the memory, 10 GB/s and more on a core;
    characters and the longest line two to four times that. A file of any size is mapped in windows
    of 64 MiB.

    >>> import emmap
    >>> emmap.count(b"one line\\nand another")
    Counts(lines=1, words=4, bytes=20)
    >>> emmap.count("äöü".encode(), what="characters").characters
    3
    """
    wanted = _wanted(what)
    check_workers(workers)
    source = target_of(target)
    tally = Tally(wanted)
    tasks = ((source, wanted, *window) for window in windows(source, WINDOW))
    for _, counted in in_order(count_window, tasks, workers):
        tally += counted
        if progress is not None:
            progress(tally.bytes)
    return _counts(tally)


def count_each(
    paths: Iterable[Path],
    *,
    what: What = ("lines", "words", "bytes"),
    workers: Workers = None,
    progress: Progress | None = None,
) -> Iterator[Counts]:
    """Counts many files, and yields the `Counts` of each in the order given.

    The arguments are those of `count`. Files of any size keep all workers busy: large ones are
    counted in windows, small ones by the dozen. `progress` gets the bytes of all files so far.

    Raises as `count` does, when it is a file's turn: those before it have been yielded.

    >>> import emmap, os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> paths = [os.path.join(folder, name) for name in ("a", "b")]
    >>> for path in paths:
    ...     with open(path, "w") as f: _ = f.write("some text\\n" * len(path[-1:]))
    >>> for path, counts in zip(paths, emmap.count_each(paths, what="lines", workers=2)):
    ...     os.path.basename(path), counts.lines
    ('a', 1)
    ('b', 1)
    """
    wanted = _wanted(what)
    check_workers(workers)
    return _count_each(paths, wanted, workers, progress)


def _count_each(
    paths: Iterable[Path], wanted: int, workers: Workers, progress: Progress | None
) -> Iterator[Counts]:
    done = 0
    tally = Tally(wanted)
    tasks = ((wanted, parts) for parts in _batches(paths))
    for (_, parts), counted in in_order(count_parts, tasks, workers):
        for (source, _, stop), part in zip(parts, counted, strict=False):
            if isinstance(part, OSError):
                raise part
            tally += part
            done += part.bytes
            if progress is not None:
                progress(done)
            if isinstance(source, str) or stop == source.size:
                yield _counts(tally)
                tally = Tally(wanted)


if TYPE_CHECKING:
    # A window of a file; or the path of a small one, which is counted whole.
    Part: TypeAlias = tuple[FileTarget, int, int] | tuple[str, int, int]


def _batches(paths: Iterable[Path]) -> Iterator[list[Part]]:
    """What each task counts: a window of a large file, or a number of small files."""
    batch: list[Part] = []
    size = 0
    for path in paths:
        part, large = _examine(path)
        if large is None:
            batch.append(part)
            size += part[2]
        if batch and (large is not None or len(batch) == FILES or size >= WINDOW):
            yield batch
            batch, size = [], 0
        if large is not None:
            for start, stop in windows(large, WINDOW):
                yield [(large, start, stop)]
    if batch:
        yield batch


def _examine(path: Path) -> tuple[Part, FileTarget | None]:
    """A file as one part, and, if it is large, the file opened."""
    name = os.path.abspath(os.fsdecode(path))
    try:
        source = FileTarget(name)
    except OSError:
        return (name, 0, 0), None  # whoever counts it meets the same error, in its turn
    return (name, 0, source.size), source if source.size > WINDOW else None


# What workers do. They return exceptions of files beside the counts of the files before.


def count_parts(wanted: int, parts: list[Part]) -> list[Tally | OSError]:
    counted: list[Tally | OSError] = []
    for source, start, stop in parts:
        try:
            if isinstance(source, str):
                small = FileTarget(source)
                counted.append(count_window(small, wanted, 0, small.size))
            else:
                counted.append(count_window(source, wanted, start, stop))
        except OSError as error:
            counted.append(error)
            break
    return counted


def count_window(source: FileTarget | MemoryTarget, wanted: int, start: int, stop: int) -> Tally:
    ahead = LOOK_AHEAD if wanted & kernels.CHARACTERS else 0
    with source.view(start, min(stop + ahead, source.size)) as view:
        return kernels.count(view, wanted, 0, stop - start)


def _wanted(what: What) -> int:
    wanted = 0
    for name in (what,) if isinstance(what, str) else what:
        if name not in COUNTS:
            raise ValueError(f"what to count is one of {', '.join(COUNTS)}, not {name!r}")
        wanted |= COUNTS[name]
    return wanted


def _counts(tally: Tally) -> Counts:
    counts = {
        name: getattr(tally, "longest" if name == "longest_line" else name)
        for name, bit in COUNTS.items()
        if bit == 0 or tally.wanted & bit
    }
    return Counts(**counts)
