"""The ninth step: four processes count together, and one dies while it holds their lock."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import emmap
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, duration
from emmap.cli.tour.worker import Worker

PROCESSES = 4
TURNS = 10_000
LAST_TURN = TURNS // 2  # of the one who dies

# Each of them counts so many turns; with "die", it then waits inside the lock, to be killed there.
WORKER = """
import emmap, sys, time
told = []
m = emmap.open(sys.argv[1], "r+")
count = memoryview(m).cast("q")[2:3]
lock = emmap.Lock(m, on_owner_death=lambda lock: told.append(time.monotonic()))
print(flush=True)
turns, end = sys.stdin.readline().split()
for turn in range(int(turns)):
    with lock:
        count[0] += 1
if end == "die":
    with lock:
        print(flush=True)
        sys.stdin.read()
print(*told, flush=True)
"""


def run(place: Place) -> Report:
    """Measure how fast they count, and how soon the others go on."""
    path = os.path.join(place.folder, "count")
    with ExitStack() as stack:
        m = stack.enter_context(emmap.open(path, "w+", size=64))
        *workers, victim, heir = (Worker(WORKER, path, stack) for _ in range(PROCESSES + 1))
        start = time.monotonic()
        for worker in workers:
            worker.begin(TURNS, "live")
        victim.begin(LAST_TURN, "die")
        victim.answer()
        victim.process.kill()
        killed = time.monotonic()
        heir.begin(TURNS - LAST_TURN, "live")
        told = [moment for worker in (*workers, heir) for moment in worker.told()]
        took = time.monotonic() - start
        count = memoryview(m).cast("q")[2]
    os.unlink(path)
    return Report(
        f"Let {PROCESSES} processes count to {PROCESSES * TURNS:,}, and kill one",
        "lock = emmap.Lock(m, on_owner_death=repair)   # 16 bytes of the mapping\n"
        "with lock:                                    # in each of them\n"
        "    count[0] += 1",
        [
            ("counted", f"{count:,}"),
            ("time, all together", duration(took)),
            ("told of the death", f"{len(told)} of the living"),
            ("after the kill -9", duration(max(told[0] - killed, 0)) if told else "never"),
        ],
        "It was killed while it held the lock. One of multiprocessing would stay locked for ever; "
        "here the next one gets it and is told, so that it can repair what was left half-written. "
        "The kernel says who is alive: each process holds a lock on one byte far behind the end of "
        "the file, as long as it lives.",
    )
