"""A data loader: worker processes make batches from one array, which none of them copies.

Run:  python data_loader.py              (needs NumPy: pip install 'emmap[numpy]')

The images are pickled by reference, so that a worker gets some hundred bytes and sees the memory
that all share. The batches come back through an array that is shared as well.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import emmap

IMAGES, SIDE, BATCH, WORKERS = 10_000, 28, 64, 2


class Loader:
    """Gives batches of random images as numbers from 0 to 1."""

    def __init__(self, images: emmap.MappedArray) -> None:
        self.images = images
        shape = (len(images) // BATCH, BATCH, *images.shape[1:])
        self.batches = emmap.empty(shape, "f4")

    def make(self, number: int, chosen: np.ndarray) -> int:
        """In a worker: fill one batch. Only its number goes back."""
        self.batches[number] = self.images[chosen] / 255
        return number

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.random.default_rng(1).permutation(len(self.images))
        choices = [order[n * BATCH : (n + 1) * BATCH] for n in range(len(self.batches))]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(WORKERS, mp_context=spawn) as workers:
            for number in workers.map(self.make, range(len(choices)), choices):
                yield self.batches[number]


def main() -> None:
    """Load all batches once."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE), "u1")
    loader = Loader(emmap.share(images))
    print(
        f"{images.nbytes} bytes of images pickle in under 1000: {len(pickle.dumps(loader)) < 1000}"
    )
    means = [batch.mean() for batch in loader]
    print(f"{len(means)} batches of {BATCH}, mean {np.mean(means):.2f}")


if __name__ == "__main__":
    main()
