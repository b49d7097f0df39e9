"""The pins in every order of steps, with writers and readers who are killed at any of them.

No reader ever finds a block that was used again, nor does who opens the last flushed root; and what
no pin reaches is used again. Then each part of the protocol is broken, and the model must fail: so
each part is needed.
"""

from collections.abc import Callable

import pytest

from model.explore import Memory, Steps, Thread, Violation, explore
from model.pins import (
    Root,
    beginning,
    child,
    flusher,
    guest,
    life,
    parent,
    reader,
    watch,
    writer,
)

WHOLE = "nothing is broken"


def run(threads: list[Thread], memory: Memory, mortals: dict[int, str] | None = None) -> int:
    lives = dict.fromkeys((mortals or {}).values(), True)
    return explore(threads, memory | lives, mortals=mortals, watch=watch)


def one_reader(broken: str = WHOLE) -> int:
    return run([reader(broken=broken), writer(1, 1, 1, broken=broken)], beginning())


def a_pin_of_two_words(broken: str = WHOLE) -> int:
    looks = ("pin 0, txn", "pin 0")
    threads = [reader(broken=broken), writer(1, 1, 1, looks=looks)]
    return run(threads, beginning() | {"pin 0, txn": 0})


def a_scan_used_again(broken: str = WHOLE) -> int:
    return run([reader(), writer(1, 1, 1, scans=(0, 1), broken=broken)], beginning())


def blocks_of_any_age(broken: str = WHOLE) -> int:
    threads = [reader(), writer(1, 2, 1, 2, broken=broken)]
    return run(threads, beginning(pieces=2, blocks=12))


def two_writers_and_a_kill(broken: str = WHOLE) -> int:
    threads = [reader(broken=broken), writer(0, me="A", broken=broken)]
    threads.append(writer(0, 0, me="B", broken=broken))
    return run(threads, beginning(pieces=0), {1: life("A")})


def guests_in_one_pin(broken: str = WHOLE) -> int:
    """One gives it back, or is killed, and another claims it."""
    threads = [guest("A", broken=broken), guest("B", broken=broken)]
    threads.append(writer(0, 0, looks=("pins", "pin 0"), broken=broken))
    memory = beginning(pieces=0) | {"pin 0, owner": "", "pins": 0, life("B"): True}
    return run(threads, memory, {0: life("A")})


def two_who_claim_a_pin(broken: str = WHOLE) -> int:
    threads = [guest("A", broken=broken), guest("B", reads=False, broken=broken), writer(0, 0)]
    return run(threads, beginning(pieces=0) | {"pin 0, owner": "", "pins": 0})


def a_fork(broken: str = WHOLE) -> int:
    """The scan comes by the child's pin before it comes by the parent's."""
    threads = [parent("pin 1", "pin 0", broken), child("pin 0")]
    threads.append(writer(1, 1, looks=("pin 0", "pin 1"), broken=broken))
    memory = beginning() | {"pin 1": 0, "forked": False, "child's root": None}
    return run(threads, memory)


def a_flush(broken: str = WHOLE) -> int:
    looks = ["flushing", "flushed"]
    if broken == "he looks at the flush under way before the last":
        looks.reverse()
    memory = flushed_store()
    return run([flusher("F", broken), writer(1, 1, 1, looks=tuple(looks))], memory)


def a_flush_cut_short(broken: str = WHOLE) -> int:
    threads = [flusher("F"), flusher("G", broken)]
    threads.append(writer(0, 0, 0, looks=("flushing", "flushed")))
    return run(threads, flushed_store(pieces=0), {0: life("F")})


def flushed_store(*, pieces: int = 1) -> Memory:
    memory = beginning(pieces=pieces) | {"flushed": 1, "flushing": 0, "flush lock": ""}
    return memory | {"meta 0": memory["root"], "meta 1": None}


