"""The second step: the same words, counted by mmap and by read."""

from __future__ import annotations

from collections.abc import Iterable

import emmap
from emmap.cli.tour.measure import Meter
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, amount, duration

LIMIT = 32 << 20
PIECE = 64 << 10
SMALL = 1 << 20


def run(place: Place) -> Report:
    """Count the words of the beginning of the file twice, and set the costs side by side."""
    with emmap.open(place.file) as mapping:
        size = min(len(mapping), LIMIT)
        part = size < len(mapping)
    starts = range(0, size, PIECE)
    # Once for nothing, so that neither way pays for the disk or for Python's own memory.
    with open(place.file, "rb", buffering=0) as file:
        count(file.read(PIECE) for _ in starts)

    # Both stay open until they are measured, to show what they keep resident.
    with Meter() as by_mmap:
        mapping = emmap.open(place.file, length=size)
        words = count(mapping[i : i + PIECE] for i in starts)
    mapping.close()
    with Meter() as by_read:
        file = open(place.file, "rb", buffering=0)  # noqa: SIM115
        words_read = count(file.read(PIECE) for _ in starts)
    file.close()

    return Report(
        "Count its words, by mmap and by read",
        f"m = emmap.open({place.literal}{f', length={size}' if part else ''})\n"
        f"count(m[i : i + {PIECE}] for i in {starts})\n"
        f"f = open({place.literal}, 'rb', buffering=0)\n"
        f"count(f.read({PIECE}) for i in {starts})",
        [
            ("words", f"{words:,}", f"{words_read:,}"),
            ("time", duration(by_mmap.seconds), duration(by_read.seconds)),
            ("read system calls", by_mmap.reads_in_words(), by_read.reads_in_words()),
            ("faults", by_mmap.faults_in_words(), by_read.faults_in_words()),
            ("more resident memory", amount(by_mmap.resident), amount(by_read.resident)),
        ],
        meaning(size, by_mmap, by_read),
        header=(f"in {'the first ' if part else ''}{amount(size)}", "by mmap", "by read"),
    )


def count(pieces: Iterable[bytes]) -> int:
    """Return the number of words in a text that comes in pieces."""
    words = 0
    inside = False
    for piece in pieces:
        words += len(piece.split())
        if inside and not piece[:1].isspace():
            words -= 1  # The piece before ended in the middle of this word.
        inside = bool(piece) and not piece[-1:].isspace()
    return words


def meaning(size: int, by_mmap: Meter, by_read: Meter) -> str:
    """Say what the numbers mean, for a file of this size."""
    if size == 0:
        return "Where there is nothing to count, both ways find nothing, and neither complains."
    if size < SMALL:
        return (
            "On a file so small they differ by little more than the cost of mapping it. Read calls "
            "grow with the size of a file; the mapping needs none, whatever the size."
        )
    calls = "" if by_read.reads is None else f" {by_read.reads:,} times"
    faults = by_mmap.minor + by_mmap.major
    return (
        f"Read asked the kernel{calls} to copy a piece for us. The mapping asked once, and "
        f"{faults:,} faults put the kernel's own pages before us: they count as resident, "
        "though they can be dropped at any time. Counting costs the same."
    )
