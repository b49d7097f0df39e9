"""Mapped arrays beside plain ones: computing, sending to workers, records; and their memory.

`python -m benchmarks.arrays` tells the memory: what five processes hold that read one array.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import multiprocessing
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy

import emmap
from benchmarks.harness import Contestant, Question, statement, timed

MiB = 1 << 20
Array = numpy.ndarray[Any, Any]


def questions() -> Iterator[Question]:
    """All questions, each with the files that it needs."""
    with tempfile.TemporaryDirectory() as folder:
        yield from whole_arrays(Path(folder))
        yield from small_steps()
        yield opening(Path(folder))
        yield saving(Path(folder))
        yield appending(Path(folder))
        with echo() as other:
            yield sending(Path(folder), other)
        yield from records(Path(folder))


def whole_arrays(folder: Path) -> Iterator[Question]:
    """NumPy's own loops, over memory of different kinds.

    NumPy asks for huge pages, which most systems give to private memory and not to shared memory.
    So the peer is a plain array in pages of the usual size, and NumPy's own stands beside it.
    """
    size = 64 * MiB // 8
    huge = numpy.ones(size)
    private = emmap.anonymous(size * 8)
    private.advise(emmap.Advice.NOHUGEPAGE)
    plain = private.array(float)
    plain[:] = huge
    shared = emmap.share(plain)
    emmap.save(folder / "a.npy", plain)
    in_file = emmap.load(folder / "a.npy", "r+")
    peer = numpy.load(folder / "a.npy", mmap_mode="r+")
    for title, work in (
        ("a.sum() of 64 MiB", numpy.ndarray.sum),
        ("a += 1 of 64 MiB", lambda array: numpy.add(array, 1, out=array)),
    ):

        def contestant(
            name: str, array: Array, work: Callable[[Array], object] = work
        ) -> Contestant:
            return Contestant(name, lambda: timed(lambda: work(array)))

        yield Question(
            title,
            [
                contestant("emmap.share", shared),
                contestant("emmap.load", in_file),
                contestant("plain ndarray", plain),
                contestant("plain ndarray, NumPy's pages", huge),
                contestant("np.memmap", peer),
            ],
            "plain ndarray",
            at_most=1.05,
        )


def small_steps() -> Iterator[Question]:
    """What a call costs, however small its work."""
    plain = numpy.ones(1000)
    shared = emmap.share(plain)
    with tempfile.TemporaryFile() as file:
        peer = numpy.memmap(file, float, "w+", shape=1000)
        peer[:] = 1
        for code, loops in (
            ("a[500]", 100),
            ("a[10:20]", 100),
            ("a + 1", 20),
            ("a.sum()", 20),
        ):
            yield Question(
                f"{code} of 1,000 numbers",
                [
                    statement("emmap.share", code, loops, a=shared),
                    statement("plain ndarray", code, loops, a=plain),
                    statement("np.memmap", code, loops, a=peer),
                ],
                "plain ndarray",
            )


def opening(folder: Path) -> Question:
    """From a path to an array, and its first element."""
    path = folder / "small.npy"
    emmap.save(path, numpy.ones(1000))
    return Question(
        "open a .npy file, read an element",
        [
            statement("emmap.load", "load(path)[5]", 1, load=emmap.load, path=path),
            statement(
                "np.load(mmap_mode)", "load(path, mmap_mode='r')[5]", 1, load=numpy.load, path=path
            ),
        ],
        "np.load(mmap_mode)",
    )


def saving(folder: Path) -> Question:
    """An array to a file. emmap waits for the disk, and then replaces the old file."""
    array = numpy.ones(16 * MiB // 8)

    def by_numpy() -> None:
        with (folder / "saved.npy").open("wb") as file:
            numpy.save(file, array)
            file.flush()
            os.fsync(file.fileno())

    return Question(
        "save 16 MiB to the disk",
        [
            Contestant("emmap.save", lambda: timed(lambda: emmap.save(folder / "new.npy", array))),
            Contestant("np.save and fsync", lambda: timed(by_numpy)),
        ],
        "np.save and fsync",
    )


def appending(folder: Path) -> Question:
    """Rows of 4 KiB, one by one."""
    rows = numpy.ones((1, 512))
    times = 200

    def by_emmap() -> float:
        array = emmap.empty((0, 512), float, folder / "log.npy", reserve=64 * MiB)

        def work() -> None:
            nonlocal array
            for _ in range(times):
                array = array.append(rows)

        return timed(work, times)

    def by_file() -> float:
        with (folder / "log.raw").open("wb", buffering=0) as file:

            def work() -> None:
                for _ in range(times):
                    file.write(rows.data)

            return timed(work, times)

    return Question(
        "append a row of 4 KiB",
        [Contestant("a.append", by_emmap), Contestant("file.write, raw bytes", by_file)],
        "file.write, raw bytes",
    )


def answer(connection: Connection) -> None:
    """In the other process: read an element of what comes, an array or a path, and send it back."""
    while (message := connection.recv()) is not None:
        array = numpy.load(message, mmap_mode="r") if isinstance(message, str) else message
        assert array[-1] == 1
        connection.send(message)


@contextlib.contextmanager
def echo() -> Iterator[Connection]:
    """A process that answers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs,))
    process.start()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join()


