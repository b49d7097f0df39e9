"""Range locks when processes die, fork, or get signals."""

import os
import random
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap import RangeLock
from locks.ranges import free, in_child, status_of, until, wait_for_kernel
from mapping.growth_lock import waits
from mapping.peer import Peer

END = 1 << 62

# From CPython 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


# Death


@pytest.mark.parametrize("timeout", [-1, 100])
@pytest.mark.parametrize("shared", [False, True])
def test_a_killed_holder(path: Path, *, shared: bool, timeout: float) -> None:
    lock = RangeLock(path)
    with Peer() as peer:
        peer(f"lock = emmap.RangeLock({str(path)!r}, 5, 1, shared={shared}); lock.acquire()")
        assert not lock.acquire(blocking=False)
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=timeout)))
        thread.start()
        if timeout == -1:
            wait_for_kernel(thread)
        peer.kill()
        thread.join()
    assert got == [True]


def test_a_stopped_holder_keeps_it(path: Path) -> None:
    lock = RangeLock(path)
    with Peer() as peer:
        peer(f"lock = emmap.RangeLock({str(path)!r}); lock.acquire()")
        os.kill(peer.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, peer.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not lock.acquire(timeout=0.2)
        os.kill(peer.process.pid, signal.SIGCONT)
        peer("lock.release()")
        assert free(lock)


STORM = """
import mmap, random

def storm(path, me, rounds):
    writer, reader = emmap.RangeLock(path, 0, 8), emmap.RangeLock(path, 7, 1, shared=True)
    with open(path, "r+b") as file:
        witness = mmap.mmap(file.fileno(), 0)
    violations = 0
    for _ in range(rounds):
        shared = random.random() < 0.3
        lock = reader if shared else writer
        if lock.acquire(timeout=random.choice([-1, 0.001, 100])):
            if not shared:
                witness[0] = me
            seen = witness[0]
            for _ in range(random.randrange(300)):
                violations += witness[0] != seen
            lock.release()
    return violations
"""


def test_storm(path: Path) -> None:
    """Whoever writes is alone, though processes are killed with the lock in their hands."""
    lock = RangeLock(path, 0, 8)
    steady, victims = [Peer() for _ in range(3)], [Peer() for _ in range(6)]
    for me, peer in enumerate([*victims, *steady], 1):
        peer(STORM)
        peer.begin(f"storm({str(path)!r}, {me}, {500 if peer in steady else 10**9})")
    for peer in victims:
        for _ in range(random.randrange(20)):
            assert lock.acquire(timeout=60)
            lock.release()
        peer.kill()
    assert [peer.end() for peer in steady] == [0] * 3
    for peer in steady:
        peer.kill()
    assert free(lock)


# Fork


def test_a_child_holds_nothing(path: Path) -> None:
    lock = RangeLock(path)

    def child() -> bool:
        if lock.acquire(blocking=False) or not lock.locked():
            return False
        try:
            lock.release()
        except RuntimeError:
            return not RangeLock(path).acquire(blocking=False)
        return False

    with lock:
        assert in_child(child) == 0
        assert not free(RangeLock(path))
    assert free(RangeLock(path))


def test_a_child_uses_it_as_its_own(path: Path) -> None:
    lock, memory = RangeLock(path), RangeLock(emmap.anonymous(10, shared=True))
    for each in (lock, memory):
        with each:
            pid = os.fork()
            if pid == 0:
                os._exit(0 if each.acquire() and not each.acquire(blocking=False) else 1)
            until(lambda: waits(pid))  # noqa: B023
        assert status_of(pid) == 0
        assert free(each)


def test_a_child_excludes_its_parent(path: Path) -> None:
    """They share the object, and not the lock."""
    lock = RangeLock(path)
    tell_parent, tell_child = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        lock.acquire()
        os.write(tell_parent[1], b"x")
        os.read(tell_child[0], 1)
        os._exit(0)
    os.read(tell_parent[0], 1)
    assert not free(lock)
    os.write(tell_child[1], b"x")
    os.waitpid(pid, 0)
    assert free(lock)
    for fd in (*tell_parent, *tell_child):
        os.close(fd)


def test_a_child_does_not_hide_its_parents_death(path: Path) -> None:
    lock = RangeLock(path)
    with Peer() as peer:
        peer(f"lock = emmap.RangeLock({str(path)!r}); lock.acquire()")
        peer(
            "import signal\n"
            "def start():\n"
            "    pid = os.fork()\n"
            "    while pid == 0: signal.pause()\n"
            "    return pid\n"
        )
        child = peer("start()")
        try:
            assert not free(lock)
            peer.kill()
            assert lock.acquire(timeout=60)
            os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)


