"""`Lock` and `RLock`: what those of `threading` do, and what these do besides."""

import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer

Kind = type[emmap.Lock] | type[emmap.RLock]
KINDS = [emmap.Lock, emmap.RLock]


def standard(kind: str) -> Any:
    return getattr(threading, kind)()


def ours(kind: str) -> Any:
    return getattr(emmap, kind)(emmap.anonymous(64, shared=True))


@pytest.fixture(params=[standard, ours])
def make(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Makes a lock of the standard library, or ours: the tests hold for both."""
    maker: Callable[[str], Any] = request.param
    return maker


@pytest.fixture
def place() -> emmap.MemoryMap:
    return emmap.anonymous(64, shared=True)


def in_thread(work: Callable[[], Any]) -> Any:
    """What the function returns or raises in another thread."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return answers[0]


# As those of threading


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_it_can_be_had_once_and_again_after_release(make: Callable[[str], Any], kind: str) -> None:
    lock = make(kind)
    for _ in range(3):
        assert lock.acquire() is True
        assert in_thread(lambda: lock.acquire(blocking=False)) is False
        assert in_thread(lambda: lock.acquire(timeout=0.01)) is False
        assert in_thread(lambda: lock.acquire(True, 0)) is False  # noqa: FBT003
        lock.release()
        assert in_thread(lambda: lock.acquire(blocking=False) and lock.release()) is None


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@pytest.mark.parametrize(
    "arguments",
    [(False, 1), (False, 0), (True, -2), (True, -0.5), (True, 1e10), (True, float("nan")), (1, "x"),
     (True, None), (True, 1, 1)],
)  # fmt: skip
def test_bad_arguments_are_refused_alike(
    make: Callable[[str], Any], kind: str, arguments: tuple[Any, ...]
) -> None:
    lock, reference = make(kind), standard(kind)
    with pytest.raises(Exception) as expected:  # noqa: PT011
        reference.acquire(*arguments)
    with pytest.raises(expected.type):
        lock.acquire(*arguments)
    assert in_thread(lambda: lock.acquire(blocking=False)) is True


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_what_is_not_held_cannot_be_released(make: Callable[[str], Any], kind: str) -> None:
    lock = make(kind)
    with pytest.raises(RuntimeError, match="release un"):
        lock.release()
    lock.acquire()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()
    assert lock.acquire(blocking=False)


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_block_releases_also_where_it_raises(make: Callable[[str], Any], kind: str) -> None:
    lock = make(kind)
    with lock as entered:
        assert entered is True
        assert in_thread(lambda: lock.acquire(blocking=False)) is False
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert in_thread(lambda: lock.acquire(blocking=False)) is True


def test_any_thread_may_release_a_lock(make: Callable[[str], Any]) -> None:
    lock = make("Lock")
    lock.acquire()
    assert lock.locked()
    assert in_thread(lock.release) is None
    assert not lock.locked()


def test_an_rlock_belongs_to_a_thread(make: Callable[[str], Any]) -> None:
    lock = make("RLock")
    assert lock.acquire()
    assert lock.acquire(blocking=False)
    assert isinstance(in_thread(lock.release), RuntimeError)
    lock.release()
    assert in_thread(lambda: lock.acquire(blocking=False)) is False
    lock.release()
    assert in_thread(lambda: lock.acquire(blocking=False)) is True


def test_threads_exclude_each_other(make: Callable[[str], Any]) -> None:
    lock = make("Lock")
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(2000):
            with lock:
                seen = count
                if seen % 100 == 0:
                    time.sleep(0)
                count = seen + 1

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 12_000


def test_a_condition_of_threading_takes_our_locks() -> None:
    for kind in KINDS:
        condition = threading.Condition(kind(emmap.anonymous(64, shared=True)))  # type: ignore[arg-type]
        with condition:
            assert condition.wait(0.01) is False


# Among processes


@pytest.mark.parametrize("kind", KINDS)
def test_processes_exclude_each_other(kind: Kind, tmp_path: Path) -> None:
    path = str(tmp_path / "shared")
    with emmap.open(path, "x+", size=64) as m, Peer() as one, Peer() as two:
        count = memoryview(m).cast("q")[4:5]
        for peer in (one, two):
            peer(f"m = emmap.open({path!r}, 'r+'); lock = emmap.{kind.__name__}(m)")
            peer("count = memoryview(m).cast('q')[4:5]")
            peer.begin("for _ in range(50_000):\n  with lock: count[0] += 1")
        one.end()
        two.end()
        assert count[0] == 100_000


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_process_that_holds_it_may_release_it(kind: Kind, tmp_path: Path) -> None:
    path = str(tmp_path / "job.lock")
    lock = kind(path)
    with Peer() as peer:
        peer(f"lock = emmap.{kind.__name__}({path!r}); lock.acquire()")
        for wrong in (lock.release, lock.mark_consistent):
            with pytest.raises(RuntimeError):
                wrong()
        assert lock.locked()
        peer("lock.release()")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_is_handed_to_children(kind: Kind, method: str, tmp_path: Path) -> None:
    for lock in (kind(emmap.anonymous(64, shared=True), offset=32), kind(tmp_path / "job.lock")):
        lock.acquire()
        context = get_context(method)
        reader, writer = context.Pipe()
        process = context.Process(target=say_what_is_seen, args=(lock, writer))  # type: ignore[attr-defined]
        process.start()
        assert reader.recv() == (True, False)
        lock.release()
        assert reader.recv() is True
        process.join()


def say_what_is_seen(lock: Any, writer: Any) -> None:
    writer.send((lock.locked(), lock.acquire(blocking=False)))
    writer.send(lock.acquire(timeout=60))
    lock.release()


def test_it_pickles_by_reference(tmp_path: Path) -> None:
    m = emmap.open(tmp_path / "shared", "x+", size=4096)
    lock = emmap.Lock(m, offset=160, on_owner_death=print)
    again: emmap.Lock = pickle.loads(pickle.dumps(lock))
    assert again.offset == 160
    assert again.mapping.name == m.name
    with again:
        assert lock.locked()
    with emmap.RLock(m, offset=1024) as _, pytest.raises(emmap.CorruptFileError):
        emmap.Lock(m, offset=1024)


def test_another_pid_namespace_does_not_matter(tmp_path: Path) -> None:
    path = str(tmp_path / "job.lock")
    script = f"""
        import emmap, os, sys
        lock = emmap.Lock({path!r})
        lock.acquire()
        print(os.getpid(), flush=True)
        sys.stdin.read()
    """
    start = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*start, "true"], capture_output=True, check=False).returncode:
        start = ["unshare", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [*start, sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"1":
        process.communicate()
        pytest.skip("pid namespace: no right to make one")
    lock = emmap.Lock(path)
    assert lock.acquire(timeout=0.2) is False
    process.kill()
    process.communicate()
    with pytest.warns(emmap.OwnerDiedWarning):
        assert lock.acquire(timeout=5)


# Deaths


@pytest.fixture
def dead(tmp_path: Path) -> str:
    """The path of a Lock whose owner has died."""
    path = str(tmp_path / "job.lock")
    with Peer() as peer:
        peer(f"emmap.Lock({path!r}).acquire()")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_who_repairs_is_called_with_the_lock_held(kind: Kind, tmp_path: Path) -> None:
    path = str(tmp_path / "job.lock")
    with Peer() as peer:
        peer(f"emmap.{kind.__name__}({path!r}).acquire()")
    seen = []

    def repair(lock: Any) -> None:
        seen.append(
            (lock.locked(), lock.owner_died, in_thread(lambda: lock.acquire(blocking=False)))
        )

    lock = kind(path, on_owner_death=repair)
    with lock:
        assert seen == [(True, True, False)]
        assert not lock.owner_died
    with lock:
        assert len(seen) == 1


def test_a_repair_that_fails_leaves_the_lock_free_and_the_next_one_tries(dead: str) -> None:
    def fail(lock: emmap.Lock) -> None:
        raise KeyError("cannot repair")

    lock = emmap.Lock(dead, on_owner_death=fail)
    for _ in range(2):
        with pytest.raises(KeyError):
            lock.acquire()
        assert not lock.locked()
        assert lock.owner_died
    with emmap.Lock(dead, on_owner_death=lambda lock: None) as _:
        assert not lock.owner_died


def test_a_warning_that_is_an_error_leaves_the_lock_free(dead: str) -> None:
    lock = emmap.Lock(dead)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(emmap.OwnerDiedWarning):
            lock.acquire()
    assert not lock.locked()
    assert lock.owner_died
    assert lock.acquire()


def test_the_warning_points_to_the_caller(dead: str) -> None:
    with pytest.warns(emmap.OwnerDiedWarning) as warned:
        emmap.Lock(dead).acquire()
    assert warned[0].filename == __file__


def test_waiters_of_a_dead_owner_all_get_their_turn(tmp_path: Path) -> None:
    path = str(tmp_path / "job.lock")
    peers = [Peer() for _ in range(4)]
    try:
        for peer in peers:
            peer(f"import warnings; lock = emmap.Lock({path!r})")
        peers[0]("lock.acquire()")
        work = """
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                with lock:
                    told = len(warned)
        """
        for peer in peers[1:]:
            peer.begin(textwrap.dedent(work))
        peers[0].kill()
        for peer in peers[1:]:
            peer.end()
        assert sum(peer("told") for peer in peers[1:]) == 1
    finally:
        for peer in peers:
            if peer.process.returncode is None:
                peer.kill()


def test_who_sleeps_has_said_so(tmp_path: Path) -> None:
    path = tmp_path / "job.lock"
    lock = emmap.Lock(path)
    lock.acquire()
    with Peer() as peer:
        peer.begin(f"emmap.Lock({str(path)!r}).acquire()")
        deadline = time.monotonic() + 60
        while not path.read_bytes()[8] & 1:
            assert time.monotonic() < deadline
        lock.release()
        assert peer.end() is True


# Signals, and Python that runs in the middle


def test_ctrl_c_interrupts_a_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "job.lock")
    script = f"""
        import emmap, sys
        lock = emmap.Lock({path!r})
        try:
            print(flush=True)
            lock.acquire()
        except KeyboardInterrupt:
            print("interrupted", lock.locked())
    """
    with emmap.Lock(path):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        wait_until_asleep(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10)[0] == "interrupted True\n"


def wait_until_asleep(pid: int) -> None:
    """Waits until a process sleeps in futex."""
    number = {"x86_64": "202", "aarch64": "98"}[os.uname().machine]
    while not Path(f"/proc/{pid}/syscall").read_text().startswith(number):
        time.sleep(0.001)


def test_a_handler_runs_in_a_wait_and_the_wait_goes_on() -> None:
    lock = ours("Lock")
    lock.acquire()
    before = signal.signal(signal.SIGALRM, lambda *_: lock.release())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert lock.acquire(timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    lock.release()


def test_the_gil_is_free_in_a_wait() -> None:
    lock = ours("Lock")
    lock.acquire()
    threading.Timer(0.05, lock.release).start()
    assert lock.acquire(timeout=60)


# Places


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_is_a_view(kind: Kind, place: emmap.MemoryMap) -> None:
    lock = kind(place)
    with pytest.raises(emmap.InUseError):
        place.protect(emmap.Protection.READ)
    with pytest.raises(BufferError):
        place.resize(16)
    place.close()
    with lock:
        assert lock.locked()
    del place
    gc.collect()
    with lock:
        assert lock.locked()


@pytest.mark.parametrize(
    ("offset", "error"),
    [(-16, ValueError), (8, ValueError), (1, ValueError), (64, ValueError), (56, ValueError),
     (1 << 62, ValueError), (1 << 64, OverflowError), ("16", TypeError), (1.5, TypeError),
     (None, TypeError)],
)  # fmt: skip
def test_a_bad_offset_is_refused(
    place: emmap.MemoryMap, offset: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        emmap.Lock(place, offset=offset)
    assert place[:] == bytes(64)
    place.resize(128)  # it left no hold


def test_bad_places_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(64))
    wrong: list[tuple[Any, type[Exception]]] = [
        (emmap.open(path), emmap.ProtectionError),
        (emmap.open(path, "c"), ValueError),
        (emmap.anonymous(64), ValueError),
        (emmap.anonymous(0, shared=True), ValueError),
        (tmp_path / "no" / "folder", FileNotFoundError),
        (tmp_path, IsADirectoryError),
        (3, TypeError),
        (None, TypeError),
        (b"", FileNotFoundError),
    ]
    for place, error in wrong:
        with pytest.raises(error):
            emmap.Lock(place)
    closed = emmap.open(path, "r+")
    closed.close()
    with pytest.raises(emmap.ClosedError):
        emmap.Lock(closed)
    with pytest.raises(ValueError, match="named by its path"):
        emmap.Lock(path, offset=16)
    with pytest.raises(TypeError):
        emmap.Lock(path, on_owner_death=3)  # type: ignore[arg-type]
    assert path.read_bytes() == bytes(64)


@pytest.mark.parametrize(
    "content",
    [b"notes", b"some text that is longer than a lock", bytes(8) + b"12345678", b"\xff" * 16,
     bytes(range(16))],
)  # fmt: skip
def test_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(emmap.CorruptFileError, match=re.escape(str(path))):
        emmap.Lock(path)
    assert path.read_bytes() == content


def test_a_lock_file_is_as_private_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        emmap.Lock(tmp_path / "job.lock")
    finally:
        os.umask(before)
    assert (tmp_path / "job.lock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "job.lock").stat().st_size == emmap.Lock.SIZE


def test_a_window_of_a_file_has_the_same_locks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = emmap.open(path, "x+", size=20_000)
    part = emmap.open(path, "r+", offset=10_008, length=1000)
    with emmap.Lock(part, offset=8) as _:
        assert emmap.Lock(whole, offset=10_016).locked()
    with pytest.raises(ValueError, match="multiple of 16"):
        emmap.Lock(part, offset=16)


def test_an_index_that_closes_the_mapping(place: emmap.MemoryMap) -> None:
    class Closing:
        def __index__(self) -> int:
            place.close()
            return 0

    with pytest.raises(emmap.ClosedError):
        emmap.Lock(place, offset=Closing())  # type: ignore[arg-type]


def test_its_text_says_where_and_who(tmp_path: Path) -> None:
    lock = emmap.Lock(tmp_path / "job.lock")
    assert repr(lock) == f"<emmap.Lock at offset 0 of {str(tmp_path / 'job.lock')!r}: free>"
    with lock:
        assert repr(lock).endswith(": held by this process>")


def test_cycles_through_the_repair_are_collected(place: emmap.MemoryMap) -> None:
    class Owner:
        def __init__(self) -> None:
            self.lock = emmap.Lock(place, on_owner_death=self.repair)

        def repair(self, lock: emmap.Lock) -> None:
            pass

    import weakref

    owner = Owner()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    place.resize(128)
