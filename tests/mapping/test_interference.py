"""What else happens in the middle of a call: handlers, threads, children, `__index__`, strangers.

Each of these once crashed the interpreter, changed somebody else's file, or never ended.
"""

import fcntl
import gc
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import emmap
from emmap import Protection
from mapping.growth_lock import GrowthLock, waits
from mapping.proc import PAGE, blocked_behind
from mapping.small_disk import run_on_small_disk

ROOM = 1 << 30


def acting(value: int, *actions: Callable[[], None]) -> Any:
    """A number that does something each time it is asked for."""
    rest = list(actions)

    class Index:
        def __index__(self) -> int:
            if rest:
                rest.pop(0)()
            return value

    return Index()


@pytest.fixture
def alarm() -> Iterator[Any]:
    """Calls a function in this thread, soon, wherever it is then."""
    before = signal.getsignal(signal.SIGALRM)

    def set_alarm(action: Any) -> None:
        signal.signal(signal.SIGALRM, lambda *_: action())
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def wait_for_lock(thread: threading.Thread) -> None:
    """Until the thread waits for the growth byte."""
    assert thread.native_id is not None
    while not waits(thread.native_id):
        pass


# Numbers that change the mapping


def test_splice_with_a_number_that_shortens() -> None:
    m = emmap.anonymous(100 * PAGE)
    m.splice(acting(50 * PAGE, lambda: m.resize(PAGE)), None, b"x")
    assert m[-1:] == b"x"
    assert len(m) == PAGE + 1


def test_populate_with_a_number_that_shortens() -> None:
    m = emmap.anonymous(100 * PAGE)
    with pytest.raises(ValueError, match="leaves"):
        m.populate(acting(50 * PAGE, lambda: m.resize(PAGE)), 1)
    m = emmap.anonymous(100 * PAGE)
    m.populate(acting(50 * PAGE, lambda: None, lambda: m.resize(PAGE)), 1)


# Protection


def test_pages_that_may_not_be_touched() -> None:
    m = emmap.anonymous(10000, reserve=ROOM)
    m[:] = b"x" * 10000
    m.protect(Protection.READ)
    with pytest.raises(emmap.ProtectionError):
        m.resize(5000)
    assert m[:] == b"x" * 10000
    m.protect(Protection.NONE)
    with pytest.raises(OSError, match="pin"):
        m.pin()


def test_pinned_memory_becomes_shorter() -> None:
    m = emmap.anonymous(10000, reserve=ROOM)
    m[:] = b"x" * 10000
    m.pin()
    m.resize(5000)
    m.resize(10000)
    assert m[:] == b"x" * 5000 + bytes(5000)


def test_a_mapping_closed_on_the_way_to_the_kernel(path: Path) -> None:
    """As another thread may do whenever Python code runs."""
    calls: tuple[Callable[[emmap.MemoryMap], object], ...] = (
        lambda m: m.protect(Protection.READ),
        lambda m: m.resize(2 * PAGE),
        lambda m: m.grow(20 * PAGE),
        lambda m: m.advise(emmap.Advice.RANDOM),
        lambda m: m.flush(),
        lambda m: m.evict(),
        lambda m: m.splice(0, 1, b"abc"),
        lambda m: m.size(),
    )
    for call in calls:
        for reserve in (None, ROOM):
            m = emmap.open(path, "r+", reserve=reserve)
            m.protect(Protection.READ | Protection.WRITE | Protection.EXEC, 0, 1)

            def other_thread(frame: FrameType, event: str, arg: object) -> None:
                if frame.f_code.co_filename.endswith("backing.py"):
                    m.close()  # noqa: B023

            sys.settrace(other_thread)
            try:
                call(m)
            except (ValueError, OSError):
                pass
            finally:
                sys.settrace(None)


def test_move_while_others_close() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    box = [emmap.anonymous(2 * PAGE)]
    stop = threading.Event()

    def close() -> None:
        while not stop.is_set():
            box[0].close()

    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3000):
        box[0] = emmap.anonymous(2 * PAGE)
        try:
            for _ in range(10):
                box[0].move(0, PAGE, PAGE)
        except ValueError:
            pass
    stop.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)


# Other files, and other locks


