"""`Atomic`: no change is lost, whoever makes it, and nothing but an int64 gets in."""

import itertools
import pickle
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer

LEAST, MOST = -(2**63), 2**63 - 1


@pytest.fixture
def place() -> emmap.MemoryMap:
    return emmap.anonymous(64, shared=True)


@pytest.fixture
def number(place: emmap.MemoryMap) -> emmap.Atomic:
    return emmap.Atomic(place)


def in_threads(work: Callable[[], Any], n: int) -> list[Any]:
    """What the function returns in each of `n` threads."""
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(work())) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_each_method(number: emmap.Atomic) -> None:
    assert number.load() == 0
    number.store(-5)
    assert number.load() == -5
    assert number.exchange(7) == -5
    assert number.add(3) == 10
    assert number.add(-20) == -10
    assert number.compare_exchange(10, 1) is False
    assert number.load() == -10
    assert number.compare_exchange(-10, 1) is True
    assert number.load() == 1


def test_its_bytes_are_the_number(place: emmap.MemoryMap) -> None:
    before, number, behind = (emmap.Atomic(place, offset=offset) for offset in (16, 24, 32))
    struct.pack_into("=q", place, 24, -3)
    assert number.load() == -3
    number.store(LEAST)
    assert struct.unpack_from("=q", place, 24) == (LEAST,)
    assert before.load() == behind.load() == 0


def test_processes_add_exactly(tmp_path: Path) -> None:
    path = str(tmp_path / "count")
    number = emmap.Atomic(path)
    peers = [Peer() for _ in range(3)]
    try:
        for peer in peers:
            peer(f"number = emmap.Atomic({path!r})")
        for peer in peers:
            peer.begin("for i in range(20_000): number.add(i)")
        for i in range(20_000):
            number.add(-i)
        for peer in peers:
            peer.end()
        assert number.load() == 2 * sum(range(20_000))
    finally:
        for peer in peers:
            peer.kill()


# Lets two processes begin at the same time.
MEET = "ready.add(1)\nwhile ready.load() < 2: pass\n"


def meet(peer: Peer, place: Path, code: str) -> tuple[emmap.Atomic, dict[str, Any]]:
    """Runs the same code in a peer and here at once: the number that it works on, and our names."""
    m = emmap.open(place, "w+", size=64)
    peer(f"m = emmap.open({str(place)!r}, 'r+')")
    peer("number, ready = emmap.Atomic(m), emmap.Atomic(m, offset=32); sign = -1")
    names = {"number": emmap.Atomic(m), "ready": emmap.Atomic(m, offset=32), "sign": 1}
    peer.begin(MEET + code)
    exec(MEET + code, names)
    peer.end()
    return emmap.Atomic(m), names


def test_processes_compare_and_exchange_exactly(tmp_path: Path) -> None:
    code = """
done = 0
while done < 100_000:
    value = number.load()
    done += number.compare_exchange(value, value + 2)
"""
    with Peer() as peer:
        number, _ = meet(peer, tmp_path / "count", code)
        assert number.load() == 400_000


def test_exchanges_hand_on_what_they_find(tmp_path: Path) -> None:
    code = "found = [number.exchange(sign * i) for i in range(1, 100_001)]"
    with Peer() as peer:
        number, names = meet(peer, tmp_path / "count", code)
        seen = [*names["found"], *peer("found"), number.load()]
        assert sorted(seen) == list(range(-100_000, 100_001))


def test_each_sum_is_told_to_one_thread(number: emmap.Atomic) -> None:
    sums = in_threads(lambda: [number.add(1) for _ in range(5_000)], 4)
    assert sorted(itertools.chain(*sums)) == list(range(1, 20_001))


# Numbers


@pytest.mark.parametrize(
    ("start", "n"), [(MOST, 1), (LEAST, -1), (1, MOST), (-2, LEAST), (MOST, MOST), (LEAST, LEAST)]
)
def test_a_sum_beyond_64_bits_changes_nothing(number: emmap.Atomic, start: int, n: int) -> None:
    number.store(start)
    with pytest.raises(OverflowError):
        number.add(n)
    assert number.load() == start


def test_the_ends_can_be_reached(number: emmap.Atomic) -> None:
    assert number.add(MOST) == MOST
    assert number.exchange(-1) == MOST
    assert number.add(LEAST + 1) == LEAST
    assert number.compare_exchange(LEAST, MOST)
    assert number.load() == MOST


