"""What a piece of work costs: time, system calls, faults, and resident memory."""

from __future__ import annotations

import os
import resource
import time
from types import TracebackType


class Meter:
    """Measures its ``with`` block; the results are there when the block has been left."""

    seconds: float
    reads: int | None  # None where the kernel does not let us count.
    minor: int
    major: int
    resident: int  # How much more memory is resident at the end than at the start.

    def __enter__(self) -> Meter:
        """Take the readings of the start, the time last."""
        self._resident = resident()
        # Asking costs a read call itself: as many as the second answer exceeds the first by.
        first, self._reads = reads(), reads()
        self._asking = more(self._reads, first)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._minor, self._major = usage.ru_minflt, usage.ru_majflt
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the readings of the end, the time first, and keep the differences."""
        self.seconds = time.perf_counter() - self._start
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.minor = usage.ru_minflt - self._minor
        self.major = usage.ru_majflt - self._major
        self.reads = more(more(reads(), self._reads), self._asking)
        self.resident = resident() - self._resident

    def reads_in_words(self) -> str:
        """Return the number of read calls, or say that they cannot be counted."""
        return "not countable here" if self.reads is None else f"{self.reads:,}"

    def faults_in_words(self) -> str:
        """Return the faults: minor, and major (those that waited for the disk)."""
        return f"{self.minor:,} minor, {self.major:,} major"


def more(now: int | None, before: int | None) -> int | None:
    """Return the difference, or None where either number is unknown."""
    return None if now is None or before is None else now - before


def reads() -> int | None:
    """Return how many read system calls this process has made, or None if nobody tells."""
    try:
        return field("/proc/self/io", b"syscr:")
    except OSError:
        return None


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    try:
        kibibytes = field("/proc/self/smaps_rollup", b"Rss:")
    except OSError:
        kibibytes = None
    if kibibytes is not None:
        return kibibytes * 1024
    # Older kernels have only this file, and newer ones keep it a few pages behind the truth.
    with open("/proc/self/statm", "rb", buffering=0) as statm:
        return int(statm.read(256).split()[1]) * resource.getpagesize()


def most_resident() -> int:
    """Return the largest amount of memory that was ever resident in this process."""
    kibibytes = field("/proc/self/status", b"VmHWM:")
    return resident() if kibibytes is None else kibibytes * 1024


def field(path: str, name: bytes) -> int | None:
    """Return the number that stands behind `name` in a file of /proc."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        words = os.read(descriptor, 8192).split()
    finally:
        os.close(descriptor)
    return int(words[words.index(name) + 1]) if name in words else None
