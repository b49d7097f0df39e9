"""The ways in which a scan can be cut and spread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from emmap.text import counting, lineindex, lines, searching, targets, translating


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


@pytest.fixture(scope="session")
def threads() -> Iterator[ThreadPoolExecutor]:
    """Three threads of somebody else's."""
    with ThreadPoolExecutor(3) as executor:
        yield executor


@pytest.fixture(params=["this thread", "two threads", "threads", "processes"])
def workers(request: pytest.FixtureRequest) -> int | Executor | None:
    """Each kind of worker."""
    if request.param in ("threads", "processes"):
        executor = request.getfixturevalue(request.param)
        assert isinstance(executor, Executor)
        return executor
    return 2 if request.param == "two threads" else None


def set_window(monkeypatch: pytest.MonkeyPatch, size: int, *, small: int) -> None:
    """Make all windows so large, and read, not map, those of up to `small` bytes."""
    for module in (counting, lineindex, lines, searching, translating):
        monkeypatch.setattr(module, "WINDOW", size)
    monkeypatch.setattr(searching, "FIRST_WINDOW", size)
    monkeypatch.setattr(searching, "COUNTED", size)
    monkeypatch.setattr(targets, "SMALL", small)


@pytest.fixture(
    params=[(1, 1 << 16), (7, 0), (1000, 0), (5000, 1 << 16), (1 << 26, 1 << 16)], ids=str
)
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Scans with windows of this size; they are mapped, or read."""
    size, small = request.param
    set_window(monkeypatch, size, small=small)
    assert isinstance(size, int)
    return size


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Windows of 4 KiB, mapped."""
    set_window(monkeypatch, 4096, small=0)
    return 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to be."""
    return tmp_path / "text"