def test_a_handler_that_closes_the_mapping_gives_no_other_file_away(
    path: Path, tmp_path: Path, alarm: Any
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious" * 1000)
    m = emmap.open(path, "r+", reserve=ROOM)
    opened: list[int] = []
    with GrowthLock(path) as lock:

        def close() -> None:
            m.close()
            opened.extend(os.open(victim, os.O_RDWR) for _ in range(8))
            lock.let_go()

        alarm(close)
        with pytest.raises((OSError, ValueError)):
            m.resize(100)
    assert victim.read_bytes() == b"precious" * 1000
    for fd in set(opened):
        os.close(fd)


def test_a_handler_may_grow_the_file_that_grows(path: Path, alarm: Any) -> None:
    m = emmap.open(path, "r+", reserve=1 << 40)
    sizes: list[int] = []
    with GrowthLock(path) as lock:

        def grow() -> None:
            if not sizes:
                lock.let_go()
                m.grow(10 * PAGE)
                sizes.append(path.stat().st_size)

        alarm(grow)
        m.grow(20 * PAGE)
    assert sizes == [10 * PAGE]
    assert len(m) == path.stat().st_size == 20 * PAGE


def test_growth_keeps_the_locks_of_the_process(path: Path) -> None:
    script = """
        import fcntl, sys
        try:
            fcntl.lockf(open(sys.argv[1], "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("held")
    """
    with emmap.open(path, "r+", reserve=ROOM) as m, path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        m.grow(9 * PAGE)
        m.resize(8 * PAGE)
        m.grow(10 * PAGE)
        other = [sys.executable, "-c", textwrap.dedent(script), str(path)]
        assert subprocess.run(other, capture_output=True, check=True).stdout == b"held\n"


def test_a_killed_grower_with_a_child_stops_nobody(path: Path) -> None:
    reading, writing = os.pipe()
    grower = os.fork()
    if grower == 0:
        m = emmap.open(path, "r+", reserve=1 << 40)
        holder = threading.Thread(target=m.grow, args=(20 * PAGE,))
        with GrowthLock(path) as lock:
            holder.start()
            wait_for_lock(holder)
            if os.fork() == 0:  # the child outlives it, with all that it has inherited
                os.close(lock.fd)
                os.write(writing, str(os.getpid()).encode())
                signal.pause()
            signal.pause()
    child = int(os.read(reading, 20))
    os.kill(grower, signal.SIGKILL)
    os.waitpid(grower, 0)
    with emmap.open(path, "r+", reserve=ROOM) as m:
        m.grow(30 * PAGE)
    os.kill(child, signal.SIGKILL)
    os.close(reading)
    os.close(writing)


def test_a_descriptor_taken_by_another_file_is_not_mapped(tmp_path: Path) -> None:
    script = """
        import emmap, os
        m = emmap.open("file", reserve=1 << 30)
        view = memoryview(m)
        open("other", "wb").write(b"SECRET!!" * 100)
        os.dup2(os.open("other", os.O_RDONLY), m.fileno())
        len(m)
        assert bytes(view) == b"x" * 100, bytes(view[:8])
    """
    run_on_small_disk(textwrap.dedent(script), tmp_path, "16M", "overlay")


def test_repair_maps_the_copy_of_a_lower_file(tmp_path: Path) -> None:
    script = """
        import emmap, os
        m = emmap.open("file", reserve=1 << 30)
        with open("file", "r+b") as f:
            f.write(b"b" * 8192)
        assert len(m) == 8192
        os.truncate("file", 4096)
        try:
            m[5000]
        except emmap.PageLostError:
            pass
        with open("file", "r+b") as f:
            f.write(b"c" * 8192)
        m.repair()
        assert m[8000:8001] == b"c"
    """
    for number, filesystem in enumerate(("overlay", "overlay over another filesystem")):
        place = tmp_path / str(number)
        place.mkdir()
        run_on_small_disk(textwrap.dedent(script), place, "16M", filesystem)


def test_a_device_does_not_grow(tmp_path: Path) -> None:
    image = tmp_path / "image"
    data = os.urandom(1 << 20)
    image.write_bytes(data)
    loop = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if loop.returncode:
        pytest.skip("block device: no right to make a loop device")
    device = loop.stdout.strip()
    try:
        with emmap.open(device, "r+") as m:
            for size in (2 << 20, 4096):
                with pytest.raises(OSError, match="regular file"):
                    m.resize(size)
            assert m[:] == data
        with pytest.raises(ValueError, match="reserve"):
            emmap.open(device, "r+", reserve=ROOM)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


# Lengths that others see


def test_a_resize_that_fails_shows_no_length(path: Path) -> None:
    follower = emmap.open(path, reserve=ROOM)
    with emmap.open(path, "r+") as m, memoryview(m), blocked_behind(m):
        stop = threading.Event()
        longest = [0]

        def look() -> None:
            while not stop.is_set():
                longest[0] = max(longest[0], os.stat(path).st_size)

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(2000):
            with pytest.raises(emmap.InUseError):
                m.resize(1 << 20)
        stop.set()
        thread.join()
    assert longest[0] == len(follower) == 4 * PAGE
    assert path.stat().st_blocks * 512 < 1 << 20


def test_no_view_is_longer_than_a_mapping_that_becomes_shorter(path: Path) -> None:
    m = emmap.open(path, "r+", reserve=ROOM)
    with GrowthLock(path) as lock:
        thread = threading.Thread(target=m.resize, args=(100,))
        thread.start()
        wait_for_lock(thread)
        assert len(m) == 100
        with memoryview(m) as view:
            lock.let_go()
            thread.join()
            assert len(view) == len(m) == m.size() == 100


def test_threads_that_grow_and_shrink_agree_with_the_file() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        m = emmap.open(file.name, "r+", size=20000, reserve=ROOM)
        for _ in range(300):
            threads = [
                threading.Thread(target=m.grow, args=(40000,)),
                threading.Thread(target=m.resize, args=(20000,)),
                threading.Thread(target=m.resize, args=(30000,)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(m) == m.size()


def test_resize_lengthens_what_somebody_shortened(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m:
        os.truncate(path, 0)
        m.resize(9000)
        assert len(m) == m.size() == 9000


# Memory


def test_room_does_not_count_as_data(path: Path) -> None:
    script = """
        import emmap, os, resource, sys
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
        m = emmap.open(sys.argv[1], "r+", reserve=1 << 40)
        memoryview(m).release()
        m.close()
        bytearray(100 << 20)
        other = emmap.open(sys.argv[1], "r+", reserve=1 << 40)
        os.truncate(sys.argv[1], 0)
        try:
            other[0]
        except emmap.PageLostError:
            pass
        bytearray(100 << 20)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=True)


def test_a_closed_mapping_gives_its_room_back(path: Path) -> None:
    def address_space() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    before = address_space()
    m = emmap.open(path, "r+", reserve=1 << 40)
    memoryview(m).release()
    m.close()
    assert address_space() - before < 1 << 39


def test_advice_on_fork_is_for_the_room_too() -> None:
    m = emmap.anonymous(2 * PAGE, shared=True, reserve=ROOM)
    m[0] = 7
    m.advise(emmap.Advice.DONTFORK)
    m.advise(emmap.Advice.DOFORK)
    m.grow(4 * PAGE)
    child = os.fork()
    if child == 0:
        os._exit(m[0] + m[3 * PAGE])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# Pickles


class Twice:
    """Pickles a mapping within a pickle, twice."""

    def __init__(self, m: emmap.MemoryMap) -> None:
        self.m = m

    def __reduce__(self) -> Any:
        return both, (pickle.dumps(self.m), pickle.dumps(self.m))


def both(a: bytes, b: bytes) -> bytes:
    first = pickle.loads(a)[:]
    return bytes(first + pickle.loads(b)[:])


class Temporary:
    """Pickles a mapping that nobody else holds."""

    def __reduce__(self) -> Any:
        m = emmap.anonymous(3, shared=True)
        m[:] = b"tmp"
        return pickle.loads, (pickle.dumps(m),)


def answer(answers: Any, *arguments: Any) -> None:
    answers.put([argument[:] for argument in arguments])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_references_of_a_process_that_starts(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    with emmap.anonymous(3, shared=True) as m:
        m[:] = b"abc"
        child = context.Process(target=answer, args=(answers, Twice(m), Temporary(), m))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert answers.get() == [b"abcabc", b"tmp", b"abc"]
    # What was kept open for it is closed with the process object.
    before = len(os.listdir("/proc/self/fd"))
    del child
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before - 3


def test_a_reference_for_reading_asks_for_no_more(tmp_path: Path) -> None:
    program = tmp_path / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o700)
    with emmap.open(program, reserve=ROOM) as m, subprocess.Popen([program, "60"]) as running:
        program.unlink()  # nobody may write to a program that runs
        with pickle.loads(pickle.dumps(m)) as same:
            assert same[:4] == b"\x7fELF"
        running.kill()


def test_a_view_taken_on_the_way_to_a_shorter_mapping(path: Path) -> None:
    for reserve in (None, ROOM):
        m = emmap.open(path, "r+", reserve=reserve)
        views: list[memoryview] = []

        def other_thread(frame: FrameType, event: str, arg: object) -> None:
            if frame.f_code.co_name == "descriptor" and not views:  # noqa: B023
                views.append(memoryview(m))  # noqa: B023

        sys.settrace(other_thread)
        try:
            with pytest.raises(emmap.InUseError):
                m.resize(100)
        finally:
            sys.settrace(None)
        assert path.stat().st_size == 4 * PAGE
        assert views[0][-1] == 255
