"""`Semaphore`: what those of `threading` do, and that the permits of the dead come back."""

import gc
import os
import pickle
import re
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer


def ours(value: int = 1, maximum: int | None = None) -> emmap.Semaphore:
    return emmap.Semaphore(emmap.anonymous(4096, shared=True), value, maximum=maximum)


def ours_bounded(value: int = 1) -> emmap.Semaphore:
    return ours(value, value)


@pytest.fixture(params=[(threading.Semaphore, threading.BoundedSemaphore), (ours, ours_bounded)])
def kinds(request: pytest.FixtureRequest) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Those of the standard library, or ours: without and with a maximum."""
    both: tuple[Callable[..., Any], Callable[..., Any]] = request.param
    return both


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool"


@pytest.fixture
def peer(path: Path) -> Iterator[Peer]:
    """Another process, which has the same semaphore of three permits as `pool_at(path)`."""
    with Peer() as peer:
        peer(f"pool = emmap.Semaphore({str(path)!r}, 3)")
        yield peer


def pool_at(path: Path) -> emmap.Semaphore:
    return emmap.Semaphore(path, 3)


def take_all(pool: Any) -> int:
    n = 0
    while pool.acquire(blocking=False):
        n += 1
    return n


# As those of threading


def test_so_many_can_be_had(kinds: tuple[Any, Any]) -> None:
    for kind in kinds:
        assert take_all(kind(0)) == 0
        for n in (1, 5):
            pool = kind(n)
            assert take_all(pool) == n
            assert pool.acquire(timeout=0.01) is False
            assert pool.acquire(timeout=0) is False
            assert pool.acquire(timeout=-1) is False
            pool.release()
            assert pool.acquire() is True
            pool.release(n)
            assert take_all(pool) == n
        assert take_all(kind()) == 1


def test_more_may_be_released_than_was_acquired(kinds: tuple[Any, Any]) -> None:
    pool = kinds[0](2)
    pool.release()
    pool.release(3)
    assert take_all(pool) == 6


def test_a_bounded_one_has_a_maximum(kinds: tuple[Any, Any]) -> None:
    pool = kinds[1](2)
    with pytest.raises(ValueError, match="Semaphore released too many times"):
        pool.release()
    pool.acquire()
    with pytest.raises(ValueError, match="Semaphore released too many times"):
        pool.release(2)
    assert take_all(pool) == 1
    pool.release(2)
    assert take_all(pool) == 2


def test_a_block_holds_a_permit_also_where_it_raises(kinds: tuple[Any, Any]) -> None:
    for kind in kinds:
        pool = kind(1)
        with pool as entered:
            assert entered is True
            assert pool.acquire(blocking=False) is False
        with pytest.raises(KeyError), pool:
            raise KeyError
        assert take_all(pool) == 1


def test_misuse_is_refused_alike(kinds: tuple[Any, Any]) -> None:
    for kind in kinds:
        with pytest.raises(ValueError, match="initial value must be >= 0"):
            kind(-1)
        pool = kind(1)
        for n in (0, -1, -(1 << 40)):
            with pytest.raises(ValueError, match="n must be one or more"):
                pool.release(n)
        for timeout in (1, 0, -1):
            with pytest.raises(ValueError, match="can't specify timeout"):
                pool.acquire(blocking=False, timeout=timeout)
        with pytest.raises(TypeError):
            pool.release("x")
        assert take_all(pool) == 1
        with pytest.raises(TypeError):
            pool.acquire(timeout="x")
        with pytest.raises(OverflowError):
            pool.acquire(timeout=1e30)


def test_threads_wait_for_one_another(kinds: tuple[Any, Any]) -> None:
    for kind in kinds:
        pool = kind(3)
        inside, most = 0, 0
        guard = threading.Lock()

        def work(pool: Any = pool, guard: threading.Lock = guard) -> None:
            nonlocal inside, most
            for _ in range(100):
                with pool:
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    with guard:
                        inside -= 1

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert inside == 0
        assert most <= 3
        assert take_all(pool) == 3


def test_a_release_wakes_as_many_as_it_releases(kinds: tuple[Any, Any]) -> None:
    pool = kinds[0](0)
    threads = [threading.Thread(target=pool.acquire) for _ in range(5)]
    for thread in threads:
        thread.start()
    pool.release(2)
    pool.release(3)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert take_all(pool) == 0


# Numbers


@pytest.mark.parametrize(
    ("value", "maximum", "error"),
    [(-1, None, ValueError), (3, 2, ValueError), (0, -1, ValueError),
     (1 << 31, None, OverflowError), (1 << 70, None, OverflowError), (0, 1 << 31, OverflowError),
     (1.5, None, TypeError), ("1", None, TypeError), (1, 1.5, TypeError), (None, None, TypeError)],
)  # fmt: skip
def test_bad_numbers_are_refused_and_change_nothing(
    value: Any, maximum: Any, error: type[Exception]
) -> None:
    m = emmap.anonymous(4096, shared=True)
    with pytest.raises(error):
        emmap.Semaphore(m, value, maximum=maximum)
    assert m[:] == bytes(4096)


def test_the_largest_numbers() -> None:
    most = (1 << 31) - 1
    pool = ours(most, most)
    assert pool.value == most
    with pytest.raises(ValueError, match="too many"):
        pool.release()
    assert pool.acquire()
    pool.release()
    pool = ours(most - 1)
    pool.release()
    for n in (1, most, 1 << 62):
        with pytest.raises(OverflowError):
            pool.release(n)
    assert pool.value == most
    assert ours(0, 0).maximum == 0


def test_whoever_makes_it_first_says_how_many() -> None:
    m = emmap.anonymous(8192, shared=True)
    first = emmap.Semaphore(m, 2, maximum=4)
    first.acquire()
    assert emmap.Semaphore(m, 3).value == 1
    assert emmap.Semaphore(m, 3, maximum=4).maximum == 4
    with pytest.raises(ValueError, match="its maximum is 4, not 5"):
        emmap.Semaphore(m, maximum=5)
    emmap.Semaphore(m, offset=4096)
    with pytest.raises(ValueError, match="its maximum is None, not 5"):
        emmap.Semaphore(m, maximum=5, offset=4096)
    assert first.value == 1


def test_the_place_is_looked_at() -> None:
    m = emmap.anonymous(8192, shared=True)
    for offset in (8, 4112, -16, 1 << 70):
        with pytest.raises((ValueError, OverflowError)):
            emmap.Semaphore(m, offset=offset)
    emmap.Lock(m)
    with pytest.raises(emmap.CorruptFileError, match="something else than a Semaphore"):
        emmap.Semaphore(m)
    assert emmap.Semaphore(m, offset=16 * 16 * 16).SIZE == 4096


# Between processes


def test_processes_share_the_permits(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    pool.acquire()
    assert peer("pool.value") == 2
    assert peer("[pool.acquire(blocking=False) for _ in range(3)]") == [True, True, False]
    assert pool.acquire(timeout=0.05) is False
    peer("pool.release()")
    assert pool.acquire()
    assert repr(pool) == f"<emmap.Semaphore at offset 0 of '{path}': 0 free>"


def test_the_permits_of_the_dead_come_back(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    peer("pool.acquire(), pool.acquire()")
    pool.acquire()
    assert pool.acquire(blocking=False) is False
    peer.kill()
    assert pool.value == 2
    assert take_all(pool) == 2
    assert pool.acquire(timeout=0.1) is False
    pool.release(3)
    assert pool.value == 3


def test_who_waits_gets_the_permit_of_who_is_killed(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    peer("[pool.acquire() for _ in range(3)]")
    got: list[bool] = []
    waiters = [threading.Thread(target=lambda: got.append(pool.acquire())) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    while pool.acquire(timeout=0.02):
        pytest.fail("a living holder was robbed")
    peer.kill()
    for waiter in waiters:
        waiter.join(60)
    assert got == [True] * 3
    assert pool.value == 0


def test_a_stopped_holder_is_not_robbed(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    peer("[pool.acquire() for _ in range(3)]")
    os.kill(peer.process.pid, signal.SIGSTOP)
    assert pool.acquire(timeout=0.3) is False
    assert pool.value == 0
    os.kill(peer.process.pid, signal.SIGCONT)
    peer("pool.release()")
    assert pool.acquire(timeout=5)


def test_a_process_that_dies_and_comes_again_does_not_lose_permits(path: Path) -> None:
    pool = pool_at(path)
    for n in range(10):
        with Peer() as peer:
            peer(f"pool = emmap.Semaphore({str(path)!r})")
            peer(f"[pool.acquire() for _ in range({n % 4})]")
    assert take_all(pool) == 3
    # Their cells were taken again, so the row has not grown.
    assert struct.unpack_from("<I", path.read_bytes(), 60)[0] <= 3


def test_what_another_released_comes_back_but_not_above_the_maximum(path: Path) -> None:
    pool = emmap.Semaphore(path, 1, maximum=1)
    for _ in range(3):
        with Peer() as peer:
            peer(f"pool = emmap.Semaphore({str(path)!r}); pool.acquire()")
            pool.release()
            assert pool.value == 1
        assert pool.value == 1
        assert take_all(pool) == 1
        pool.release()


def test_without_a_maximum_what_another_released_comes_back_too(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    peer("pool.acquire()")
    pool.release()
    assert pool.value == 3
    peer.kill()
    assert pool.value == 4


def test_who_is_killed_at_the_inner_lock_hinders_nobody(path: Path, peer: Peer) -> None:
    """As if he had been killed between his two stores of a release."""
    pool = pool_at(path)
    peer("pool.acquire()")
    cell = struct.unpack_from("<Q", path.read_bytes(), 64)[0]
    with path.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("<Q", cell))
    with pytest.raises(TimeoutError):
        wait_in_thread(lambda: pool.release())
    peer.kill()
    assert pool.value in (3, 4)
    assert pool.acquire(timeout=5)
    assert struct.unpack_from("<Q", path.read_bytes(), 8)[0] == 0


def wait_in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.2)
    if thread.is_alive():
        raise TimeoutError


def test_a_full_row_of_the_living_is_told(path: Path) -> None:
    pool = emmap.Semaphore(path, 1000)
    children = []
    reader, writer = os.pipe()
    try:
        for _ in range(252):
            child = os.fork()
            if child == 0:
                try:
                    pool.acquire()
                    os.write(writer, b"x")
                    signal.pause()
                finally:
                    os._exit(1)
            children.append(child)
            assert os.read(reader, 1) == b"x"
        with pytest.raises(OSError, match="252 processes"):
            pool.acquire()
        pool.release()  # takes no cell
        assert pool.value == 1000 - 252 + 1
        dead = children.pop(100)
        os.kill(dead, signal.SIGKILL)
        os.waitpid(dead, 0)
        assert pool.acquire()
        assert pool.value == 1000 - 252 + 1
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


def test_the_child_of_a_fork_holds_nothing(path: Path) -> None:
    pool = pool_at(path)
    pool.acquire()
    child = os.fork()
    if child == 0:
        os._exit(take_all(pool))
    assert os.waitpid(child, 0)[1] >> 8 == 2
    assert pool.value == 2


def test_a_semaphore_object_that_has_gone_still_holds(path: Path, peer: Peer) -> None:
    pool_at(path).acquire()
    gc.collect()
    assert peer("pool.value") == 2
    pool_at(path).release()
    assert peer("pool.value") == 3


def add_under_semaphore(pool: emmap.Semaphore, m: emmap.MemoryMap, turns: int) -> None:
    for _ in range(turns):
        with pool:
            (count,) = struct.unpack_from("<Q", m, 4096)
            struct.pack_into("<Q", m, 4096, count + 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_count(path: Path, method: str) -> None:
    m = emmap.open(path, "x+", size=8192)
    pool = emmap.Semaphore(m, 1)
    context = get_context(method)
    children = [
        context.Process(target=add_under_semaphore, args=(pool, m, 3000))  # type: ignore[attr-defined]
        for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert struct.unpack_from("<Q", m, 4096)[0] == 9000
    assert pool.value == 1


def test_it_pickles_by_reference(path: Path) -> None:
    pool = emmap.Semaphore(path, 2, maximum=5)
    pool.acquire()
    again = pickle.loads(pickle.dumps(pool))
    assert (again.value, again.maximum) == (1, 5)
    again.release()
    assert pool.value == 2


# Interruptions


def test_a_signal_interrupts_a_wait(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    assert take_all(pool) == 3
    peer("import signal; signal.signal(signal.SIGINT, signal.default_int_handler)")
    peer.begin("try: pool.acquire()\nexcept KeyboardInterrupt: answer = 'interrupted'")
    # It has said that it sleeps.
    while not struct.unpack_from("<I", path.read_bytes(), 32)[0] & 1:
        pass
    os.kill(peer.process.pid, signal.SIGINT)
    peer.end()
    assert peer("answer") == "interrupted"
    pool.release()
    assert peer("pool.acquire(timeout=5)") is True
    assert pool.value == 0


def test_a_lost_page_raises_and_lets_the_others_go_on(path: Path, peer: Peer) -> None:
    m = emmap.open(path, "r+", size=1 << 16)
    pool = emmap.Semaphore(m, 3)
    assert take_all(pool) == 3
    os.truncate(path, 4096)
    with pytest.raises(emmap.PageLostError):
        m[60_000]
    for attempt in (pool.acquire, pool.release, lambda: pool.value):
        with pytest.raises(emmap.PageLostError):
            attempt()
    assert "lost" in repr(pool)
    assert peer("pool.acquire(timeout=5)") is True
    assert peer("pool.value") == 2


def test_a_removed_file_is_noticed_in_a_wait(path: Path, peer: Peer) -> None:
    pool = pool_at(path)
    peer("[pool.acquire() for _ in range(3)]")
    path.unlink()
    with pytest.raises(OSError, match=re.escape("removed or replaced")):
        pool.acquire(timeout=60)
