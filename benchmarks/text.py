"""Scans of a large text: counting and searching, beside the memory's speed, wc, grep and others."""

from __future__ import annotations

import importlib
import importlib.util
import mmap
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emmap
from benchmarks.harness import Contestant, Question, timed

MiB = 1 << 20
# Asked of the command line, for the harness gives its questions no arguments.
IS_QUICK = "--quick" in sys.argv
SIZE = 100 * MiB if IS_QUICK else 1 << 30
# The command of this installation. An editable one takes a tenth of a second more to start.
EMMAP = Path(sys.executable).with_name("emmap")
NEEDLE = b"needle in a haystack"
# What the peers say of bytes is what GNU says in the C locale.
ENVIRONMENT = {**os.environ, "LC_ALL": "C"}


def questions() -> Iterator[Question]:
    """All questions, over one text that lies in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        make_text(path, SIZE)
        yield from counting(path)
        yield from whole_processes(path)
        yield from searching(path)


def make_text(path: Path, size: int) -> None:
    """Write lines of random words; the needle is in the last line."""
    chance = random.Random(1)
    letters = b"etaoinshrdlucmfwypvbgkjqxz"
    lengths = (2, 3, 3, 4, 4, 5, 6, 7, 9)
    words = [bytes(chance.choices(letters, k=chance.choice(lengths))) for _ in range(5000)]
    piece = bytearray()
    while len(piece) < 16 * MiB:
        piece += b" ".join(chance.choices(words, k=chance.randint(4, 20))) + b"\n"
    with path.open("wb") as file:
        for start in range(0, size, len(piece)):
            file.write(piece[: size - start - len(NEEDLE) - 1])
        file.write(NEEDLE + b"\n")
        os.fsync(file.fileno())  # What is written back later would disturb the figures.


def call(name: str, work: Callable[[], object]) -> Contestant:
    """A contestant that makes one call."""
    return Contestant(name, lambda: timed(work))


def at_full_size(at_most: float) -> float | None:
    """A promise for a gigabyte. In a tenth of it, starting threads and Python counts too much."""
    return None if IS_QUICK else at_most


def process(name: str, *command: str | Path) -> Contestant:
    """A contestant that is a whole process, from its start to its end."""

    def work() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, env=ENVIRONMENT, check=True)

    return call(name, work)


def installed(*names: str) -> list[str]:
    """Those of some programs and modules that are there; the others are named."""
    found = []
    for name in names:
        if shutil.which(name) or importlib.util.find_spec(name):
            found.append(name)
        else:
            print(f"{name} is not installed, and left out")
    return found


def counting(path: Path) -> Iterator[Question]:
    """The kernels against the plainest of loops over the same bytes, and against themselves."""
    ours = call("emmap.count, one thread", lambda: emmap.count(path))
    if installed("numpy"):

        def plain_sum() -> None:
            with emmap.open(path) as mapping:
                mapping.array("<u8", len(mapping) // 8).sum()

        def plain_sum_of_windows() -> None:
            for start in range(0, path.stat().st_size, 64 * MiB):
                length = min(64 * MiB, path.stat().st_size - start) // 8 * 8
                with emmap.open(path, offset=start, length=length) as mapping:
                    mapping.array("<u8").sum()

        yield Question(
            "lines, words and bytes",
            [
                ours,
                call("NumPy's sum of the mapped file", plain_sum),
                call("NumPy's sum, mapped by 64 MiB", plain_sum_of_windows),
            ],
            "NumPy's sum, mapped by 64 MiB",
            at_most=1 / 0.65,
        )
    yield Question(
        "lines, words and bytes, by threads",
        [call("emmap.count, two threads", lambda: emmap.count(path, workers=2)), ours],
        ours.name,
        at_most=at_full_size(1 / 1.3),
    )
    everything = ("lines", "words", "bytes", "characters", "longest_line")
    yield Question(
        "characters and the longest line too",
        [call("emmap.count, all five", lambda: emmap.count(path, what=everything)), ours],
        ours.name,
    )


def whole_processes(path: Path) -> Iterator[Question]:
    """The command, with the start of Python in it."""
    ours = process("emmap wc", EMMAP, "wc", path)
    if not installed("wc"):
        return
    yield Question(
        "wc FILE, a whole process",
        [ours, process("wc", "wc", path)],
        "wc",
        at_most=at_full_size(1 / 60),
    )
    yield Question(
        "wc FILE, beside wc -l",
        [
            ours,
            process("emmap wc -l", EMMAP, "wc", "-l", path),
            process("wc -l", "wc", "-l", path),
        ],
        "wc -l",
        at_most=at_full_size(1 / 1.5),
    )


def searching(path: Path) -> Iterator[Question]:
    """A literal that is in the last line only. The file is mapped anew by each."""

    def find_by_mmap() -> None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            mapping.find(NEEDLE)

    def find_by_re() -> None:
        with emmap.open(path) as mapping:
            list(re.finditer(NEEDLE, mapping))

    ours = call("emmap.grep", lambda: list(emmap.grep(NEEDLE, path)))
    peers: dict[str, tuple[Contestant, float | None]] = {
        "mmap": (call("mmap.find", find_by_mmap), 1 / 3),
        "re": (call("re.finditer", find_by_re), None),
    }
    needle = NEEDLE.decode()
    for name in installed("grep", "rg", "stringzilla"):
        if name == "grep":
            peers[name] = process("GNU grep -F", "grep", "-F", needle, path), 1 / 3
        elif name == "rg":
            peers[name] = process("ripgrep -j1 -F", "rg", "-j1", "-F", needle, path), None
        else:
            peers[name] = by_stringzilla(path), 1 / 0.9
    for peer, at_most in peers.values():
        yield Question(f"a rare literal, beside {peer.name}", [ours, peer], peer.name, at_most)
    if "grep" in peers:
        pattern = "h[ae]yst[a-z]+k$"
        yield Question(
            "emmap grep, a whole process",
            [
                process("emmap grep", EMMAP, "grep", needle, path),
                process("emmap grep, a pattern", EMMAP, "grep", pattern, path),
                process("GNU grep", "grep", needle, path),
                process("GNU grep -E, a pattern", "grep", "-E", pattern, path),
            ],
            "GNU grep",
        )


def by_stringzilla(path: Path) -> Contestant:
    """StringZilla's own mapping of a file, and its search."""
    stringzilla: Any = importlib.import_module("stringzilla")
    return call(
        "StringZilla find",
        lambda: stringzilla.Str(stringzilla.File(str(path))).find(NEEDLE.decode()),
    )
