"""The third step: the words counted by the kernels, on one core and on two, and by wc."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE
from typing import TypeVar

import emmap
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, amount, duration

Answer = TypeVar("Answer")

# So much of a file is looked at, whatever its size; by wc less, which takes its time.
LIMIT = 256 << 20
LIMIT_OF_WC = 16 << 20
WORD = b"SIGBUS"
CORES = 2


def run(place: Place) -> Report:
    """Count the words of the beginning of the file, and find one of them."""
    with emmap.open(place.file) as whole:
        size = min(len(whole), LIMIT)
        part = size < len(whole)
    with (
        emmap.open(place.file, length=size) as mapping,
        memoryview(mapping) as view,
        ThreadPoolExecutor(CORES) as threads,
    ):

        def count(where: tuple[int, int]) -> int:
            return emmap.count(view[where[0] : sum(where)], what="words").words

        mapping.populate()
        list(threads.map(count, [(0, 0)] * CORES))  # Starts the threads.
        on_one, alone = timed(lambda: count((0, size)))
        on_two, together = timed(lambda: sum(threads.map(count, emmap.split(view, CORES))))
        hit, searching = timed(lambda: next(emmap.grep(WORD, view), None))
        # Where it is not found, the search has seen all.
        where = (
            ("not found", rate(size, searching)) if hit is None else (f"line {hit.number:,}", "")
        )
    rows = [
        ("words, on one core", f"{on_one:,}", duration(alone), rate(size, alone)),
        (f"words, on {CORES} cores", f"{on_two:,}", duration(together), rate(size, together)),
    ]
    size_of_wc = min(size, LIMIT_OF_WC)
    by_wc = words_by_wc(place.file, size_of_wc)
    if by_wc is not None:
        words, seconds = by_wc
        less = f" of the first {amount(size_of_wc)}" if size_of_wc < size else ""
        rows.append(
            (f"words{less}, by wc", f"{words:,}", duration(seconds), rate(size_of_wc, seconds))
        )
    rows.append((repr(WORD.decode()), where[0], duration(searching), where[1]))
    return Report(
        "Count and find at the speed of the memory",
        f"m = emmap.open({place.literal}{f', length={size}' if part else ''})\n"
        "emmap.count(m, what='words')\n"
        f"sum(threads.map(count, emmap.split(m, {CORES})))\n"
        f"next(emmap.grep({WORD!r}, m)).number",
        rows,
        "The kernels look at up to 64 bytes in one instruction, and let go of Python's lock, so "
        "that threads work side by side. Large targets are shared out among threads, processes or "
        "the machines of a cluster by workers=. The commands: emmap wc, emmap grep, emmap lines.",
        header=(f"in {'the first ' if part else ''}{amount(size)}", "", "time", "rate"),
    )


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """Return what a call answers, and the seconds that it took."""
    start = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - start


def rate(size: int, seconds: float) -> str:
    """Return a speed for people."""
    return f"{amount(int(size / seconds))}/s" if size else ""


def words_by_wc(file: str, size: int) -> tuple[int, float] | None:
    """Let GNU wc count as much, and return its words and seconds; None where it is not installed.

    The time is that of a whole process, of which a millisecond is its start.
    """
    if shutil.which("wc") is None:
        return None
    with open(file, "rb") as source:
        text = source.read(size)
    environment = {**os.environ, "LC_ALL": "C"}

    def count() -> int:
        command = ["wc", "-w"]
        return int(
            subprocess.run(command, input=text, stdout=PIPE, env=environment, check=True).stdout
        )

    return timed(count)
