"""MemoryMap beside the standard mmap: access, search, faults, opening, the guard, import."""

from __future__ import annotations

import contextlib
import importlib.util
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import emmap
from benchmarks.harness import Contestant, Question, statement, timed

PAGE = emmap.PAGESIZE
MiB = 1 << 20
HAS_NUMPY = importlib.util.find_spec("numpy") is not None

Mapping = emmap.MemoryMap | mmap.mmap
Either = TypeVar("Either", emmap.MemoryMap, mmap.mmap)


def questions() -> Iterator[Question]:
    """All questions, each with the files that it needs."""
    with tempfile.TemporaryDirectory() as folder:
        yield from small_accesses(Path(folder))
        yield from reading_like_a_file(Path(folder))
        yield from searching(Path(folder))
        yield from large_copies(Path(folder))
        yield opening(Path(folder))
        yield from faults(Path(folder))
        yield losing_pages(Path(folder))
    yield importing()


@contextlib.contextmanager
def both(path: Path, content: bytes) -> Iterator[tuple[emmap.MemoryMap, mmap.mmap, int]]:
    """The file mapped by emmap and by the standard module, and open."""
    path.write_bytes(content)
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as standard,
        emmap.open(path, "r+") as ours,
    ):
        yield ours, standard, file.fileno()


def small_accesses(folder: Path) -> Iterator[Question]:
    """A hot page: what one access costs besides the access."""
    with both(folder / "hot", os.urandom(MiB)) as (ours, standard, fd):

        def ask(title: str, code: str, call: str | None, at_most: float | None) -> Question:
            contestants = [
                statement(name, code, m=mapping, data=bytes(64), unpack=struct.unpack_from)
                for name, mapping in (("emmap", ours), ("mmap", standard))
            ]
            if call is not None:
                contestants.append(
                    statement(
                        call.partition("(")[0],
                        call,
                        loops=20,
                        os=os,
                        fd=fd,
                        data=bytes(64),
                        unpack=struct.unpack_from,
                    )
                )
            return Question(title, contestants, "mmap", at_most)

        yield ask("m[i]", "m[1000]", "os.pread(fd, 1, 1000)", 0.9)
        yield ask("m[a:b] of 64 bytes", "m[1000:1064]", "os.pread(fd, 64, 1000)", 0.9)
        yield ask("m[i] = x", "m[1000] = 7", "os.pwrite(fd, b'x', 1000)", 0.9)
        yield ask("m[a:b] = 64 bytes", "m[1000:1064] = data", "os.pwrite(fd, data, 1000)", None)
        yield ask("struct.unpack_from('<QQ', m, 1000)", "unpack('<QQ', m, 1000)", None, None)


def reading_like_a_file(folder: Path) -> Iterator[Question]:
    """The methods that move the position, from the start of the mapping on."""
    content = (b"a line of some length, as texts have them, and then it ends...\n") * 20_000
    with both(folder / "text", content) as (ours, standard, _):
        for title, code in (
            ("m.read_byte()", "m.read_byte()"),
            ("m.read(64)", "m.read(64)"),
            ("m.readline() of 64 bytes", "m.readline()"),
            ("m.tell()", "m.tell()"),
            ("m.seek(0)", "m.seek(0)"),
        ):
            contestants = [
                statement(name, code, setup="m.seek(0)", m=mapping)
                for name, mapping in (("emmap", ours), ("mmap", standard))
            ]
            if "read" in code:
                reader = (folder / "text").open("rb")
                contestants.append(
                    statement(
                        "a buffered file",
                        code.replace("read_byte()", "read(1)"),
                        setup="m.seek(0)",
                        m=reader,
                    )
                )
            yield Question(title, contestants, "mmap")


def searching(folder: Path) -> Iterator[Question]:
    """A needle nearby, and one at the end of a mebibyte."""
    content = bytearray(b"x" * MiB)
    content[100:103] = content[-3:] = b"abc"
    with both(folder / "hay", bytes(content)) as (ours, standard, _):
        for title, code, loops in (
            ("m.find(b'abc', 0), 100 bytes away", "m.find(b'abc', 0)", 20),
            ("m.find(b'abc', 200), 1 MiB away", "m.find(b'abc', 200)", 1),
            ("m.rfind(b'abc', 0, -3), 1 MiB away", "m.rfind(b'abc', 0, -3)", 1),
        ):
            contestants = [
                statement(name, code, loops, m=mapping)
                for name, mapping in (("emmap", ours), ("mmap", standard))
            ]
            contestants.append(statement("bytes", code, loops, m=bytes(content)))
            yield Question(title, contestants, "mmap")


def large_copies(folder: Path) -> Iterator[Question]:
    """What only the memory should bound."""
    path = folder / "large"
    with both(path, os.urandom(MiB)) as (ours, standard, fd):
        yield Question(
            "bytes of 1 MiB",
            [
                statement("emmap", "m[:]", 1, m=ours),
                statement("mmap", "m[:]", 1, m=standard),
                statement("os.pread", "os.pread(fd, 1048576, 0)", 1, os=os, fd=fd),
            ],
            "mmap",
        )
    if not HAS_NUMPY:
        return
    import numpy

    path.write_bytes(os.urandom(64 * MiB))

    def by_emmap() -> None:
        with emmap.open(path) as mapping:
            mapping.array("<u8").sum()

    yield Question(
        "open a cached 64 MiB file, sum it by NumPy, close",
        [
            Contestant("emmap m.array", lambda: timed(by_emmap)),
            Contestant("np.memmap", lambda: timed(numpy.memmap(path, "<u8", "r").sum)),
            Contestant("np.fromfile", lambda: timed(lambda: numpy.fromfile(path, "<u8").sum())),
        ],
        "np.memmap",
    )
    with emmap.open(path) as mapping:
        numbers, peer = mapping.array("<u8"), numpy.memmap(path, "<u8", "r")
        yield Question(
            "sum a mapped, cached 64 MiB file by NumPy",
            [
                Contestant("emmap m.array", lambda: timed(numbers.sum)),
                Contestant("np.memmap", lambda: timed(peer.sum)),
            ],
            "np.memmap",
        )