PARTS = [
    ("the exchange is a fence", one_reader),
    ("the lock is a fence", one_reader),
    ("he says that he begins before he looks", one_reader),
    ("what was replaced since he began is kept", one_reader),
    ("the epoch is stored after the root", one_reader),
    ("a pin is one word", a_pin_of_two_words),
    ("what was replaced since the scan is kept", a_scan_used_again),
    ("a scan tells of what was stored before it", a_scan_used_again),
    ("a root keeps what was born in it", blocks_of_any_age),
    ("a root keeps what the next one replaces", blocks_of_any_age),
    ("he says that he begins before he looks", two_writers_and_a_kill),
    ("the epoch is stored after the root", two_writers_and_a_kill),
    ("a pin is claimed by CAS", two_who_claim_a_pin),
    ("pins are counted before they are set", guests_in_one_pin),
    ("who gives a pin clears it first", two_who_claim_a_pin),
    ("who reaps leaves the word alone", guests_in_one_pin),
    ("he asks before he reaps", guests_in_one_pin),
    ("the child's pin is set before the parent's is cleared", a_fork),
    ("copies are counted", a_fork),
    ("the root under way is said", a_flush),
    ("the root under way is said while the lock is held", a_flush),
    ("the root under way is let go when it is the last", a_flush),
    ("he looks at the flush under way before the last", a_flush),
    ("he writes over the older meta", a_flush),
    ("a dead one's meta is wiped before its root may go", a_flush_cut_short),
]
SCENES = dict.fromkeys(scene for _, scene in PARTS)


@pytest.mark.parametrize("scene", SCENES)
def test_no_block_is_used_again_while_it_can_be_read(scene: Callable[[str], int]) -> None:
    assert scene(WHOLE) > 1_000


@pytest.mark.parametrize(("part", "scene"), PARTS)
def test_every_part_is_needed(part: str, scene: Callable[[str], int]) -> None:
    with pytest.raises(Violation, match=r"was used again|no meta"):
        scene(part)


@pytest.mark.slow
def test_two_readers() -> None:
    threads = [reader("pin 0"), reader("pin 1"), writer(0, 0, 0, looks=("pin 0", "pin 1"))]
    assert run(threads, beginning(pieces=0) | {"pin 1": 0}) > 400_000


@pytest.mark.long
def test_a_reader_who_comes_again_and_two_mortal_writers() -> None:
    threads = [reader(turns=2), writer(1, me="A"), writer(1, 1, me="B", scans=(1,))]
    assert run(threads, beginning(), {1: life("A"), 2: life("B")}) > 200_000


@pytest.mark.long
def test_guests_and_two_writers_of_whom_half_are_mortal() -> None:
    looks = ("pins", "pin 0")
    threads = [guest("A"), guest("B"), writer(0, 0, me="C", looks=looks)]
    threads.append(writer(0, me="D", looks=looks))
    memory = beginning(pieces=0) | {"pin 0, owner": "", "pins": 0, life("B"): True}
    assert run(threads, memory, {0: life("A"), 2: life("C")}) > 500_000


def blocks_after(transactions: int, broken: str = WHOLE, *, owner: str = "somebody") -> int:
    """How many the store has, of which three pieces are in use, while root 2 stays pinned."""
    memory = beginning(pieces=2, blocks=20)
    memory |= {"pin 0": 2, "pin 0, owner": owner, "pins": 1}
    memory |= {life("somebody"): True, life("a dead one"): False}
    found: list[Root] = []

    def last() -> Steps:
        yield "wait", "epoch", 1 + transactions
        found.append((yield "load", "root"))

    plan = [1 + n % 2 for n in range(transactions)]
    explore([writer(*plan, looks=("pins", "pin 0"), broken=broken), last], memory)
    return found[-1].frontier


def test_a_pin_keeps_only_what_its_root_reaches() -> None:
    assert blocks_after(5) == blocks_after(8)
    for broken in (
        "a root does not keep what was replaced in it",
        "a root does not keep what was born later",
    ):
        assert blocks_after(8) < blocks_after(8, broken)


def test_the_pin_of_a_dead_one_keeps_nothing() -> None:
    assert blocks_after(8, owner="a dead one") < blocks_after(8)
    assert blocks_after(8, "the dead are reaped", owner="a dead one") == blocks_after(8)
