"""The files of range locks, and the other locks and other files of the process."""

import errno
import fcntl
import gc
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap import RangeLock
from emmap.mapping.filesystem import NETWORK
from emmap.mapping.statfs import file_system
from locks.ranges import descriptors, free, in_child, wait_for_kernel, write_lock
from mapping.fuse import run_on_fuse
from mapping.peer import Peer

END = 1 << 62


# Ranges and files


@pytest.mark.parametrize(
    ("offset", "length", "error"),
    [
        (-1, 5, ValueError),
        (0, 0, ValueError),
        (0, -1, ValueError),
        (END, None, ValueError),
        (END, 1, ValueError),
        (0, END + 1, ValueError),
        (1, END, ValueError),
        (1 << 70, 1, ValueError),
        (0, 1 << 70, ValueError),
        (True, 5, TypeError),
        (0, True, TypeError),
        (1.5, 1, TypeError),
        (0, float("nan"), TypeError),
        ("0", 1, TypeError),
    ],
)
def test_bad_ranges(tmp_path: Path, offset: Any, length: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        RangeLock(tmp_path / "new", offset, length)
    assert list(tmp_path.iterdir()) == []


def test_largest_ranges(path: Path) -> None:
    lock = RangeLock(path, 0, END)
    assert (lock.offset, lock.length, lock.shared) == (0, END, False)
    last = RangeLock(path, END - 1)
    assert last.length == 1
    with lock:
        assert not free(last)


@pytest.mark.parametrize("make", [str, os.fsencode, Path, open])
def test_kinds_of_files(path: Path, make: Callable[[Path], Any]) -> None:
    file = make(path)
    with RangeLock(file, 5, 10) as _:
        assert not free(RangeLock(path))
    assert free(RangeLock(path))
    if not isinstance(file, (str, bytes, Path)):
        with RangeLock(file.fileno()):
            assert not free(RangeLock(path))
        file.close()


def test_mappings(path: Path) -> None:
    with emmap.open(path, "r+", offset=100) as m:
        lock = RangeLock(m, 0, 1)
    assert lock.name == str(path)
    with lock:  # the file's first byte, not the mapping's
        assert not free(RangeLock(path, 0, 1))
        assert free(RangeLock(path, 100, 1))
    with emmap.open(path) as m, pytest.raises(ValueError, match="descriptor"):
        RangeLock(m)
    with pytest.raises(ValueError, match="closed"):
        RangeLock(m)


@pytest.mark.parametrize("file", [True, None, 1.5, [], -1, 1 << 40])
def test_what_is_no_file(file: Any) -> None:
    with pytest.raises((TypeError, OSError, OverflowError)):
        RangeLock(file)


def test_closed_file(path: Path) -> None:
    with open(path) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        RangeLock(file)


def test_a_number_that_closes_the_file(path: Path) -> None:
    class Closing:
        def __index__(self) -> int:
            file.close()
            return 5

    with open(path) as file, pytest.raises(ValueError, match="closed"):
        RangeLock(file, Closing())
    with open(path) as file, pytest.raises(ValueError, match="closed"):
        RangeLock(file, 0, Closing())


def test_what_has_no_bytes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        RangeLock(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        RangeLock(tmp_path)
    with pytest.raises(FileNotFoundError):
        RangeLock("")
    with pytest.raises(ValueError, match="null"):
        RangeLock("a\0b")


def test_a_missing_file_is_created(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        lock = RangeLock(tmp_path / "new")
    finally:
        os.umask(before)
    status = os.stat(tmp_path / "new")
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o640, 0)
    with lock:
        pass
    assert os.stat(tmp_path / "new").st_size == 0
    with pytest.raises(FileNotFoundError):
        RangeLock(tmp_path / "other", shared=True)
    with pytest.raises(FileNotFoundError):
        RangeLock(tmp_path / "no" / "folder")
    assert os.listdir(tmp_path) == ["new"]


def test_relative_paths(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.parent / "deep" / "deeper").mkdir(parents=True)
    (path.parent / "link").symlink_to("deep/deeper")
    (path.parent / "deep" / "records").write_bytes(b"")
    monkeypatch.chdir(path.parent)
    here, there = RangeLock("records"), RangeLock("link/../records")
    monkeypatch.chdir("/")
    with here:
        assert free(there)
        assert not free(RangeLock(path))
    with there:
        assert not free(RangeLock(path.parent / "deep" / "records"))


def test_a_shared_lock_opens_for_reading(path: Path) -> None:
    lock = RangeLock(path, shared=True)
    (number,) = descriptors(path)
    assert fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert not os.get_inheritable(number)
    with lock:
        pass


def test_descriptors_are_closed(path: Path) -> None:
    def fail() -> None:
        with pytest.raises(OSError, match="pipe"):
            RangeLock(read)

    gc.collect()  # what other tests have left
    read, write = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    lock = RangeLock(path)
    lock.acquire()
    RangeLock(path)
    fail()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del lock
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert free(RangeLock(path))
    os.close(read)
    os.close(write)


# Other locks, and other files


def test_posix_locks_of_this_process_survive(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To close a descriptor of a file lets go of them: only a dying object closes its own."""
    with open(path, "r+b") as file, Peer() as peer:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
        peer(f"lock = emmap.RangeLock({str(path)!r}, 0, 1)")
        locks = [RangeLock(path, 1), RangeLock(file, 1), RangeLock(path, 1, shared=True)]
        for lock in locks:
            with lock:
                assert not lock.acquire(timeout=0.001)
        assert peer("lock.locked()")
        monkeypatch.setitem(NETWORK, file_system(file.fileno(), None)[1], "a test network")
        for place in (path, file):
            with pytest.raises(OSError, match="a test network"):
                RangeLock(place)
        assert peer("lock.locked()")
        del lock, locks
        assert not peer("lock.locked()")


def test_a_replaced_file(path: Path) -> None:
    with open(path) as file:
        lock, by_descriptor = RangeLock(path), RangeLock(file)
    (path.parent / "new").write_bytes(b"new")
    os.replace(path.parent / "new", path)
    for _ in range(2):
        with pytest.raises(OSError, match="replaced") as told:
            lock.acquire()
        assert told.value.filename == str(path)
    with by_descriptor:
        assert by_descriptor.locked()
        assert free(RangeLock(path))


@pytest.mark.parametrize("timeout", [-1, 100])
def test_a_file_removed_while_somebody_waits(path: Path, timeout: float) -> None:
    lock, other = RangeLock(path), RangeLock(path)
    lock.acquire()
    told: list[object] = []

    def work() -> None:
        try:
            told.append(other.acquire(timeout=timeout))
        except OSError as error:
            told.append(error.errno)

    thread = threading.Thread(target=work)
    thread.start()
    if timeout == -1:
        wait_for_kernel(thread)
    os.unlink(path)
    lock.release()
    thread.join()
    assert told == [errno.ESTALE]
    with pytest.raises(RuntimeError):
        other.release()


def test_a_descriptor_closed_behind_the_lock(path: Path, tmp_path: Path) -> None:
    lock = RangeLock(path)
    lock.acquire()
    (number,) = descriptors(path)
    opened = os.open(tmp_path / "victim", os.O_RDWR | os.O_CREAT)
    victim = os.dup2(opened, number)
    os.close(opened)
    write_lock(victim, 0, 0)
    with pytest.raises(OSError, match="closed behind"):
        lock.release()
    with pytest.raises(OSError, match="closed behind"):
        lock.acquire()
    with pytest.raises(OSError, match="closed behind"):
        lock.acquire(timeout=1)
    with pytest.raises(OSError, match="closed behind"):
        lock.locked()
    # A child has inherited the description, which the fork handler has left alone.
    assert in_child(lambda: write_lock(victim, 0, 0)) == 0
    del lock
    gc.collect()
    other = RangeLock(tmp_path / "victim")
    assert not other.acquire(blocking=False)
    os.close(victim)
    assert free(other)


def test_network_filesystems_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(path) as file:
        monkeypatch.setitem(NETWORK, file_system(file.fileno(), None)[1], "a test network")
        for place in (path, file, path.parent / "new"):
            with pytest.raises(OSError, match="cannot lie on a test network") as told:
                RangeLock(place)
            assert told.value.errno == errno.ENOTSUP
    assert os.listdir(path.parent) == ["records"]


def test_fuse(tmp_path: Path) -> None:
    script = """
import emmap
try:
    emmap.RangeLock("mapped", shared=True)
except OSError as error:
    print(error.errno, "FUSE" in str(error))
"""
    assert run_on_fuse(script, tmp_path).splitlines()[0] == "95 True"