def opening(folder: Path) -> Question:
    """From a path to a mapping of it, and back."""
    path = folder / "small"
    path.write_bytes(bytes(100))

    def by_mmap() -> None:
        with path.open("rb", buffering=0) as file:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()

    contestants = [
        statement("emmap.open", "open(path).close()", 1, open=emmap.open, path=path),
        statement("open and mmap", "by_mmap()", 1, by_mmap=by_mmap),
    ]
    if HAS_NUMPY:
        import numpy

        contestants.append(
            statement("np.memmap", "memmap(path, mode='r')", 1, memmap=numpy.memmap, path=path)
        )
    return Question("open and close a mapping of a small file", contestants, "open and mmap")


def on_fresh(
    name: str, make: Callable[[], Either], work: Callable[[Either], object], pages: int
) -> Contestant:
    """A contestant that does its work, so many pages, on a new mapping in each round."""

    def sample() -> float:
        mapping = make()
        try:
            # The standard is four-kilobyte pages: a kernel that makes huge ones of itself would not
            # be compared with one that does not.
            with contextlib.suppress(OSError):
                mapping.madvise(emmap.MADV_NOHUGEPAGE)
            return timed(lambda: work(mapping), pages)
        finally:
            mapping.close()

    return Contestant(name, sample)


def read_each(mapping: Mapping) -> None:
    """Touches each page, in sequence."""
    mapping[::PAGE]


def write_each(mapping: Mapping) -> None:
    """Writes a byte of each page, in sequence."""
    mapping[::PAGE] = bytes(len(mapping) // PAGE)


def faults(folder: Path) -> Iterator[Question]:
    """What the first touch of a page costs. All figures are for one page."""
    path = folder / "pages"
    size = 32 * MiB
    pages = size // PAGE
    path.write_bytes(os.urandom(size))
    with path.open("r+b") as file:
        fd = file.fileno()

        def ours() -> emmap.MemoryMap:
            return emmap.open(path, "r+")

        def standard() -> mmap.mmap:
            return mmap.mmap(fd, 0)

        def read_by_page() -> None:
            for offset in range(0, size, PAGE):
                os.pread(fd, PAGE, offset)

        yield Question(
            "read each page of a cached file, a page",
            [
                on_fresh("emmap", ours, read_each, pages),
                on_fresh("mmap", standard, read_each, pages),
                Contestant("os.pread of a page", lambda: timed(read_by_page, pages)),
            ],
            "mmap",
        )
        yield Question(
            "write each page of a cached file, a page",
            [
                on_fresh("emmap", ours, write_each, pages),
                on_fresh("mmap", standard, write_each, pages),
            ],
            "mmap",
        )
        yield Question(
            "populate a mapping of a cached file, a page",
            [
                on_fresh("emmap m.populate()", ours, emmap.MemoryMap.populate, pages),
                on_fresh("emmap, by touching each page", ours, read_each, pages),
                on_fresh("mmap, by touching each page", standard, read_each, pages),
            ],
            "mmap, by touching each page",
        )

    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    yield Question(
        "first write to anonymous memory, a page",
        [
            on_fresh("emmap", lambda: emmap.anonymous(size), write_each, pages),
            on_fresh("mmap", lambda: mmap.mmap(-1, size, flags=private), write_each, pages),
        ],
        "mmap",
    )


def losing_pages(folder: Path) -> Question:
    """What the guard costs where the standard mmap kills the process: a signal, a look, a page of
    zeros. Read from the end, so that each page is lost by itself."""
    path = folder / "cut"
    pages = 1000
    size = pages * PAGE

    def lose() -> float:
        path.write_bytes(bytes(size))
        mapping = emmap.open(path, "r+")
        try:
            with memoryview(mapping) as view:
                os.truncate(path, 0)
                backwards = view[::-PAGE]
                return timed(backwards.tobytes, pages)
        finally:
            with contextlib.suppress(emmap.PageLostError):
                mapping.close()

    def fault() -> float:
        with emmap.anonymous(size) as mapping, memoryview(mapping) as view:
            return timed(view[::-PAGE].tobytes, pages)

    return Question(
        "read a page that is lost, a page",
        [
            Contestant("emmap, lost by truncation", lose),
            Contestant("emmap, anonymous memory", fault),
        ],
        "emmap, anonymous memory",
    )


def importing() -> Question:
    """What a fresh process pays before its first mapping."""

    def child(code: str) -> Callable[[], float]:
        program = (
            f"from time import perf_counter_ns as now\nstart = now()\n{code}\nprint(now() - start)"
        )

        def sample() -> float:
            command = [sys.executable, "-c", program]
            return float(subprocess.run(command, capture_output=True, check=True).stdout)

        return sample

    return Question(
        "import, in a fresh process",
        [
            Contestant("import emmap", child("import emmap")),
            Contestant("import emmap; emmap.open", child("import emmap; emmap.open")),
            Contestant("import mmap", child("import mmap")),
        ],
        "import mmap",
        at_most_more=3e6,
    )
