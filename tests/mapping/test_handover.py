"""Shared memory without a name, handed to other processes: while they start, and later."""

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer
from mapping.proc import PAGE

METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


def append(memory: emmap.MemoryMap, again: emmap.MemoryMap, answers: Any) -> None:
    """Run in the child: one memory, which it was given twice."""
    memory[:5] = b"child"
    memory.grow(2 * PAGE)
    answers.put((again[:5], len(again), again.capacity, memory.mode))


def test_a_process_that_starts_gets_it(context: Any) -> None:
    answers = context.SimpleQueue()
    with emmap.anonymous(100, shared=True, reserve=1 << 30) as m:
        # The second is a mapping of its own that shows the same memory.
        twin = pickle.loads(pickle.dumps(m))
        child = context.Process(target=append, args=(m, twin, answers))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert answers.get() == (b"child", 2 * PAGE, 1 << 30, "r+")
        assert m[:5] == twin[:5] == b"child"
        assert len(m) == 2 * PAGE


def last(pieces: list[emmap.MemoryMap]) -> None:
    for number, piece in enumerate(pieces):
        piece[number] = ord("!")
        piece.close()


def test_many_references_to_one_memory(context: Any) -> None:
    """A descriptor is passed on once, however many mappings of it go along."""
    with emmap.anonymous(10, shared=True) as m:
        pieces = [emmap.open(m.fileno(), "r+", length=10) for _ in range(3)]
        same = [m, *pieces, m]
        child = context.Process(target=last, args=(same[:-1],))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert m[:5] == b"!!!!\0"


class Reference:
    """Refers to a mapping on its own, as each slice of an array does."""

    def __init__(self, m: emmap.MemoryMap) -> None:
        self.m = m

    def __reduce__(self) -> Any:
        return self.m.__reduce_ex__(2)


def test_a_descriptor_is_passed_on_once(context: Any) -> None:
    with emmap.anonymous(10, shared=True) as m:
        child = context.Process(target=last, args=([Reference(m), Reference(m), Reference(m)],))
        if context.get_start_method() == "fork":
            return  # nothing is pickled
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert m[:4] == b"!!!\0"


def read_and_close(m: emmap.MemoryMap) -> tuple[bytes, int]:
    with m:
        m[0] = m[0] + 1
        return m[:3], len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("method", METHODS)
def test_executor(method: str) -> None:
    context = multiprocessing.get_context(method)
    with (
        emmap.anonymous(10, shared=True) as m,
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        results = [pool.submit(read_and_close, m).result(60) for _ in range(20)]
        assert m[0] == 20
        assert results[-1][0] == b"\x14\0\0"
        # Nothing is left open behind it.
        assert results[1][1] == results[-1][1]


def test_a_worker_that_starts_with_it_keeps_no_descriptor() -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    m = emmap.anonymous(10, shared=True)
    child = context.Process(target=count_descriptors, args=(m, answers))
    child.start()
    before, after = answers.get()
    child.join(60)
    assert after == before - 1


def count_descriptors(m: emmap.MemoryMap, answers: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    m.close()
    answers.put((before, len(os.listdir("/proc/self/fd"))))


def make(size: int) -> emmap.MemoryMap:
    m = emmap.anonymous(size, shared=True)
    m[:4] = b"made"
    return m


def make_both(size: int) -> tuple[emmap.MemoryMap, int]:
    return make(size), len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_returns_what_it_made(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        results = [executor.submit(make_both, 5000).result(60) for _ in range(60)]
    assert all(m[:4] == b"made" and len(m) == 5000 for m, _ in results)
    assert results[-1][1] < results[0][1] + 30  # what was taken is not kept by the worker
    with context.Pool(2) as pool:
        assert [m[:4] for m in pool.map(make, range(5000, 5010))] == [b"made"] * 10


# Through plain pickle


def test_a_stranger_gets_it_while_the_owner_lives() -> None:
    with emmap.anonymous(100, shared=True) as m, Peer() as other:
        reference = pickle.dumps(m)
        assert len(reference) < 300
        other(f"import pickle; m = pickle.loads({reference!r})")
        m[0] = 7
        assert other("m[0]") == 7
        # It can pass it on, and so can whoever has it from him, also without us.
        further = other("pickle.dumps(m)")
        with pickle.loads(further) as third:
            m.close()
            assert third[0] == 7
            other.kill()
            assert pickle.loads(pickle.dumps(third))[0] == 7
        with pytest.raises(OSError, match="hold this shared memory"):
            pickle.loads(further)


def test_a_closed_one_is_gone(path: Path) -> None:
    m = emmap.anonymous(100, shared=True)
    reference, number = pickle.dumps(m), m.fileno()
    m.close()
    with pytest.raises(OSError, match="hold this shared memory"):
        pickle.loads(reference)
    # Neither is another file mistaken for it that has got its number, nor opened.
    taken = os.dup2(os.open(path, os.O_RDONLY), number)
    with pytest.raises(OSError, match="hold this shared memory"):
        pickle.loads(reference)
    os.close(taken)


def test_the_owner_was_killed() -> None:
    with Peer() as owner:
        owner("import pickle; m = emmap.anonymous(9, shared=True)")
        owner("m[:] = b'123456789'")
        reference = owner("pickle.dumps(m)")
        with pickle.loads(reference) as m:
            owner.process.send_signal(signal.SIGKILL)
            owner.process.wait()
            assert m[:] == b"123456789"
        with pytest.raises(OSError, match="hold this shared memory"):
            pickle.loads(reference)


def test_private_memory_has_nothing_to_refer_to() -> None:
    with emmap.anonymous(10) as m, pytest.raises(TypeError, match="shared=True"):
        pickle.dumps(m)


def test_a_file_that_has_lost_its_name(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        path.unlink()
        with pickle.loads(pickle.dumps(m)) as same:
            same[0] = 77
        assert m[0] == 77


def test_room_is_asked_for_again(path: Path) -> None:
    with emmap.open(path, "r+", offset=10, reserve=1 << 33) as m:
        with pickle.loads(pickle.dumps(m)) as same:
            assert (same.offset, same.capacity, len(same)) == (10, 1 << 33, len(m))
            same.grow(100_000)
        assert len(m) == 100_000
