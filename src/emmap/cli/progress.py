"""A progress bar, for what takes longer than a second and is watched by somebody."""

from __future__ import annotations

import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 1.0  # seconds


class Bar:
    """A bar on standard error with the rate and the time left, if that is a terminal.

    It is a function of the bytes done so far, as the scans of emmap want for `progress=`. Whoever
    writes to the terminal hides it before; the next call shows it again.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._watched = sys.stderr is not None and sys.stderr.isatty()
        self._start = monotonic()
        self._bar: Progress | None = None

    def __call__(self, done: int) -> None:
        """Show how much is done, once the patience has come to its end."""
        if not self._watched or monotonic() - self._start < PATIENCE:
            return
        if self._bar is None:
            try:
                self._bar = make_bar(self._total)
            except ModuleNotFoundError:  # Without rich there is no bar, and nothing else is missing
                self._watched = False
                return
        self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)

    def hide(self) -> None:
        """Take the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()


def make_bar(total: int) -> Progress:
    """Return a bar that leaves nothing behind."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=total)
    return bar
