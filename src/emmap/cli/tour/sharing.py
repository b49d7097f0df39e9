"""The eighth step: four processes look at the same bytes, or each at a copy of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from emmap.cli.tour.measure import field
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, amount

PROCESSES = 4
SIZE = 32 << 20

# What each of them does: it gets the path, and does as it is told, line by line.
WORKER = """
import emmap, sys
for order in sys.stdin:
    if order == "map\\n":
        m = emmap.open(sys.argv[1])
        m.populate()
    elif order == "read\\n":
        m.close()
        with open(sys.argv[1], "rb") as file:
            data = file.read()
    print(flush=True)
"""


class Worker:
    """One of the processes."""

    def __init__(self, path: str, stack: ExitStack) -> None:
        command = [sys.executable, "-P", "-c", WORKER, path]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        stack.enter_context(self.process)

    def do(self, order: str) -> None:
        """Tell it what to do, and wait until it has done it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        if not self.process.stdout.readline():
            raise OSError("a process of the tour has died")

    def share(self) -> int:
        """Its share of the memory in bytes: a page that n processes look at counts as 1/n."""
        kibibytes = field(f"/proc/{self.process.pid}/smaps_rollup", b"Pss:")
        if kibibytes is None:
            raise OSError("this kernel does not tell the shares of processes")
        return kibibytes * 1024


def run(place: Place) -> Report:
    """Measure what all of them take together, by mapping and by reading."""
    path = os.path.join(place.folder, "numbers")
    with open(path, "wb") as file:
        file.write(bytes(range(256)) * (SIZE // 256))
    with ExitStack() as stack:
        workers = [Worker(path, stack) for _ in range(PROCESSES)]
        total = {}
        for order in ("begin", "map", "read"):
            for worker in workers:
                worker.do(order)
            total[order] = sum(worker.share() for worker in workers)
    os.unlink(path)
    mapped, read = total["map"] - total["begin"], total["read"] - total["begin"]
    return Report(
        f"Let {PROCESSES} processes share {amount(SIZE)}",
        "m = emmap.open('numbers'); m.populate()   # in each of them\n"
        "data = open('numbers', 'rb').read()       # in each of them",
        [
            ("memory of all together", amount(mapped), amount(read)),
            ("that is, for each", amount(mapped // PROCESSES), amount(read // PROCESSES)),
        ],
        "Who reads a file gets a copy; who maps it looks at the kernel's only one. (Counted is the "
        "proportional share, PSS: a page that four processes have mapped is a quarter for each.)",
        header=("", "mapped", "read"),
    )
