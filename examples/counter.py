"""Four processes count together: a lock keeps them apart, and nothing is lost.

Run:  python counter.py

The lock and the number lie in one shared page. Whoever is killed while it holds the lock does not
stop the others: the next one gets it, and `repair` is called.
"""

from __future__ import annotations

import multiprocessing

import emmap

PROCESSES = 4
TURNS = 25_000
LOCK, COUNT = 0, 16


def repair(lock: emmap.Lock) -> None:
    """Put right what a dead process may have left half-done: a number is stored whole."""


def count(page: emmap.MemoryMap) -> None:
    """Add one, many times."""
    lock = emmap.Lock(page, offset=LOCK, on_owner_death=repair)
    number = memoryview(page)[COUNT : COUNT + 8].cast("q")
    for _ in range(TURNS):
        with lock:
            number[0] += 1


def main() -> None:
    """Let all of them count, and print the sum."""
    page = emmap.anonymous(emmap.PAGESIZE, shared=True)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count, args=(page,)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    total = memoryview(page)[COUNT : COUNT + 8].cast("q")[0]
    print(f"{PROCESSES} processes counted to {total:,}")


if __name__ == "__main__":
    main()
