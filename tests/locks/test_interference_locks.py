"""What comes in between, or makes half an object: each of these once crashed, robbed or stuck."""

import os
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import emmap
from locks.company import Interrupted, Worker, until
from mapping.peer import Peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.kill()


def run(script: str) -> str:
    """What a process of its own says, which may crash."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done
    return done.stdout


# Half an object


@pytest.mark.parametrize("bases", [1, 2])
def test_what_locks_have_in_common_is_no_lock(bases: int) -> None:
    script = f"""
        import emmap
        kind = emmap.Lock.__mro__[{bases}]
        for make in (kind, lambda: kind.__new__(kind), type("Sub", (kind,), {{}})):
            try:
                lock = make()
            except TypeError:
                print("refused")
            else:
                print(lock, lock.locked())
    """
    assert run(script) == "refused\n" * 3


def test_a_read_of_no_lock() -> None:
    script = """
        import emmap
        lock = emmap.RWLock(emmap.anonymous(4096, shared=True))
        for kind in (type(lock.read()), type(lock.write())):
            for use in (lambda it: it.__enter__(), lambda it: it.__exit__(None, None, None)):
                try:
                    use(kind())
                except AttributeError:
                    print("refused")
    """
    assert run(script) == "refused\n" * 4


# A fork in the middle


# A handler forks in the middle of a wait, and the child leaves that by an exception.
FORKING = """
        import emmap, os, signal, sys, threading, time
        parent, forked = os.getpid(), threading.Event()
        place = emmap.anonymous(4096, shared=True)

        def handle(*_):
            child = os.fork()
            if child == 0:
                sys.exit()
            os.waitpid(child, 0)
            forked.set()

        def fork_in(wait, is_waiting):
            def send():
                while not is_waiting():
                    time.sleep(0.001)
                os.kill(parent, signal.SIGUSR1)
            signal.signal(signal.SIGUSR1, handle)
            threading.Thread(target=send).start()
            try:
                return wait()
            finally:
                if os.getpid() != parent:
                    os._exit(0)
"""


@pytest.mark.parametrize("ending", ["return", "raise SystemExit"])
def test_a_child_of_the_action_does_not_end_it(ending: str) -> None:
    script = f"""
        import emmap, os, threading
        parent, seen = os.getpid(), []
        def act():
            child = os.fork()
            if child == 0:
                {ending}
            os.waitpid(child, 0)
            seen.append(barrier.n_waiting)
        barrier = emmap.Barrier(emmap.anonymous(4096, shared=True), 2, act, 30)
        other = threading.Thread(target=barrier.wait)
        other.start()
        while barrier.n_waiting == 0:
            pass
        try:
            answer = barrier.wait()
        except (threading.BrokenBarrierError, SystemExit):
            answer = None
        if os.getpid() != parent:
            os._exit(0)
        other.join()
        print(answer, seen, barrier.broken)
    """
    assert run(script) == "1 [2] False\n"


def test_a_child_that_leaves_a_barrier_does_not_take_its_parent_away() -> None:
    script = """
        seen = []
        barrier = emmap.Barrier(place, 2, timeout=30)
        def come():
            forked.wait()
            seen.append(barrier.n_waiting)
            seen.append(barrier.wait())
        other = threading.Thread(target=come)
        other.start()
        answer = fork_in(barrier.wait, lambda: barrier.n_waiting == 1)
        other.join()
        print(answer, seen)
    """
    assert run(FORKING + script) == "0 [1, 1]\n"


def test_a_child_that_leaves_a_condition_leaves_its_parent_waiting() -> None:
    script = """
        condition = emmap.Condition(place)
        def wait():
            with condition:
                return condition.wait(0.5)
        print(fork_in(wait, lambda: "1 waiting" in repr(condition)))
    """
    assert run(FORKING + script) == "False\n"


def test_a_child_of_a_repair_does_not_release_its_parents_lock() -> None:
    script = """
        import emmap, os
        place = emmap.anonymous(32, shared=True)
        def in_child(work):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                return
            work()
            os._exit(0)
        def fail():
            raise ValueError
        in_child(emmap.RLock(place).acquire)
        parent = os.getpid()
        lock = emmap.RLock(place, on_owner_death=lambda lock: in_child(fail))
        try:
            lock.acquire()
        finally:
            if os.getpid() != parent:
                os._exit(0)
        lock.release()
        print(lock.locked())
    """
    assert run(script) == "False\n"


# Whom nobody could ask


def test_no_lock_lies_on_a_device(tmp_path: Path) -> None:
    """Another node of it has other byte locks, by which the holder would look dead."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 16))
    made = subprocess.run(["losetup", "-f", "--show", disk], capture_output=True, text=True)
    if made.returncode:
        pytest.skip("no loop device here")
    device = made.stdout.strip()
    try:
        with pytest.raises(OSError, match="not on a device"), emmap.open(device, "r+") as mapping:
            emmap.Lock(mapping)
        assert stat.S_ISBLK(os.stat(device).st_mode)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_another_lock_of_the_file_heals_a_closed_descriptor(path: Path, peer: Peer) -> None:
    """As the message says. The first lock lives on, as the globals of a daemon do."""
    path.write_bytes(b"")
    lock = emmap.Lock(path)
    lock.acquire()
    peer(f"first = emmap.Lock({str(path)!r}); os.closerange(3, 200)")
    with pytest.raises(OSError, match="closed by somebody"):
        peer("first.acquire(timeout=0.1)")
    assert peer(f"again = emmap.Lock({str(path)!r}); again.acquire(blocking=False)") is None
    assert peer("again.acquire(blocking=False), first.acquire(blocking=False)") == (False, False)
    lock.release()
    assert peer("first.acquire(timeout=5)")


def test_whether_an_owner_died_is_not_known_of_a_lost_page(path: Path) -> None:
    path.write_bytes(b"")
    lock = emmap.Lock(path)
    os.truncate(path, 0)
    with pytest.raises(emmap.PageLostError):
        _ = lock.owner_died


# Signals


def test_a_signal_does_not_keep_a_permit_from_being_given_back(path: Path, peer: Peer) -> None:
    """Another process is in the middle of a step; a handler raises while we wait for that."""
    path.write_bytes(b"")
    pool = emmap.Semaphore(path, 2)
    peer(f"pool = emmap.Semaphore({str(path)!r}, 2); pool.acquire()")
    (owner,) = struct.unpack_from("=Q", path.read_bytes(), 64)
    pool.acquire()

    def inner(word: int) -> None:
        with path.open("r+b") as file:
            file.seek(8)
            file.write(struct.pack("=Q", word))

    def let_go() -> None:
        until(lambda: struct.unpack_from("=Q", path.read_bytes(), 8)[0] == owner | 1)
        os.kill(os.getpid(), signal.SIGUSR1)
        handled.wait(0.2)
        inner(0)

    def handle(*_: object) -> None:
        handled.set()
        raise Interrupted

    handled = threading.Event()
    inner(owner)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        helper = Worker(let_go)
        with pytest.raises(Interrupted):  # in the release, or right after it
            release_and_wait(pool, helper)
    finally:
        signal.signal(signal.SIGUSR1, before)
    helper.end()
    assert pool.value == 1


def release_and_wait(pool: emmap.Semaphore, helper: Worker) -> None:
    pool.release()
    helper.end()
