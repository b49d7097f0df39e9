"""`RWLock`: nobody beside a writer, writers are not starved, and what becomes of the dead."""

import gc
import os
import pickle
import re
import signal
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer

WORD, CELLS = 8, 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rw.lock"


@pytest.fixture
def peer(path: Path) -> Iterator[Peer]:
    """Another process, which has the same lock as `RWLock(path)`."""
    with Peer() as peer:
        peer(f"lock = emmap.RWLock({str(path)!r})")
        yield peer


@pytest.fixture
def lock() -> emmap.RWLock:
    return emmap.RWLock(emmap.anonymous(4096, shared=True))


def number(path: Path, offset: int) -> int:
    found: int = struct.unpack_from("<Q", path.read_bytes(), offset)[0]
    return found


def until(condition: Callable[[], object]) -> None:
    """Waits for something that happens soon, elsewhere."""
    for _ in range(10_000):
        if condition():
            return
        time.sleep(0.001)
    raise TimeoutError(f"{condition} has not come true")


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begins it in another thread; what it returned or raised, when that is called."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def answer() -> Any:
        thread.join(60)
        return answers[0]

    return answer


# One process


def test_readers_share_and_a_writer_has_it_alone(lock: emmap.RWLock) -> None:
    assert not lock.locked()
    assert [lock.acquire_read() for _ in range(3)] == [True] * 3
    assert (lock.readers, lock.write_locked, lock.locked()) == (3, False, True)
    assert lock.acquire_write(blocking=False) is False
    assert lock.acquire_write(timeout=0.01) is False
    assert lock.acquire_read(blocking=False)  # the writer who gave up keeps nobody out
    for _ in range(4):
        assert lock.acquire_write(timeout=0) is False
        lock.release_read()
    assert lock.acquire_write() is True
    assert (lock.readers, lock.write_locked, lock.locked()) == (0, True, True)
    for acquire in (lock.acquire_read, lock.acquire_write):
        assert acquire(blocking=False) is False
        assert acquire(timeout=0.01) is False
        assert acquire(timeout=0) is False
    lock.release_write()
    assert not lock.locked()
    assert lock.acquire_read(blocking=False)


def test_blocks_release_also_where_they_raise(lock: emmap.RWLock) -> None:
    with lock.read() as entered, lock.read():
        assert entered is True
        assert lock.readers == 2
    with lock.write() as entered:
        assert entered is True
        assert lock.write_locked
    reading, writing = lock.read(), lock.write()
    for block in (reading, writing):
        for _ in range(2):
            with pytest.raises(KeyError), block:
                raise KeyError
    with reading, reading:
        assert lock.readers == 2
    assert not lock.locked()


def test_what_is_not_held_cannot_be_released(lock: emmap.RWLock) -> None:
    for _ in range(2):
        for release in (lock.release_read, lock.release_write, lock.mark_consistent):
            with pytest.raises(RuntimeError):
                release()
        with lock.read():
            for release in (lock.release_write, lock.mark_consistent):
                with pytest.raises(RuntimeError):
                    release()
        with lock.write(), pytest.raises(RuntimeError):
            lock.release_read()
    assert not lock.locked()


