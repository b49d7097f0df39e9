"""The lock word in every order of steps, with holders who are killed at any of them.

There are never two holders, and no living one is robbed; nobody is stuck; each death is told once;
and who finds half-written data has been told. Then each part of the protocol is broken, and the
model must fail: so each part is needed.
"""

from collections.abc import Callable

import pytest

from model.explore import Memory, Steps, Thread, Violation, explore
from model.lockword import DIED, A, B, C, acquire, life, mark_consistent, release, tell, watch


def run(
    threads: list[Thread],
    owners: list[int],
    mortals: str = "",
    *,
    slices: bool = True,
    word: int = 0,
) -> int:
    """Explores. Thread i acquires as owners[i]; those of `mortals` are killed at any point."""
    memory: Memory = {"word": word, "data": None, "untold": frozenset()}
    memory |= {life(owner): True for owner in owners}
    lives = {int(i): life(owners[int(i)]) for i in mortals}
    return explore(threads, memory, mortals=lives, slices=slices, watch=watch(*owners))


def participant(
    me: int,
    *,
    turns: int = 1,
    after: int = 0,
    patient: bool = True,
    repairs: bool = True,
    broken: str = "",
) -> Thread:
    """Half-writes the data, completes it, and releases. `after`: once that one is dead."""
    mark = object()

    def thread() -> Steps:
        if after:
            yield "wait", life(after), False
        for _ in range(turns):
            yield ("here",)
            result = yield from acquire(me, patient=patient, broken=broken)
            yield tell(me, result)
            if result is None:
                return
            if (yield "load", "data") and not result:
                raise Violation("he found half-written data, and was told nothing")
            yield "store", "data", mark
            if (yield "load", "data") is not mark:
                raise Violation("he was not alone")
            if not result:
                yield "store", "data", None
            elif repairs:
                yield "store", "data", None
                yield from mark_consistent(broken=broken)
            del result
            yield from release(me, broken=broken)

    return thread


def killed_inside(me: int) -> Thread:
    def thread() -> Steps:
        yield from acquire(me)
        yield "store", "data", "half-written"
        yield "die", life(me)

    return thread


def reborn(me: int) -> Thread:
    """Takes the id of a dead process, and then the lock."""
    acquires = participant(me)

    def thread() -> Steps:
        yield "wait", life(me), False
        yield "call", lambda memory: {life(me): True}
        yield from acquires()

    return thread


TWIN = A + (1 << 32)  # differs from A only in the half that the futex does not compare


@pytest.mark.parametrize(
    ("owners", "turns", "patient"),
    [
        ([A, B], 2, True),
        ([A, B], 2, False),
        ([A, B, C], 1, False),
        ([A, TWIN, C], 1, True),
        ([A, A, B], 1, True),  # two threads of one process
    ],
)
def test_no_wake_up_is_lost_while_nobody_dies(
    *, owners: list[int], turns: int, patient: bool
) -> None:
    threads = [participant(owner, turns=turns, patient=patient) for owner in owners]
    assert run(threads, owners, slices=False) > 1_000


@pytest.mark.parametrize("repairs", [True, False])
def test_two_mortals(*, repairs: bool) -> None:
    threads = [participant(owner, turns=2, repairs=repairs) for owner in (A, B)]
    assert run(threads, [A, B], "01") > 5_000


def test_three_mortals() -> None:
    assert run([participant(owner) for owner in (A, B, C)], [A, B, C], "012") > 50_000


@pytest.mark.slow
def test_three_mortals_of_whom_one_comes_again_and_one_may_go_away() -> None:
    threads = [participant(A, turns=2), participant(B, repairs=False)]
    threads.append(participant(C, patient=False))
    assert run(threads, [A, B, C], "012") > 200_000


def test_without_slices_a_death_loses_a_wake_up() -> None:
    with pytest.raises(Violation, match="all wait"):
        run([participant(A), participant(B)], [A, B], "0", slices=False)


def test_an_id_is_never_used_again() -> None:
    assert run([killed_inside(A), participant(B), participant(C, after=A)], [A, B, C]) > 1_000
    with pytest.raises(Violation, match="robbed"):
        run([killed_inside(A), participant(B), reborn(A)], [A, B, A])
    with pytest.raises(Violation, match="no way leads to the end"):
        run([killed_inside(A), reborn(A)], [A, A])


def two_who_live(broken: str) -> None:
    run([participant(owner, broken=broken) for owner in (A, B)], [A, B], slices=False)


def three_who_live(broken: str) -> None:
    run([participant(owner, broken=broken) for owner in (A, B, C)], [A, B, C], slices=False)


def one_killed_inside(broken: str) -> None:
    threads = [killed_inside(A), participant(B, broken=broken), participant(C, broken=broken)]
    run(threads, [A, B, C])


def one_killed_inside_and_no_slices(broken: str) -> None:
    threads = [killed_inside(A), participant(B, after=A, broken=broken)]
    run([*threads, participant(C, broken=broken)], [A, B, C], slices=False)


def one_killed_inside_and_no_repairs(broken: str) -> None:
    comes_again = participant(B, turns=3, repairs=False, broken=broken)
    run([killed_inside(A), comes_again], [A, B])


def one_killed_inside_and_a_mortal(broken: str) -> None:
    threads = [killed_inside(A), participant(B, broken=broken), participant(C, broken=broken)]
    run(threads, [A, B, C], "1")


def two_who_find_a_death(broken: str) -> None:
    threads = [participant(owner, broken=broken) for owner in (A, B)]
    run(threads, [A, B], slices=False, word=DIED)


PARTS = [
    ("he acquires by CAS", two_who_live, "robbed"),
    ("he asks", two_who_live, "robbed"),
    ("he announces that he sleeps", two_who_live, "all wait"),
    ("he sleeps only if nothing has changed", two_who_live, "all wait"),
    ("he releases by CAS", two_who_live, "all wait"),
    ("he wakes", two_who_live, "all wait"),
    ("he wakes after he has released", two_who_live, "all wait"),
    ("who has slept remembers the other sleepers", three_who_live, "all wait"),
    ("he takes over by CAS", one_killed_inside, "robbed"),
    ("he takes over from exactly the word he asked about", one_killed_inside, "robbed"),
    ("who takes over remembers the sleepers", one_killed_inside_and_no_slices, "all wait"),
    ("one CAS takes over and tells", one_killed_inside_and_a_mortal, "nobody will be told"),
    ("DIED stays when it is acquired", one_killed_inside_and_no_repairs, "was told nothing"),
    ("DIED stays when it is released", one_killed_inside_and_no_repairs, "was told nothing"),
    ("he marks by CAS", two_who_find_a_death, "all wait"),
]
WHOLE = "nothing is broken"


@pytest.mark.parametrize("explores", dict.fromkeys(explores for _, explores, _ in PARTS))
def test_the_whole_holds_where_the_parts_are_broken(explores: Callable[[str], None]) -> None:
    explores(WHOLE)


@pytest.mark.parametrize(("part", "explores", "fault"), PARTS)
def test_every_part_is_needed(part: str, explores: Callable[[str], None], fault: str) -> None:
    with pytest.raises(Violation, match=fault):
        explores(part)
