"""A NumPy array that processes edit at the same time: readers see whole states only.

Run:  python atomic_grid_numpy.py              (needs NumPy: pip install 'emmap[numpy]')

`edit` gives a copy to work on and writes it back as one. Who reads gets a view of the file, without
a copy, which stays what it was however often the array is replaced meanwhile.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable

import numpy as np

import emmap

SIDE, STEPS, WRITERS = 64, 200, 2


def write(path: str) -> None:
    """Add one to all cells, row by row, many times."""
    with emmap.Store(path) as store:
        for _ in range(STEPS):
            with store.edit("grid") as grid:
                for row in grid:
                    row += 1


def watch(path: str) -> Iterable[int]:
    """Read states until the last one has come; each is the same number everywhere."""
    with emmap.Store(path, "r") as store:
        grid = store.array("grid")
        number = 0
        while number < STEPS * WRITERS:
            state: np.ndarray = grid[...]
            number = int(state[0, 0])
            assert (state == number).all()
            yield number


def main() -> None:
    """Let two processes write while this one reads."""
    with emmap.Store("grid.emmap", "w") as store:
        store.array("grid", (SIDE, SIDE), "i8")
        path = store.path
        assert path is not None
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=write, args=(path,)) for _ in range(WRITERS)]
        for process in writers:
            process.start()
        seen = list(watch(path))
        for process in writers:
            process.join()
    print(f"the last of them: {seen[-1]}; in order: {seen == sorted(seen)}; each one whole")


if __name__ == "__main__":
    main()
