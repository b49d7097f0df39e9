"""The fifth step: a gibibyte of memory, of which one page is touched."""

from __future__ import annotations

from contextlib import suppress

import emmap
from emmap.cli.tour.measure import resident
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report

SIZE = 1 << 30
TOUCHED = 4096


def run(place: Place) -> Report:
    """Map anonymous memory and see how little of it is resident."""
    take_and_touch(TOUCHED)  # A rehearsal, so that what the calls themselves need does not show.
    before, mapped, touched = take_and_touch(SIZE)
    return Report(
        "Take 1 GiB, touch 4 KiB",
        f"memory = emmap.anonymous({SIZE})\n"
        "memory.advise(emmap.Advice.NOHUGEPAGE)\n"
        f"memory[:{TOUCHED}] = b'\\xff' * {TOUCHED}",
        [
            ("resident before", exact(before)),
            ("with 1 GiB mapped", exact(mapped)),
            ("with 4 KiB touched", exact(touched)),
        ],
        "Mapped memory is a promise, kept page by page: the kernel gave us "
        f"{exact(touched - before)}, where we had asked for {exact(SIZE)}.",
    )


def take_and_touch(size: int) -> tuple[int, int, int]:
    """Return what is resident before, with the memory mapped, and with its beginning touched."""
    before = resident()
    with emmap.anonymous(size) as memory:
        with suppress(OSError):  # A kernel that knows no huge pages gives none.
            memory.advise(emmap.Advice.NOHUGEPAGE)
        mapped = resident()
        memory[:TOUCHED] = b"\xff" * TOUCHED
        return before, mapped, resident()


def exact(size: int) -> str:
    """Return a size in KiB, in full, since a single page is what matters here."""
    return f"{size // 1024:,} KiB"
