"""Arrays in worker processes, however these are started: by reference, and one memory for all."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest

import emmap
from arrays import worker

METHODS = ["spawn", "fork", "forkserver"]
MiB = 1 << 20


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [None, "a.npy"])
def test_a_worker_writes_into_the_array(method: str, name: str | None, tmp_path: Path) -> None:
    a = emmap.empty((2, 100), "i8", name and tmp_path / name)
    a[0] = a[1] = numpy.arange(100)
    context: Any = multiprocessing.get_context(method)
    processes = [
        context.Process(target=worker.square, args=(view,)) for view in (a[0], a[1, ::-2], a[:0])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    expected = numpy.array([numpy.arange(100)] * 2)
    expected[0] **= 2
    expected[1, ::-2] **= 2
    assert numpy.array_equal(a, expected)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_executor(method: str, tmp_path: Path) -> None:
    source = numpy.arange(100_000).reshape(100, 1000)
    emmap.save(tmp_path / "a.npy", source)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        for a in (emmap.share(source), emmap.load(tmp_path / "a.npy")):
            assert list(executor.map(worker.total, a)) == source.sum(axis=1).tolist()
            assert executor.submit(worker.kind, a).result() == ("MappedArray", True)
            assert executor.submit(worker.kind, a + 1).result() == ("ndarray", False)
            back = executor.submit(worker.part, a).result()
            assert numpy.array_equal(back, source[1::2])
            assert type(back) is emmap.MappedArray
            if back.flags.writeable:
                back[0, 0] = 77
                assert a[1, 0] == 77


@pytest.mark.parametrize(
    "size", [256 * MiB, pytest.param(4096 * MiB, marks=pytest.mark.slow)], ids=["256M", "4G"]
)
def test_workers_share_one_memory(size: int) -> None:
    """Parent and four workers, who have all read all of it, hold it once."""
    context = multiprocessing.get_context("spawn")
    before = worker.proportional()
    array = emmap.empty(size, "u1")
    array[:] = 1
    barrier, report = context.Barrier(5, timeout=120), context.SimpleQueue()
    workers = [
        context.Process(target=worker.read_and_report, args=(array, barrier, report))
        for _ in range(4)
    ]
    for process in workers:
        process.start()
    array.max()
    barrier.wait()
    total = worker.proportional() - before + sum(report.get() for _ in workers)
    barrier.wait()
    for process in workers:
        process.join()
        assert process.exitcode == 0
    assert 0.95 * size < total <= 1.05 * size
