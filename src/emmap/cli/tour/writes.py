"""The fourth step: a private write and a shared write, checked by ordinary read."""

from __future__ import annotations

import emmap
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report

SHOWN = 20


def run(place: Place) -> Report:
    """Write to a copy of the file through both kinds of mapping."""
    path = place.copy("copy")
    before = read(path)
    size = len(before)
    with emmap.open(path, "c") as private:
        private[: min(7, size)] = b"PRIVATE"[:size]
        rows = [
            ("at first", repr(before), repr(before)),
            ("private write", repr(private[:SHOWN]), repr(read(path))),
        ]
    with emmap.open(path, "r+") as shared:
        shared[: min(6, size)] = b"SHARED"[:size]
        rows.append(("shared write", repr(shared[:SHOWN]), repr(read(path))))
    return Report(
        "Write privately, write for all",
        "private = emmap.open('copy', 'c')\n"
        f"private[:{min(7, size)}] = {b'PRIVATE'[:size]!r}\n"
        "shared = emmap.open('copy', 'r+')\n"
        f"shared[:{min(6, size)}] = {b'SHARED'[:size]!r}",
        rows,
        "A private mapping (copy-on-write) gave us our own page at the first write, and the file "
        "never heard of it. The shared write is the file: an ordinary read sees it at once.",
        header=("", "the mapping", "an ordinary read"),
    )


def read(path: str) -> bytes:
    """Return the beginning of the file, without any mapping."""
    with open(path, "rb") as file:
        return file.read(SHOWN)
