"""A process of the tour: some lines of Python that take turns when they are told to."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack


class Worker:
    """One of the processes, which is ready when this is made.

    Its code gets a path, and says by a line that it is ready. Then it reads how many turns to take
    and what to do after them, and answers by further lines.
    """

    def __init__(self, code: str, path: str, stack: ExitStack) -> None:
        command = [sys.executable, "-P", "-c", code, path]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        stack.enter_context(self.process)
        stack.callback(self.process.kill)
        self.answer()

    def begin(self, turns: int, end: str) -> None:
        """Let it take its turns."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{turns} {end}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise OSError("a process of the tour has died")
        return line

    def told(self) -> list[float]:
        """The numbers of its next line."""
        return [float(number) for number in self.answer().split()]