@pytest.mark.parametrize("bad", [MOST + 1, LEAST - 1, 10**30, 1.0, float("nan"), "1", b"1", None])
def test_what_is_no_int64_is_refused(number: emmap.Atomic, bad: Any) -> None:
    number.store(5)
    kind = OverflowError if isinstance(bad, int) else TypeError
    for call in (
        lambda: number.store(bad),
        lambda: number.exchange(bad),
        lambda: number.add(bad),
        lambda: number.compare_exchange(bad, 1),
        lambda: number.compare_exchange(5, bad),
    ):
        with pytest.raises(kind):
            call()
    assert number.load() == 5


class Index:
    def __init__(self, value: int, work: Callable[[], Any] = lambda: None) -> None:
        self.value, self.work = value, work

    def __index__(self) -> int:
        self.work()
        return self.value


def test_what_says_that_it_is_an_int_is_one(number: emmap.Atomic) -> None:
    number.store(Index(5))
    assert number.add(Index(2)) == 7
    assert number.add(True) == 8  # noqa: FBT003
    assert number.compare_exchange(Index(8), Index(-2))
    assert number.load() == -2


def test_an_index_that_closes_the_mapping(place: emmap.MemoryMap, number: emmap.Atomic) -> None:
    assert number.add(Index(3, place.close)) == 3
    assert number.load() == 3


def test_an_index_that_changes_the_number(number: emmap.Atomic) -> None:
    assert number.add(Index(3, lambda: number.store(10))) == 13


def test_an_index_that_raises(number: emmap.Atomic) -> None:
    number.store(5)
    with pytest.raises(ZeroDivisionError):
        number.add(Index(3, lambda: 1 / 0))
    assert number.load() == 5


# Places


def test_a_lock_is_no_number(place: emmap.MemoryMap) -> None:
    kinds = [emmap.Lock, emmap.RLock]
    for kind in kinds:
        lock = kind(place, offset=32)
        before = bytes(place)
        with pytest.raises(emmap.CorruptFileError, match="a lock lies here"):
            emmap.Atomic(place, offset=32)
        assert bytes(place) == before
        del lock
        place[32:64] = bytes(32)


@pytest.mark.parametrize("content", [b"\xff" * 8, b"\xe1\xff\0\0\0\0\0\0", b"12345678"])
def test_all_other_bytes_are_numbers(place: emmap.MemoryMap, content: bytes) -> None:
    place[8:16] = content
    assert emmap.Atomic(place, offset=8).load() == struct.unpack("=q", content)[0]


@pytest.mark.parametrize("offset", [-8, 1, 4, 57, 64, 2**62, -(2**63)])
def test_a_bad_offset_is_refused(place: emmap.MemoryMap, offset: int) -> None:
    with pytest.raises(ValueError, match=r"Atomic takes 8 bytes|multiple of 8"):
        emmap.Atomic(place, offset=offset)


def test_private_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="memory that others share"):
        emmap.Atomic(emmap.anonymous(64))


def test_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "count"
    emmap.Atomic(path).store(258)
    assert path.read_bytes() == struct.pack("=q", 258)
    assert emmap.Atomic(path).add(1) == 259


def test_it_is_a_view(place: emmap.MemoryMap) -> None:
    number = emmap.Atomic(place)
    with pytest.raises(BufferError):
        place.resize(4)
    with pytest.raises(BufferError):
        place.protect(emmap.Protection.READ)
    place.close()
    assert number.add(1) == 1


def test_it_pickles_by_reference(tmp_path: Path) -> None:
    number = emmap.Atomic(tmp_path / "count")
    again = pickle.loads(pickle.dumps(number))
    number.store(5)
    assert again.add(1) == number.load() == 6
    with emmap.open(tmp_path / "big", "w+", size=64) as m:
        other = pickle.loads(pickle.dumps(emmap.Atomic(m, offset=24)))
        other.store(-1)
        assert m[24:32] == b"\xff" * 8


def test_its_text_says_where_and_what(place: emmap.MemoryMap, tmp_path: Path) -> None:
    number = emmap.Atomic(place, offset=8)
    number.store(-7)
    assert repr(number) == "<emmap.Atomic at offset 8 of shared memory: -7>"
    path = tmp_path / "count"
    assert repr(emmap.Atomic(path)) == f"<emmap.Atomic at offset 0 of {str(path)!r}: 0>"


def test_a_lost_page_raises_wherever_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "count"
    number = emmap.Atomic(path)
    path.write_bytes(b"")
    for call in (
        number.load,
        lambda: number.store(1),
        lambda: number.exchange(1),
        lambda: number.add(1),
        lambda: number.add(MOST),
        lambda: number.compare_exchange(0, 1),
    ):
        with pytest.raises(emmap.PageLostError):
            call()
    assert repr(number).endswith(": lost>")