def test_children_forked_while_locks_are_made(path: Path) -> None:
    """None of them keeps a description that a thread was about to make known."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            lock = RangeLock(path, shared=True)
            assert lock.acquire()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        children.append(pid)
    stop.set()
    for thread in threads:
        thread.join()
    alone = RangeLock(path).acquire(timeout=20)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert alone


def test_a_child_forked_while_a_thread_waits(path: Path) -> None:
    """The thread is not there in the child, nor what it has taken of the object."""
    lock, other = RangeLock(path), RangeLock(path)
    lock.acquire()
    thread = threading.Thread(target=other.acquire)
    thread.start()
    wait_for_kernel(thread)
    tell_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(tell_child[0], 1)
        os._exit(0 if other.acquire(timeout=60) else 1)
    lock.release()
    thread.join()
    other.release()
    os.write(tell_child[1], b"x")
    assert status_of(pid) == 0
    for fd in tell_child:
        os.close(fd)


@pytest.mark.parametrize("where", ["gate", "kernel"])
def test_a_handler_that_forks_while_it_waits(path: Path, where: str, alarm: Any) -> None:
    """The child goes on waiting, at a gate and a description of its own."""
    other = RangeLock(path)
    lock = other if where == "gate" else RangeLock(path)
    other.acquire()
    here = os.getpid()
    children: list[int] = []

    def fork() -> None:
        if os.getpid() == here and not children:
            pid = os.fork()
            if pid == 0:
                # Timers are not inherited. In the child nobody is at the gate.
                return
            children.append(pid)
            other.release()

    alarm(fork)
    status = 2
    try:
        assert lock.acquire()
        if os.getpid() != here:
            status = 0
    finally:
        if os.getpid() != here:
            os._exit(status)
    lock.release()
    assert status_of(children[0]) == 0


def test_started_processes_do_not_inherit(path: Path) -> None:
    lock = RangeLock(path)
    lock.acquire()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        del lock
        assert free(RangeLock(path))


# Signals


class Interruption(Exception):
    pass


@pytest.mark.parametrize("timeout", [-1, 1000, threading.TIMEOUT_MAX])
@pytest.mark.parametrize("where", ["gate", "kernel"])
def test_a_signal_ends_a_wait(path: Path, where: str, timeout: float, alarm: Any) -> None:
    other = RangeLock(path)
    lock = other if where == "gate" else RangeLock(path)
    other.acquire()
    signals: list[int] = []

    def third_raises() -> None:  # the first two do not end it
        signals.append(1)
        if len(signals) == 3:
            raise Interruption

    alarm(third_raises)
    with pytest.raises(Interruption):
        lock.acquire(timeout=timeout)
    signal.setitimer(signal.ITIMER_REAL, 0)
    other.release()
    assert free(lock)
    assert free(RangeLock(path))


def test_control_c(path: Path) -> None:
    with RangeLock(path), Peer() as peer:
        peer.begin(
            f"try: emmap.RangeLock({str(path)!r}).acquire()\n"
            "except KeyboardInterrupt: raise RuntimeError('interrupted') from None"
        )
        until(lambda: waits(peer.process.pid))
        os.kill(peer.process.pid, signal.SIGINT)
        with pytest.raises(RuntimeError, match="interrupted"):
            peer.end()


def test_signals_do_not_lengthen_a_timeout(path: Path, alarm: Any) -> None:
    with RangeLock(path):
        alarm(lambda: None)
        assert not RangeLock(path).acquire(timeout=0.1)


def test_a_handler_may_release(path: Path, alarm: Any) -> None:
    lock = RangeLock(path)
    lock.acquire()

    def release() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        lock.release()

    alarm(release)
    assert lock.acquire()
    assert lock.locked()
