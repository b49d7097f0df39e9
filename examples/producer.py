"""A producer and its consumers: a condition wakes whoever waits for work.

Run:  python producer.py

The jobs stand in a ring behind the condition. A consumer that is killed takes no wake-up with it.
"""

from __future__ import annotations

from multiprocessing import get_context

import emmap

CONSUMERS, JOBS, SLOTS = 3, 1000, 16
PUT, TAKEN, SUM, RING = range(4)  # numbers behind the condition


def parts(file: emmap.MemoryMap) -> tuple[emmap.Condition, memoryview[int]]:
    """Return the condition and the numbers."""
    return emmap.Condition(file), memoryview(file)[emmap.Condition.SIZE :].cast("q")


def produce(file: emmap.MemoryMap, job: int) -> None:
    """Add a job when there is room."""
    changed, n = parts(file)
    with changed:
        changed.wait_for(lambda: n[PUT] - n[TAKEN] < SLOTS)
        n[RING + n[PUT] % SLOTS] = job
        n[PUT] += 1
        changed.notify_all()


def consume(file: emmap.MemoryMap) -> None:
    """Take jobs and add them up, until a job says that it was the last."""
    (changed, n), job = parts(file), -1
    while job:
        with changed:
            changed.wait_for(lambda: n[PUT] > n[TAKEN])
            job = n[RING + n[TAKEN] % SLOTS]
            n[TAKEN] += 1
            n[SUM] += job
            changed.notify_all()


def main() -> None:
    """Produce, and print what the consumers have made of it."""
    file = emmap.open("jobs.bin", "w+", size=2 * emmap.Condition.SIZE)
    workers = [get_context("spawn").Process(target=consume, args=(file,)) for _ in range(CONSUMERS)]
    for worker in workers:
        worker.start()
    for job in [*range(1, JOBS + 1), *[0] * CONSUMERS]:
        produce(file, job)
    for worker in workers:
        worker.join()
    print(f"{CONSUMERS} consumers took {JOBS} jobs, sum {parts(file)[1][SUM]:,}")


if __name__ == "__main__":
    main()
