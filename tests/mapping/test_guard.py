"""The SIGBUS guard: a lost page is an exception at the promised place, and never a dead process."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import emmap
from mapping.small_disk import run_on_small_disk
from mapping.victim import OPERATIONS

VICTIM = Path(__file__).with_name("victim.py")


def run_python(script: str, *args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True)


@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("with_faulthandler", ["off", "before", "after"])
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_truncated_by_another_process(operation: str, with_faulthandler: str, times: int) -> None:
    if operation == "numpy_sum":
        pytest.importorskip("numpy")
    done = subprocess.run(
        [sys.executable, VICTIM, operation, with_faulthandler, str(times)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    assert int(done.stdout) == times


def test_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(emmap.PageLostError("page lost", "/data", 4096)))
    assert (error.offset, error.filename, error.strerror) == (4096, "/data", "page lost")


# A file of 100,000 pages; what is lost is told in numbers: [views that read zeros, exceptions].
MANY_PAGES = """
import emmap, os
PAGE, N = emmap.PAGESIZE, 100_000
"""


def test_half_of_many_pages_truncated(tmp_path: Path) -> None:
    """Every second page of the lost half is touched, from the end, from the start, and at
    random."""
    script = (
        MANY_PAGES
        + """
import random, sys
for order in ("backward", "forward", "random"):
    with open(sys.argv[1], "wb") as f:
        f.truncate(N * PAGE)
    m = emmap.open(sys.argv[1], "r+")
    view = memoryview(m)
    os.truncate(sys.argv[1], N // 2 * PAGE)
    pages = list(range(0, N, 2))
    if order == "backward": pages.reverse()
    if order == "random": random.Random(1).shuffle(pages)
    most = 0
    for number, page in enumerate(pages):
        assert view[page * PAGE] == 0
        if number % 5000 == 0: most = max(most, sum(1 for _ in open("/proc/self/maps")))
    told = 0
    for page in pages:
        try: m[page * PAGE]
        except emmap.PageLostError as error: told += error.offset >= N // 2 * PAGE
    print(order, told, most < 1000)
"""
    )
    done = run_python(script, str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr
    # 25,000 lost pages were touched; one of the calls may have told of them all before.
    for line in done.stdout.splitlines():
        order, told, few_mappings = line.split()
        assert int(told) in (25_000, 25_001), order
        assert few_mappings == "True"


def test_every_second_page_lost(tmp_path: Path) -> None:
    """On a full disk each hole of a file is a lost page: far more of them than the kernel allows
    mappings in a process (65,530), if each took two."""
    script = (
        MANY_PAGES
        + """
with open("file", "wb") as f:
    f.truncate(N * PAGE)
    for page in range(0, N, 2):
        os.pwrite(f.fileno(), b"x", page * PAGE)
try:
    with open("filler", "wb") as f:
        while True: f.write(bytes(1 << 20)); f.flush()
except OSError:
    pass
m = emmap.open("file", "r+")
view = memoryview(m)
zeros = sum(view[page * PAGE] == 0 for page in range(1, N, 2))
told = 0
for page in range(1, N, 2):
    try: m[page * PAGE] = 1
    except emmap.PageLostError: told += 1
maps = sum(1 for _ in open("/proc/self/maps"))
print(zeros, told, maps < 40_000)
"""
    )
    out = run_on_small_disk(script, tmp_path, "230m")
    assert out.split() == ["50000", "50000", "True"]


def test_lost_hole_spares_its_neighbours(tmp_path: Path) -> None:
    script = """
import emmap, os
PAGE = emmap.PAGESIZE
with open("file", "wb") as f:
    f.truncate(9 * PAGE)
    for page in range(0, 9, 2): os.pwrite(f.fileno(), b"x" * PAGE, page * PAGE)
try:
    with open("filler", "wb") as f:
        while True: f.write(bytes(PAGE)); f.flush()
except OSError: pass
with emmap.open("file", "r+") as m:
    for page in (3, 5):
        try: m[page * PAGE : page * PAGE + 4] = b"lost"
        except emmap.PageLostError as error: print(error.offset // PAGE)
    print([m[page * PAGE] for page in (0, 2, 4, 6, 8)] == [ord("x")] * 5, m.lost)
    os.unlink("filler")
    m.repair()
    m[3 * PAGE : 3 * PAGE + 4] = b"kept"
    print(open("file", "rb").read()[3 * PAGE : 3 * PAGE + 4], m.lost)
"""
    out = run_on_small_disk(script, tmp_path, "1m")
    assert out.splitlines() == ["3", "5", "True True", "b'kept' False"]


# A SIGBUS that is not ours does what it did before emmap came.

MAP_SOMETHING = """
import emmap, faulthandler, mmap, os, signal, sys
path = sys.argv[1]
def map_something():
    with open(path, "wb") as f: f.write(b"x" * 9000)
    return emmap.open(path, "r+")
"""
FOREIGN = {
    "kill, nothing before": ("m = map_something()", "os.kill(os.getpid(), signal.SIGBUS)", -7, ""),
    "kill, ignored before": (
        "signal.signal(signal.SIGBUS, signal.SIG_IGN); m = map_something()",
        "os.kill(os.getpid(), signal.SIGBUS); print('on')",
        0,
        "on",
    ),
    "kill, Python handler before": (
        "signal.signal(signal.SIGBUS, lambda *a: print('got', a[0] == 7)); m = map_something()",
        "os.kill(os.getpid(), signal.SIGBUS); signal.raise_signal(signal.SIGBUS)",
        0,
        "got True\ngot True",
    ),
    "kill, faulthandler before": (
        "faulthandler.enable(sys.stdout); m = map_something()",
        "os.kill(os.getpid(), signal.SIGBUS)",
        -7,
        "Fatal Python error: Bus error",
    ),
    "kill, faulthandler after": (
        "m = map_something(); faulthandler.enable(sys.stdout)",
        "os.kill(os.getpid(), signal.SIGBUS); os.kill(os.getpid(), signal.SIGBUS)",
        -7,
        "Fatal Python error: Bus error",
    ),
    "kill, faulthandler between two mappings": (
        "m = map_something(); faulthandler.enable(sys.stdout); n = map_something()",
        "os.kill(os.getpid(), signal.SIGBUS)",
        -7,
        "Fatal Python error: Bus error",
    ),
    "somebody else's mapping": (
        "m = map_something()",
        "s = mmap.mmap(os.open(path, os.O_RDWR), 0); os.truncate(path, 0); s[0]",
        -7,
        "",
    ),
    "somebody else's mapping, faulthandler before": (
        "faulthandler.enable(sys.stdout); m = map_something()",
        "s = mmap.mmap(os.open(path, os.O_RDWR), 0); os.truncate(path, 0); s[0]",
        -7,
        "Fatal Python error: Bus error",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_signal(case: str, tmp_path: Path) -> None:
    before, foreign, status, output = FOREIGN[case]
    done = run_python(f"{MAP_SOMETHING}\n{before}\n{foreign}", str(tmp_path / "file"))
    assert done.returncode == status, done.stderr
    assert done.stdout.startswith(output)


def test_handler_of_others_is_topped_at_the_next_mapping(tmp_path: Path) -> None:
    """A Python signal handler installed after us would see the same fault for ever."""
    script = """
signal.signal(signal.SIGBUS, lambda *a: None)
m = map_something()
os.truncate(path, 0)
try: m[0]
except emmap.PageLostError: print("told")
"""
    done = run_python(MAP_SOMETHING + script, str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (0, "told\n")


def test_child_without_the_pages(tmp_path: Path) -> None:
    """MADV_DONTFORK: the child has no such pages, which would be a SIGSEGV."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 9000)
    with emmap.open(path, "r+") as m:
        m.advise(emmap.Advice.DONTFORK, 0, 10)
        child = os.fork()
        if child == 0:
            try:
                m[8999]
            except emmap.PageLostError:
                m.repair()
                os._exit(m[8999])
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ord("x")
        assert m[0] == ord("x")


def test_blocked_sigbus_is_beyond_help(tmp_path: Path) -> None:
    """P1 says so: the kernel kills a thread that blocks the signal of its own fault."""
    script = """
m = map_something()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGBUS])
os.truncate(path, 0)
m[0]
"""
    done = run_python(MAP_SOMETHING + script, str(tmp_path / "file"))
    assert done.returncode == -signal.SIGBUS


def test_thousands_of_mappings(tmp_path: Path) -> None:
    """Readers keep no descriptors, and the table grows."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 9000)
    descriptors = len(os.listdir("/proc/self/fd"))
    maps = [emmap.open(path) for _ in range(5000)]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    os.truncate(path, 0)
    for m in maps:
        with pytest.raises(emmap.PageLostError):
            m[0]
        m.close()
