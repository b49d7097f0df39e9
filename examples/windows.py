"""Count a word in a file that is larger than the memory, a window at a time.

Run:  python windows.py            (a file of 256 MiB)
      python windows.py 64         (of 64 GiB; it is sparse, and takes next to no disk)

Each window is mapped, searched, and closed when the next is asked for. They overlap by one byte
less than the word has, so that a word across a border is found, and none is found twice.
"""

from __future__ import annotations

import sys
import tempfile

import emmap

WORD = b"needle"
WINDOW = 16 << 20
WORDS = 8


def count(window: emmap.MemoryMap) -> int:
    """Return how often the word stands in a window."""
    found, at = 0, window.find(WORD, 0)
    while at >= 0:
        found, at = found + 1, window.find(WORD, at + 1)
    return found


def peak() -> int:
    """Return the most MiB that were ever resident in this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM"))


def main() -> None:
    """Make a file with some words, one of them across each border, and count them."""
    size = int(sys.argv[1]) << 30 if len(sys.argv) > 1 else 256 << 20
    with tempfile.NamedTemporaryFile(dir=".") as file:
        file.truncate(size)
        for n in range(1, WORDS + 1):
            file.seek(n * WINDOW - len(WORD) // 2)
            file.write(WORD)
        file.flush()
        walk = emmap.windows(file.name, WINDOW, overlap=len(WORD) - 1)
        found = sum(count(window) for window in walk)
    print(f"{found} words in {size >> 20} MiB, with at most {peak()} MiB resident")


if __name__ == "__main__":
    main()
