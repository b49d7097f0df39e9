"""What the tests of locks share."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds something."""
    path = tmp_path / "records"
    path.write_bytes(b"precious" * 100)
    return path


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Calls a function in this thread every few milliseconds, wherever it is then."""
    before = signal.getsignal(signal.SIGALRM)

    def set_alarm(action: Callable[[], None]) -> None:
        signal.signal(signal.SIGALRM, lambda *_: action())
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
