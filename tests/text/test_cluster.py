"""Scans on a Dask cluster: another machine's workers, here processes, and one of them dies."""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from text.samples import TEXTS, counts, gnu_grep

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two processes."""
    with (
        warnings.catch_warnings(action="ignore"),
        # Dask tries so long to fetch a result from a dead worker before it computes it again.
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_scans(client: Any, path: Path, small_windows: int) -> None:
    text = TEXTS["more"]
    path.write_bytes(text)
    executor = client.get_executor()
    counted = emmap.count(path, what=counts(text), workers=executor)
    assert {name: getattr(counted, name) for name in counts(text)} == counts(text)
    assert list(emmap.count_each([path, path], workers=executor)) == [emmap.count(path)] * 2
    hits = list(emmap.grep(re.compile(rb"THREE"), path, workers=executor))
    assert [(hit.number, hit.line_offset, hit.line) for hit in hits] == gnu_grep(path, "THREE")
    table = bytes(range(256)).upper()
    with emmap.open(path, "r+") as m:
        emmap.translate(m, table, workers=executor)
    assert path.read_bytes() == text.translate(table)
    with pytest.raises(TypeError, match="serialize"):
        emmap.count(text, workers=executor)


def test_a_killed_worker(client: Any, path: Path, small_windows: int) -> None:
    path.write_bytes(b"one line\n" * 200_000)
    processes = list(client.run(os.getpid).values())
    assert os.getpid() not in processes
    done: list[int] = []

    def kill(bytes_done: int) -> None:
        if not done:
            os.kill(processes[0], signal.SIGKILL)
        done.append(bytes_done)

    counted = emmap.count(path, workers=client.get_executor(), progress=kill)
    assert len(done) == -(-1_800_000 // small_windows)
    assert (counted.lines, counted.words, counted.bytes) == (200_000, 400_000, 1_800_000)
