"""The two spaces and their queues, with writers who are killed after any of their stores.

After each death all units are accounted for, and nothing that can be read was overwritten; and so
it is after the next writer's death. Then each part of the protocol is broken, and the model must
fail: so each part is needed.
"""

import random
from collections.abc import Sequence

import pytest

from model.explore import Violation
from model.space import HELD, File, check, create, run, true_space

WHOLE = "nothing is broken"
WORDS = (
    *("put a1", "put a2", "put a3", "put b1", "put b2", "put c1", "put c2"),
    *("remove a1", "remove a2", "remove b1", "remove c1", "remove c2"),
    *("make a", "make b", "make c", "save", "back"),
)
PARTS = (
    "it counts no more while it is filled",
    "all is copied where it is not the one before",
    "before the first there is none",
    "held is copied",
    "the queues are complete before the root is stored",
    "the space has its number before the root is stored",
    "what it replaces waits for the next",
    "an emptied chunk waits for the next",
    "appending goes on behind the tail",
    "the class stands in the entry",
    "for a chunk nothing is moved",
    "what was dropped is not used again after a savepoint",
    "what was dropped since is forgotten",
    "a savepoint raises the number",
)


def some_script(random: random.Random) -> list[str]:
    first = random.choices(([], ["pin"], ["unpin"], ["late"]), (5, 2, 2, 1))[0]
    return [*first, *random.choices(WORDS, k=random.randrange(1, 9)), "commit"]


def live_at_random(seed: int, transactions: int = 12, broken: str = WHOLE) -> File:
    """All kills in each transaction are looked at; the history goes on from one, or the end."""
    choice = random.Random(seed)
    file = create()
    for _ in range(transactions):
        files = run(file, some_script(choice), broken)
        for killed in dict.fromkeys(files):
            check(killed)
        file = choice.choice((files[-1], choice.choice(files)))
    return file


SCRIPTS = [
    script.split(", ")
    for script in (
        "put a1, put b1, put c1, commit",
        "put c1, put b1, put b2, commit",
        "unpin, put a1, remove c1, make a, commit",
        "pin, put a1, put b1, save, put a1, remove b1, back, put c1, commit",
    )
]


def all_kills(files: Sequence[File], deaths: int, broken: str = WHOLE) -> int:
    """Each script after each of the files, killed after each store; then the same after that."""
    killed = dict.fromkeys(
        after for file in files for script in SCRIPTS for after in run(file, script, broken)
    )
    for file in killed:
        check(file)
    return len(killed) + (all_kills(list(killed), deaths - 1, broken) if deaths > 1 else 0)


def beginnings(transactions: int) -> list[File]:
    files = [create()]
    for n in range(transactions):
        files.append(run(files[-1], SCRIPTS[n % len(SCRIPTS)])[-1])
    return files


def many_at_random(broken: str = WHOLE) -> None:
    for seed in range(120):
        live_at_random(seed, broken=broken)


def test_random_histories() -> None:
    many_at_random()


def test_two_deaths_in_a_row() -> None:
    assert all_kills([beginnings(4)[-1]], 2) > 5_000


@pytest.mark.slow
def test_many_random_histories() -> None:
    for seed in range(1_000, 1_300):
        live_at_random(seed, transactions=30)


@pytest.mark.long
def test_two_deaths_in_a_row_after_each_of_many_transactions() -> None:
    assert all_kills(beginnings(12), 2) > 50_000


@pytest.mark.long
def test_three_deaths_in_a_row() -> None:
    assert all_kills(beginnings(1), 3) > 100_000


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_needed(part: str) -> None:
    with pytest.raises(Violation):
        many_at_random(part)


def units_after(file: File, transactions: int, broken: str = WHOLE) -> tuple[int, int]:
    """How many the store has, and how many blocks are held, when no root is pinned any more."""
    for n in range(transactions):
        file = run(file, ["unpin", f"put a{1 + n % 3}", "commit"], broken)[-1]
    space = file.spaces[true_space(file)]
    return space.frontier, space.fifos[HELD].n


def test_nothing_is_lost_for_good() -> None:
    for seed in range(10):
        file = live_at_random(seed)
        units, held = units_after(file, 30)
        assert (units, 0) == units_after(file, 60)
        assert held == 0


def test_what_was_held_must_be_looked_at_again() -> None:
    file = run(beginnings(3)[-1], ["pin", "put a1", "put b1", "commit"])[-1]
    file = run(file, ["put a1", "put a2", "put b1", "commit"])[-1]
    assert units_after(file, 5)[1] == 0
    assert units_after(file, 5, "held is looked at again")[1] > 0
