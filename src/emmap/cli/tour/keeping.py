"""The tenth step: four processes share a dict, and one is killed in the middle of a write."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import emmap
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, duration
from emmap.cli.tour.worker import Worker

PROCESSES = 4
TURNS = 5_000
READS = 20_000

# Each of them adds so many times; with "die", it then begins to write more, to be killed there.
WORKER = """
import emmap, sys, time
store = emmap.Store(sys.argv[1])
words = store.dict("words")
print(flush=True)
turns, end = sys.stdin.readline().split()
for turn in range(int(turns)):
    words.add("turns")
if end == "die":
    with store.transaction():
        words["turns"], words["half"] = -1, "written"
        print(flush=True)
        sys.stdin.read()
print(time.monotonic(), flush=True)
"""


def run(place: Place) -> Report:
    """Measure how fast they write together, and how soon the others go on."""
    path = os.path.join(place.folder, "words.emmap")
    with ExitStack() as stack:
        store = stack.enter_context(emmap.Store(path))
        *workers, victim, heir = (Worker(WORKER, path, stack) for _ in range(PROCESSES + 1))
        start = time.monotonic()
        for worker in workers:
            worker.begin(TURNS, "live")
        victim.begin(TURNS - 1, "die")
        victim.answer()
        heir.begin(1, "live")
        victim.process.kill()
        killed = time.monotonic()
        (went_on,) = heir.told()
        ended = max(worker.told()[0] for worker in workers)
        words = store.dict("words")
        store.check()
        reading = time.perf_counter()
        for _ in range(READS):
            turns = words["turns"]
        read = (time.perf_counter() - reading) / READS
        keys = ", ".join(words)
    os.unlink(path)
    return Report(
        f"Let {PROCESSES} processes share a dict, and kill one in the middle of a write",
        'store = emmap.Store("words.emmap")   # in each of them\n'
        'words = store.dict("words")\n'
        'words.add("turns")',
        [
            ("turns counted", f"{turns:,}"),
            ("time, all together", duration(max(ended, killed) - start)),
            ("keys in the dict", keys),
            ("next write after the kill -9", duration(max(went_on - killed, 0))),
            ("a get", duration(read)),
        ],
        'It was killed with words["turns"] = -1 and a key "half" written and not committed. Nobody '
        "saw them: a write goes to new places, and counts when one word of eight bytes says so. So "
        "there is nothing to repair: the next writer just goes on. Readers take no lock at all.",
    )