def sending(folder: Path, other: Connection) -> Question:
    """There and back; the other process reads an element."""
    plain = numpy.ones(64 * MiB // 8)
    emmap.save(folder / "sent.npy", plain)

    def there_and_back(message: object) -> Callable[[], float]:
        def work() -> None:
            other.send(message)
            other.recv()

        return lambda: timed(work)

    return Question(
        "send 64 MiB to a process and back",
        [
            Contestant("emmap.share", there_and_back(emmap.share(plain))),
            Contestant("emmap.load", there_and_back(emmap.load(folder / "sent.npy"))),
            Contestant("pickle by value", there_and_back(plain)),
            Contestant(
                "the path, np.load(mmap_mode)",
                there_and_back(str(folder / "sent.npy")),
            ),
        ],
        "pickle by value",
        at_most=0.01,
    )


class Record(ctypes.LittleEndianStructure):
    """One record of a file of them."""

    _fields_ = (("key", ctypes.c_int64), ("count", ctypes.c_int64), ("rest", ctypes.c_char * 48))


def records(folder: Path) -> Iterator[Question]:
    """A field of a record, and the bytes of a record, beside the standard mmap."""
    path = folder / "records"
    path.write_bytes(os.urandom(MiB))
    number = 100
    size = ctypes.sizeof(Record)
    at = number * size + Record.count.offset
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as standard,
        emmap.open(path, "r+") as ours,
    ):
        record = ours.struct(Record, number * size)
        with memoryview(ours).cast("B").cast("q") as numbers:
            yield Question(
                "an int64 field of a record",
                [
                    statement("emmap memoryview(m).cast('q')[n]", "a[n]", a=numbers, n=at // 8),
                    statement("emmap m.struct(Record).count", "r.count", r=record),
                    statement("emmap m.array('i8')[n]", "a[n]", a=ours.array("i8"), n=at // 8),
                    statement(
                        "struct.unpack_from of emmap",
                        "unpack('<q', m, at)[0]",
                        m=ours,
                        at=at,
                        unpack=struct.unpack_from,
                    ),
                    statement(
                        "struct.unpack_from of mmap",
                        "unpack('<q', m, at)[0]",
                        m=standard,
                        at=at,
                        unpack=struct.unpack_from,
                    ),
                ],
                "struct.unpack_from of mmap",
                at_most=0.9,
            )
        start, stop = number * size, (number + 1) * size
        yield Question(
            "the 64 bytes of a record",
            [
                statement("emmap m[a:b]", "m[a:b]", m=ours, a=start, b=stop),
                statement("mmap m[a:b]", "m[a:b]", m=standard, a=start, b=stop),
            ],
            "mmap m[a:b]",
            at_most=0.9,
        )


# The memory, which is no question of time


def held(kind: str, path: Path, size: int) -> int:
    """The bytes that this process and four workers hold when all have read one array."""
    context = multiprocessing.get_context("spawn")
    plain = numpy.load(path) if kind in ("pickled by value", "shared_memory") else None
    memory = None
    message: Any = str(path)
    if kind == "emmap.share":
        message = emmap.share(numpy.load(path, mmap_mode="r"))
    elif kind == "emmap.load":
        message = emmap.load(path)
    elif kind == "pickled by value":
        message = plain
    elif kind == "shared_memory":
        memory = shared_memory.SharedMemory(create=True, size=size)
        assert plain is not None
        numpy.ndarray(size, "u1", memory.buf)[:] = plain
        plain = None
        message = memory.name
    barrier, report = context.Barrier(5), context.SimpleQueue()
    workers = [
        context.Process(target=read_and_report, args=(kind, message, barrier, report))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    if isinstance(message, numpy.ndarray):
        message.max()
    barrier.wait()
    total: int = proportional() + sum(report.get() for _ in workers)
    barrier.wait()
    for worker in workers:
        worker.join()
    if memory is not None:
        memory.close()
        memory.unlink()
    return total


def read_and_report(kind: str, message: Any, barrier: Any, report: Any) -> None:
    """In a worker: read the array, and tell how much memory this process holds."""
    memory = None
    if kind == "np.load in each":
        array: Array = numpy.load(message)
    elif kind == "np.load(mmap_mode)":
        array = numpy.load(message, mmap_mode="r")
    elif kind == "shared_memory":
        memory = shared_memory.SharedMemory(message)
        array = numpy.ndarray(memory.size, "u1", memory.buf)
    else:
        array = message
    array.max()
    barrier.wait()
    report.put(proportional())
    barrier.wait()
    del array
    if memory is not None:
        memory.close()


def proportional() -> int:
    """The bytes that this process holds, its part of those that it shares."""
    with open("/proc/self/smaps_rollup") as lines:
        kibibytes = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kibibytes << 10


def main() -> None:
    """Print what each way to share an array takes."""
    size = 256 * MiB
    kinds = (
        "emmap.share",
        "emmap.load",
        "np.load(mmap_mode)",
        "shared_memory",
        "np.load in each",
        "pickled by value",
    )
    print(f"{size // MiB} MiB, read by four workers of one process: what all five hold (PSS)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        emmap.save(path, numpy.ones(size, "u1"))
        for kind in kinds:
            total = held(kind, path, size)
            print(f"  {kind:24} {total / MiB:7.0f} MiB  {total / size:5.2f}")


if __name__ == "__main__":
    main()
