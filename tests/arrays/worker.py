"""What the worker processes of test_array_workers.py do, where every way to start one finds it."""

from __future__ import annotations

from multiprocessing.synchronize import Barrier
from typing import Any

import numpy

import emmap


def square(array: emmap.MappedArray) -> None:
    """Squares each element, where it is."""
    numpy.multiply(array, array, out=array)


def total(array: emmap.MappedArray) -> int:
    """Their sum."""
    return int(array.sum())


def kind(array: numpy.ndarray[Any, Any]) -> tuple[str, bool]:
    """The name of the type, and whether the elements lie in a mapping."""
    return type(array).__name__, getattr(array, "mapping", None) is not None


KEPT: list[emmap.MappedArray] = []


def part(array: emmap.MappedArray) -> emmap.MappedArray:
    """A view of it, by reference: to what this process has open, so it keeps that."""
    KEPT.append(array)
    view: emmap.MappedArray = array[1::2]
    return view


def proportional() -> int:
    """The bytes of anonymous and shared memory that this process has, its part of shared ones."""
    kibibytes = 0
    with open("/proc/self/smaps_rollup") as lines:
        for line in lines:
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                kibibytes += int(line.split()[1])
    return kibibytes << 10


def read_and_report(array: emmap.MappedArray, barrier: Barrier, report: Any) -> None:
    """Reads all, waits until all have, and tells how much memory that took."""
    before = proportional()
    array.max()
    barrier.wait()
    report.put(proportional() - before)
    barrier.wait()