def test_a_thread_that_waits_to_write_does_not_write(lock: emmap.RWLock) -> None:
    """Its process has the lock word: nobody may release that, nor take it for its own."""
    lock.acquire_read()
    answer = in_thread(lambda: lock.acquire_write(timeout=60))
    until(lambda: lock.write_locked)
    for misuse in (lock.release_write, lock.mark_consistent):
        with pytest.raises(RuntimeError):
            misuse()
    lock.release_read()
    assert answer() is True
    assert lock.acquire_read(blocking=False) is False
    lock.release_write()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((False, 1), ValueError), ((True, -2), ValueError), ((True, 1e10), OverflowError),
     ((True, float("nan")), ValueError), ((1, "x"), TypeError), ((True, None), TypeError),
     ((True, 1, 1), TypeError)],
)  # fmt: skip
def test_bad_arguments_change_nothing(
    lock: emmap.RWLock, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    for acquire in (lock.acquire_read, lock.acquire_write):
        with pytest.raises(error):
            acquire(*arguments)
    assert lock.acquire_write(blocking=False)


def test_the_place_is_looked_at() -> None:
    m = emmap.anonymous(8192, shared=True)
    for offset in (8, 4112, -16, 1 << 70):
        with pytest.raises((ValueError, OverflowError)):
            emmap.RWLock(m, offset=offset)
    emmap.Semaphore(m)
    with pytest.raises(emmap.CorruptFileError, match="something else than a RWLock"):
        emmap.RWLock(m)
    with pytest.raises(TypeError):
        emmap.RWLock(m, on_owner_death=3, offset=4096)  # type: ignore[arg-type]
    assert emmap.RWLock(m, offset=4096).SIZE == 4096


def test_a_writer_who_waits_goes_before_readers_who_come_later(lock: emmap.RWLock) -> None:
    lock.acquire_read()
    order: list[str] = []

    def write() -> None:
        with lock.write():
            order.append("write")

    def read() -> None:
        with lock.read():
            order.append("read")

    writer = in_thread(write)
    until(lambda: lock.write_locked)
    assert lock.acquire_read(blocking=False) is False
    readers = [in_thread(read) for _ in range(3)]
    assert order == []
    lock.release_read()
    for answer in (writer, *readers):
        assert answer() is None
    assert order == ["write", "read", "read", "read"]


def test_a_writer_who_gives_up_lets_the_readers_in(lock: emmap.RWLock) -> None:
    lock.acquire_read()
    writer = in_thread(lambda: lock.acquire_write(timeout=0.3))
    until(lambda: lock.write_locked)
    readers = [in_thread(lock.acquire_read) for _ in range(3)]
    assert writer() is False
    assert [answer() for answer in readers] == [True] * 3
    assert lock.readers == 4


def test_threads_read_and_write_at_once(lock: emmap.RWLock) -> None:
    data = [0, 0]

    def write() -> None:
        for _ in range(300):
            with lock.write():
                data[0] += 1
                data[1] += 1

    def read() -> bool:
        for _ in range(600):
            with lock.read():
                if data[0] != data[1]:
                    return False
        return True

    answers = [in_thread(work) for work in (write, write, read, read, read)]
    assert [answer() for answer in answers] == [None, None, True, True, True]
    assert data == [600, 600]
    assert not lock.locked()


# Between processes


def test_processes_exclude_one_another(path: Path, peer: Peer) -> None:
    lock = emmap.RWLock(path)
    with lock.read():
        assert peer("lock.acquire_read()") is True
        assert lock.readers == 2
        assert peer("lock.acquire_write(timeout=0.05)") is False
    assert lock.acquire_write(timeout=0.05) is False
    with pytest.raises(RuntimeError, match="does not hold"):
        lock.release_read()
    peer("lock.release_read()")
    with lock.write():
        assert peer("lock.acquire_read(timeout=0.05)") is False
        assert peer("lock.acquire_write(blocking=False)") is False
        assert peer("lock.write_locked") is True
        with pytest.raises(RuntimeError, match="another process"):
            peer("lock.release_write()")
    assert peer("lock.acquire_write(timeout=5)") is True


def test_dead_readers_do_not_keep_a_writer_out(path: Path, peer: Peer) -> None:
    lock = emmap.RWLock(path)
    peer("[lock.acquire_read() for _ in range(3)]")
    assert lock.acquire_write(timeout=0.1) is False
    answer = in_thread(lock.acquire_write)
    until(lambda: lock.write_locked)
    peer.kill()
    assert answer() is True
    assert not lock.owner_died  # who only reads leaves nothing half-written
    lock.release_write()
    with Peer() as another:
        another(f"lock = emmap.RWLock({str(path)!r}); lock.acquire_read()")
    assert lock.acquire_write(blocking=False)


def test_stopped_holders_are_not_robbed(path: Path, peer: Peer) -> None:
    lock = emmap.RWLock(path)
    for what in ("read", "write"):
        peer(f"lock.acquire_{what}()")
        os.kill(peer.process.pid, signal.SIGSTOP)
        assert lock.acquire_write(timeout=0.2) is False
        assert lock.acquire_read(timeout=0.2) is (what == "read")
        os.kill(peer.process.pid, signal.SIGCONT)
        peer(f"lock.release_{what}()")
        if what == "read":
            lock.release_read()
    assert lock.acquire_write(timeout=5)


@pytest.mark.parametrize("what", ["read", "write"])
def test_the_death_of_a_writer_is_told_once(path: Path, peer: Peer, what: str) -> None:
    lock = emmap.RWLock(path)
    acquire, release = getattr(lock, f"acquire_{what}"), getattr(lock, f"release_{what}")
    peer("lock.acquire_write()")
    assert acquire(timeout=0.1) is False
    assert not lock.owner_died
    peer.kill()
    assert lock.owner_died
    assert not lock.locked()
    with pytest.warns(emmap.OwnerDiedWarning, match=re.escape(str(path))) as warned:
        assert acquire(blocking=False)
    assert len(warned) == 1
    release()
    for _ in range(2):  # no further warning, which would be an error here
        with lock.read():
            assert lock.owner_died
            with pytest.raises(RuntimeError, match="to write first"):
                lock.mark_consistent()
    with lock.write():
        assert lock.owner_died
        lock.mark_consistent()
        assert not lock.owner_died
    assert number(path, WORD) == 0


@pytest.mark.parametrize("what", ["read", "write"])
def test_all_who_wait_for_a_dead_writer_come_in(path: Path, peer: Peer, what: str) -> None:
    lock = emmap.RWLock(path)
    peer("lock.acquire_write()")

    def work() -> None:
        with getattr(lock, what)():
            pass

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answers = [in_thread(work) for _ in range(4)]
        until(lambda: number(path, WORD) & 1)
        peer.kill()
        assert [answer() for answer in answers] == [None] * 4
    assert [warning.category for warning in warned] == [emmap.OwnerDiedWarning]


@pytest.mark.parametrize("what", ["read", "write"])
def test_where_the_warning_is_an_error_the_lock_is_free_again(
    path: Path, peer: Peer, what: str
) -> None:
    lock = emmap.RWLock(path)
    peer("lock.acquire_write()")
    peer.kill()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(emmap.OwnerDiedWarning):
            getattr(lock, f"acquire_{what}")()
    assert not lock.locked()
    assert lock.owner_died
    assert lock.acquire_write(blocking=False)


def test_who_may_not_write_after_all_leaves_the_telling_to_the_next(path: Path) -> None:
    """The writer took over from a dead one, and then its time was up, for there was a reader."""
    lock = emmap.RWLock(path)
    with Peer() as reader, Peer() as writer:
        for peer in (reader, writer):
            peer(f"lock = emmap.RWLock({str(path)!r})")
        reader("lock.acquire_read()")
        writer.begin("lock.acquire_write()")
        until(lambda: lock.write_locked)
        writer.kill()
        assert lock.acquire_write(timeout=0.2) is False
        assert lock.acquire_write(blocking=False) is False
        with pytest.warns(emmap.OwnerDiedWarning):
            assert lock.acquire_read(timeout=5)
        lock.release_read()
        reader("lock.release_read()")
    assert lock.acquire_write(blocking=False)
    assert lock.owner_died


@pytest.mark.parametrize("what", ["read", "write"])
def test_on_owner_death_repairs_as_a_writer(path: Path, peer: Peer, what: str) -> None:
    seen: list[tuple[bool, int]] = []

    def repair(lock: emmap.RWLock) -> None:
        seen.append((lock.write_locked, lock.readers))
        if len(seen) == 1:
            raise KeyError

    lock = emmap.RWLock(path, on_owner_death=repair)
    peer("lock.acquire_write()")
    peer.kill()
    acquire = getattr(lock, f"acquire_{what}")
    with pytest.raises(KeyError):
        acquire()
    assert not lock.locked()
    assert lock.owner_died
    assert acquire(timeout=5)
    assert seen == [(True, 0)] * 2
    assert not lock.owner_died
    getattr(lock, f"release_{what}")()
    assert acquire(blocking=False)
    assert len(seen) == 2


def test_a_reader_who_cannot_repair_in_time_gives_up(path: Path) -> None:
    lock = emmap.RWLock(path, on_owner_death=lambda _: None)
    with Peer() as reader, Peer() as writer:
        for peer in (reader, writer):
            peer(f"lock = emmap.RWLock({str(path)!r})")
        reader("lock.acquire_read()")
        writer.begin("lock.acquire_write()")
        until(lambda: lock.write_locked)
        writer.kill()
        assert lock.acquire_read(blocking=False) is False
        assert lock.acquire_read(timeout=0.1) is False
        reader("lock.release_read()")
        assert lock.acquire_read(timeout=5) is True
        assert not lock.owner_died


def test_a_cell_of_the_dead_is_claimed_with_a_count_of_its_own(path: Path, peer: Peer) -> None:
    lock = emmap.RWLock(path)
    peer("[lock.acquire_read() for _ in range(5)]")
    dead = number(path, CELLS)
    peer.kill()
    with lock.read():
        assert number(path, CELLS) not in (0, dead)
        assert lock.readers == 1
    assert lock.acquire_write(blocking=False)


def test_the_child_of_a_fork_holds_nothing(path: Path) -> None:
    lock = emmap.RWLock(path)
    lock.acquire_read()
    child = os.fork()
    if child == 0:
        said = 0
        try:
            lock.release_read()
        except RuntimeError:
            said += 1
        said += 2 * lock.acquire_read() + 4 * (lock.readers == 2)
        os._exit(said)
    assert os.waitpid(child, 0)[1] >> 8 == 7
    assert lock.readers == 1
    lock.release_read()
    assert lock.acquire_write(timeout=5)


def test_a_child_of_fork_does_not_mask_the_death_of_its_parent(path: Path, peer: Peer) -> None:
    lock = emmap.RWLock(path)
    child = peer(
        "lock.acquire_read() and os.fork()"
        " or exec('import time; os.closerange(0, 3); time.sleep(1000)')"
    )
    try:
        peer.kill()
        assert lock.acquire_write(timeout=5)
    finally:
        os.kill(child, signal.SIGKILL)


def test_an_object_that_has_gone_still_holds(path: Path, peer: Peer) -> None:
    emmap.RWLock(path).acquire_read()
    gc.collect()
    assert peer("lock.acquire_write(timeout=0.1)") is False
    emmap.RWLock(path).release_read()
    assert peer("lock.acquire_write(timeout=5)") is True


def read_and_write(lock: emmap.RWLock, m: emmap.MemoryMap, turns: int) -> None:
    for turn in range(turns):
        if turn % 4:
            with lock.read():
                first, second = struct.unpack_from("<QQ", m, 4096)
                assert first == second
        else:
            with lock.write():
                first, second = struct.unpack_from("<QQ", m, 4096)
                struct.pack_into("<Q", m, 4096, first + 1)
                struct.pack_into("<Q", m, 4104, second + 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_and_write_at_once(path: Path, method: str) -> None:
    m = emmap.open(path, "x+", size=8192)
    lock = emmap.RWLock(m)
    context = get_context(method)
    children = [
        context.Process(target=read_and_write, args=(lock, m, 4000))  # type: ignore[attr-defined]
        for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert struct.unpack_from("<QQ", m, 4096) == (3000, 3000)
    assert not lock.locked()


def test_it_pickles_by_reference(path: Path) -> None:
    lock = emmap.RWLock(path)
    again = pickle.loads(pickle.dumps(lock))
    with lock.write():
        assert again.write_locked
        assert repr(again) == f"<emmap.RWLock at offset 0 of '{path}': written>"
    with again.read():
        assert repr(lock) == f"<emmap.RWLock at offset 0 of '{path}': 1 readers>"


# Interruptions


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_signal_interrupts_a_wait(path: Path, peer: Peer, what: str) -> None:
    lock = emmap.RWLock(path)
    lock.acquire_write()
    peer("import signal; signal.signal(signal.SIGINT, signal.default_int_handler)")
    peer.begin(f"try: lock.acquire_{what}()\nexcept KeyboardInterrupt: answer = 'interrupted'")
    until(lambda: number(path, WORD) & 1)
    os.kill(peer.process.pid, signal.SIGINT)
    peer.end()
    assert peer("answer") == "interrupted"
    lock.release_write()
    assert lock.acquire_write(blocking=False)


def test_a_signal_interrupts_a_writer_who_waits_for_readers(path: Path, peer: Peer) -> None:
    lock = emmap.RWLock(path)
    lock.acquire_read()
    peer("import signal; signal.signal(signal.SIGINT, signal.default_int_handler)")
    peer.begin("try: lock.acquire_write()\nexcept KeyboardInterrupt: answer = 'interrupted'")
    until(lambda: lock.write_locked)
    os.kill(peer.process.pid, signal.SIGINT)
    peer.end()
    assert peer("answer") == "interrupted"
    assert lock.acquire_read(blocking=False)
    assert not lock.owner_died


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_lost_page_raises_and_lets_the_others_go_on(path: Path, peer: Peer, what: str) -> None:
    m = emmap.open(path, "r+", size=1 << 16)
    lock = emmap.RWLock(m)
    getattr(lock, f"acquire_{what}")()
    assert peer("lock.acquire_write(timeout=0.05)") is False
    os.truncate(path, 4096)
    with pytest.raises(emmap.PageLostError):
        m[60_000]
    for attempt in (
        lock.acquire_read,
        lock.acquire_write,
        lock.release_read,
        lock.release_write,
        lock.locked,
        lambda: lock.readers,
        lock.mark_consistent,
    ):
        with pytest.raises((emmap.PageLostError, RuntimeError)):
            attempt()
    assert "lost" in repr(lock)
    peer("import warnings; warnings.simplefilter('ignore')")
    assert peer("lock.acquire_write(timeout=5)") is True
    assert peer("lock.owner_died") is (what == "write")


def test_a_full_row_of_the_living_is_told(path: Path) -> None:
    lock = emmap.RWLock(path)
    children = []
    reader, writer = os.pipe()
    try:
        for _ in range(252):
            child = os.fork()
            if child == 0:
                try:
                    lock.acquire_read()
                    os.write(writer, b"x")
                    signal.pause()
                finally:
                    os._exit(1)
            children.append(child)
            assert os.read(reader, 1) == b"x"
        with pytest.raises(OSError, match="252 processes"):
            lock.acquire_read()
        assert lock.acquire_write(blocking=False) is False
        assert lock.readers == 252
        for child in children[100:]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        del children[100:]
        assert lock.acquire_read()
        assert lock.readers == 101
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
