"""Run by test_guard.py: loses pages in one way, a thousand times, and says how often it was told.

    python victim.py OPERATION FAULTHANDLER TIMES

Another process truncates the file. Prints one line: the number of times that the loss was told
where emmap promises it. Any crash shows as the exit status.
"""

import faulthandler
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

import emmap

PAGE = mmap.PAGESIZE
SIZE = 4 * PAGE
TRUNCATE = """
import os, sys
for line in sys.stdin:
    os.truncate(sys.argv[1], int(line))
    print(flush=True)
"""


class Victim:
    """A mapped file, and the process that truncates it."""

    def __init__(self, path: str, other: "subprocess.Popen[str]") -> None:
        self.path = path
        self.other = other
        self.m = emmap.open(path, "r+")
        assert self.m[SIZE - 1] == 1

    def truncate(self, size: int) -> None:
        assert self.other.stdin is not None
        assert self.other.stdout is not None
        self.other.stdin.write(f"{size}\n")
        self.other.stdin.flush()
        self.other.stdout.readline()

    def told(self, call: Callable[[], object], offset: int) -> bool:
        """Does the call raise PageLostError, and name this offset in this file?"""
        try:
            call()
        except emmap.PageLostError as error:
            return error.offset == offset and error.filename == self.path
        return False


def indexing(v: Victim) -> bool:
    v.truncate(PAGE)
    return v.m[0] == 1 and v.told(lambda: v.m[2 * PAGE + 5], 2 * PAGE + 5)


def slicing(v: Victim) -> bool:
    v.truncate(PAGE)
    return v.told(lambda: v.m[PAGE - 10 : PAGE + 10], PAGE) and v.told(lambda: v.m[::7], PAGE)


def find(v: Victim) -> bool:
    v.truncate(PAGE)
    return (
        v.told(lambda: v.m.find(b"nowhere"), PAGE)
        and v.told(lambda: v.m.rfind(b"nowhere"), PAGE)
        and v.m.find(b"\1\1") == 0
    )


def read(v: Victim) -> bool:
    v.truncate(0)
    return (
        v.told(lambda: v.m.read(10), 0)
        and v.told(v.m.read_byte, 0)
        and v.told(v.m.readline, 0)
        and v.m.tell() == 0
    )


def flush(v: Victim) -> bool:
    v.truncate(PAGE)
    return (
        v.told(v.m.flush, PAGE)
        and v.told(lambda: v.m.flush(0, PAGE + 1), PAGE)
        and not v.told(lambda: v.m.flush(0, PAGE), 0)
        and v.told(lambda: v.m[PAGE], PAGE)
        and v.told(lambda: v.m.flush(0, PAGE), PAGE)
    )


def assignment(v: Victim) -> bool:
    v.truncate(PAGE)

    def set_byte() -> None:
        v.m[3 * PAGE] = 2

    def set_slice() -> None:
        v.m[PAGE : PAGE + 3] = b"abc"

    return (
        v.told(set_byte, 3 * PAGE)
        and v.told(set_slice, PAGE)
        and v.told(lambda: v.m.move(0, 2 * PAGE, 9), 2 * PAGE)
    )


def view(v: Victim) -> bool:
    with memoryview(v.m) as bytes_:
        v.truncate(PAGE)
        zeros = bytes_[3 * PAGE] == 0 and bytes(bytes_[PAGE:]) == bytes(3 * PAGE)
    # The next call tells, whatever it touches, and only once; what is lost tells always.
    return (
        zeros
        and v.told(lambda: v.m[0], PAGE)
        and v.m[0] == 1
        and v.told(lambda: memoryview(v.m), PAGE)
    )


def close(v: Victim) -> bool:
    with memoryview(v.m) as bytes_:
        v.truncate(PAGE)
        zeros = bytes_[PAGE] == 0
    return zeros and v.told(v.m.close, PAGE) and v.m.closed


def leave(v: Victim) -> bool:
    def block() -> None:
        with v.m, memoryview(v.m) as bytes_:
            v.truncate(PAGE)
            assert bytes_[PAGE] == 0

    return v.told(block, PAGE) and v.m.closed


def numpy_sum(v: Victim) -> bool:
    array = v.m.array("u1")
    v.truncate(PAGE)
    return int(array.sum()) == PAGE and v.told(lambda: v.m[0], PAGE)


def four_threads(v: Victim) -> bool:
    """Four threads read while two others map and unmap the file."""
    v.truncate(PAGE)
    told: list[bool] = []

    def reader(page: int) -> None:
        told.append(v.told(lambda: v.m[page * PAGE :], page * PAGE))

    def opener() -> None:
        for _ in range(10):
            with emmap.open(v.path) as m:
                assert m[0] == 1

    openers = [threading.Thread(target=opener) for _ in range(2)]
    readers = [threading.Thread(target=reader, args=(page,)) for page in (1, 2, 3, 1)]
    threads = [openers[0], *readers[:2], openers[1], *readers[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told == [True] * 4


def forked_child(v: Victim) -> bool:
    v.truncate(PAGE)
    child = os.fork()
    if child == 0:
        os._exit(0 if v.told(lambda: v.m[PAGE], PAGE) else 1)
    told_child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return told_child and v.told(lambda: v.m[PAGE], PAGE)


def repair(v: Victim) -> bool:
    v.truncate(PAGE)
    lost = v.told(lambda: v.m[PAGE], PAGE)
    still = v.told(v.m.repair, PAGE)
    v.truncate(SIZE)
    v.m.repair()
    v.m[PAGE] = 9
    with open(v.path, "rb") as f:
        return lost and still and not v.m.lost and f.read()[PAGE] == 9


OPERATIONS = {
    f.__name__: f
    for f in (
        indexing,
        slicing,
        find,
        read,
        flush,
        assignment,
        view,
        close,
        leave,
        numpy_sum,
        four_threads,
        forked_child,
        repair,
    )
}


def main(operation: str, with_faulthandler: str, times: int) -> None:
    told = 0
    sys.setswitchinterval(1e-4)  # or the threads that map and unmap keep the readers waiting
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        path = os.path.join(folder, "file")
        with subprocess.Popen(
            [sys.executable, "-c", TRUNCATE, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            if with_faulthandler == "before":
                faulthandler.enable(nowhere)
            for _ in range(times):
                with open(path, "wb") as f:
                    f.write(b"\1" * SIZE)
                victim = Victim(path, other)
                if with_faulthandler == "after":
                    faulthandler.disable()
                    faulthandler.enable(nowhere)
                told += OPERATIONS[operation](victim)
                victim.m.close()
            assert other.stdin is not None
            other.stdin.close()
    print(told)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
