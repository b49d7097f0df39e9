"""The lock for readers and writers in every order of steps, with either killed at any of them.

A writer takes the lock word of lockword.py, and waits until no living process counts readers in its
cell. Nobody ever writes beside others; nobody is stuck; no reader overtakes a writer who has the
word; who finds half-written data has been told; and the death of each writer is told once, unless
the one to be told is a reader, and is killed before. Then each part of the protocol is broken, and
the model must fail: so each part is needed.
"""

from collections.abc import Callable, Sequence

import pytest

from model.explore import ALL, Memory, Step, Steps, Thread, Violation, explore
from model.lockword import (
    DIED,
    FLAGS,
    INCONSISTENT,
    OWNER_DIED,
    WAITERS,
    A,
    B,
    C,
    acquire,
    life,
    mark_consistent,
    release,
    tell,
    watch,
)

# An owner who never lived. A writer who has taken over from a dead one, but whose time is up before
# he may write, leaves the word to this one: so the next asks, takes over, and is told.
GHOST = 15 << 4


def add(name: str, n: int, *, locked: bool) -> Steps:
    if locked:
        yield "add", name, n
    else:
        yield "store", name, (yield "load", name) + n


def claim(me: int, cells: int, broken: str = "") -> Steps:
    """The cell of this process: the first that is nobody's or a dead one's. It stays ours."""
    while broken != "one thread claims at a time" and (yield "cas", "mutex", 0, 1):
        yield "wait", "mutex", 0
    for cell in range(cells):
        owner = yield "load", f"owner {cell}"
        while owner != me and not (owner and (yield "load", life(owner))):
            if (found := (yield "cas", f"owner {cell}", owner, me)) != owner:
                owner = found
                continue
            if broken != "who claims a cell clears its count":
                yield "store", f"count {cell}", 0
            owner = me
        if owner == me:
            yield "store", "mutex", 0
            return cell
    raise Violation("no cell is free")


def leave(cell: int, broken: str = "") -> Steps:
    """A reader leaves, or yields to a writer. A full fence comes before the load."""
    yield from add(f"count {cell}", -1, locked=broken != "he is counted out by a locked add")
    if (yield "load", "word") & ~FLAGS and broken != "who leaves wakes the writer":
        yield "add", "drained", 1
        yield "wake", "drained", ALL


def attempt_to_read(me: int, cell: int, *, ask: bool, broken: str = "") -> Steps:
    """As attempt in lockword.py: how it ended, None for -EAGAIN, and what was seen then."""
    told = False
    word = yield "load", "word"
    while True:
        yield ("here",)
        if word & ~FLAGS and not (ask and not (yield "load", life(word & ~FLAGS))):
            new = word | WAITERS
            found = word if new == word else (yield "cas", "word", word, new)
            if found == word:
                return None, new
            word = found
            del new, found
            continue
        if word & ~FLAGS and broken == "he is counted before he takes a death off":
            if (found := (yield "cas", "word", word, DIED)) == word:
                told, found = True, DIED
            word = found
            del found
            continue
        yield from add(f"count {cell}", +1, locked=broken != "he is counted by a locked add")
        now = word
        if broken != "he looks again when he is counted":
            now = yield "load", "word"
        if now & ~FLAGS and now == word:
            # Still the dead one's. We are counted: once he is off the word, we are in.
            now = yield "cas", "word", word, DIED
            if now == word:
                if word & WAITERS and broken != "who takes a death off wakes all":
                    yield "wake", "word", ALL
                return OWNER_DIED, None
        if not now & ~FLAGS:
            return (OWNER_DIED if told else INCONSISTENT if now & DIED else 0), None
        if broken != "who yields is not counted":
            yield from leave(cell, broken)
        word = now
        del now


def acquire_to_read(me: int, cell: int, *, patient: bool, broken: str = "") -> Steps:
    ask = True
    while True:
        yield ("here",)
        result, seen = yield from attempt_to_read(me, cell, ask=ask, broken=broken)
        if result is not None:
            return result
        if not patient and (yield "choose", False, True):
            return None
        ask = (yield "sleep", "word", seen) == "slice"
        del result, seen


def drain(cells: int, *, ask: bool, broken: str = "") -> Steps:
    """Is no living reader counted? None, else what was seen to sleep at."""
    seen = yield "load", "drained"
    for cell in range(cells):
        owner = yield "load", f"owner {cell}"
        if owner and (yield "load", f"count {cell}"):
            lives = not ask or (yield "load", life(owner))
            if lives and broken != "he asks before he reaps":
                if broken == "he sees what to sleep at before he looks":
                    seen = yield "load", "drained"
                return seen
            if broken == "the dead are reaped":
                return seen
            if broken == "he reaps by CAS":
                yield "store", f"owner {cell}", 0
            else:
                # If another has claimed it since, he will see that the word is ours.
                yield "cas", f"owner {cell}", owner, 0
        del owner
    return None


def acquire_to_write(
    me: int, cells: int, *, turn: int = 0, patient: bool, broken: str = ""
) -> Steps:
    early = False  # without a fence, a processor may look at the cells first
    if broken == "he looks at the cells after he has the word":
        early = (yield from drain(cells, ask=True)) is None
    result = yield from acquire(me, patient=patient)
    if result is None or early:
        return result
    yield "call", lambda memory: {"draining": (me, turn)}
    ask = True
    while True:
        yield ("here",)
        seen = yield from drain(cells, ask=ask, broken=broken)
        if seen is None:
            return result
        if not patient and (yield "choose", False, True):
            yield "call", lambda memory: {"draining": None}
            leaves = result == OWNER_DIED and broken != "he leaves to the next what he is not told"
            yield from release(me, to=GHOST if leaves else 0, wakes=ALL)
            return None
        if broken == "he keeps the word while he waits":
            yield from release(me, wakes=ALL)
        ask = (yield "sleep", "drained", seen) == "slice"
        if broken == "he keeps the word while he waits":
            result = yield from acquire(me)
        del seen


def enter(me: int, what: str, result: int | None, first: tuple[int, int] | None = None) -> Step:
    """He is told how his acquisition ended. `first`: a writer who had the word when he came."""
    told = tell(me, result)[1]

    def entered(memory: Memory) -> Memory:
        others = [(does, who) for does, who in memory["inside"] if memory[life(who)]]
        if result is None:
            return dict(told(memory))
        if any("write" in (what, does) for does, _ in others):
            raise Violation(f"{me} came in to {what} beside {others}")
        if first and memory["draining"] == first and memory[life(first[0])]:
            raise Violation(f"{me} overtook a writer")
        inside = (*memory["inside"], (what, me))
        return {**told(memory), "inside": inside} | ({"draining": None} if what == "write" else {})

    return "call", entered


def come_out(me: int, what: str) -> Step:
    def out(memory: Memory) -> Memory:
        inside = list(memory["inside"])
        inside.remove((what, me))
        return {"inside": tuple(inside)}

    return "call", out


def reader(
    me: int,
    cell: int | None = None,
    *,
    turns: int = 1,
    after: int = 0,
    cells: int = 0,
    patient: bool = True,
    fair: bool = False,
    broken: str = "",
) -> Thread:
    """Reads. Without a `cell` of its own, it claims one of so many `cells`."""

    def thread() -> Steps:
        if after:
            yield "wait", life(after), False
        mine = cell
        if mine is None:
            mine = yield from claim(me, cells, broken)
        for _ in range(turns):
            yield ("here",)
            first = (yield "load", "draining") if fair else None
            result = yield from acquire_to_read(me, mine, patient=patient, broken=broken)
            yield enter(me, "read", result, first)
            if result is None:
                return
            if (yield "load", "data") and not result:
                raise Violation("he found half-written data, and was told nothing")
            del first, result
            yield come_out(me, "read")
            yield from leave(mine, broken)

    return thread


def writer(
    me: int,
    cells: int,
    *,
    turns: int = 1,
    after: int = 0,
    patient: bool = True,
    repairs: bool = True,
    broken: str = "",
) -> Thread:
    """Half-writes the data, and completes it."""

    def thread() -> Steps:
        if after:
            yield "wait", life(after), False
        for turn in range(turns):
            yield ("here",)
            result = yield from acquire_to_write(
                me, cells, turn=turn, patient=patient, broken=broken
            )
            yield enter(me, "write", result)
            if result is None:
                return
            if (yield "load", "data") and not result:
                raise Violation("he found half-written data, and was told nothing")
            yield "store", "data", "half-written"
            if not result:
                yield "store", "data", None
            elif repairs:
                yield "store", "data", None
                yield from mark_consistent()
            del result
            yield come_out(me, "write")
            yield from release(me, wakes=1 if broken == "a release wakes all" else ALL)

    return thread


def run(
    threads: list[Thread],
    owners: list[int],
    cells: Sequence[int],
    mortals: str = "",
    *,
    slices: bool = True,
) -> int:
    """Explores. Thread i acquires as owners[i]; `cells` belong to whom they name, or to nobody."""
    memory: Memory = {"word": 0, "drained": 0, "mutex": 0}
    for cell, owner in enumerate(cells):
        memory |= {f"owner {cell}": owner, f"count {cell}": 0}
    memory |= {"data": None, "untold": frozenset(), "inside": (), "draining": None}
    memory |= {life(owner): True for owner in owners} | {life(GHOST): False}
    lives = {int(i): life(owners[int(i)]) for i in mortals}
    readers = frozenset(owner for owner in cells if owner)
    watches = watch(*owners, forgetful=readers)
    return explore(threads, memory, mortals=lives, slices=slices, watch=watches)


def reader_killed_inside(me: int, cell: int) -> Thread:
    def thread() -> Steps:
        result = yield from acquire_to_read(me, cell, patient=True)
        yield enter(me, "read", result)
        yield "die", life(me)

    return thread


def writer_killed_inside(me: int, cells: int) -> Thread:
    def thread() -> Steps:
        result = yield from acquire_to_write(me, cells, patient=True)
        yield enter(me, "write", result)
        yield "store", "data", "half-written"
        yield "die", life(me)

    return thread


def reader_and_writer(broken: str) -> None:
    threads = [
        reader(A, 0, turns=2, fair=True, broken=broken),
        writer(B, 1, turns=2, broken=broken),
    ]
    run(threads, [A, B], [A], slices=False)


def two_readers_and_writer(broken: str) -> None:
    threads = [reader(A, 0, broken=broken), reader(B, 1, broken=broken)]
    run([*threads, writer(C, 2, broken=broken)], [A, B, C], [A, B], slices=False)


def reader_and_two_writers(broken: str) -> None:
    threads = [writer(B, 1, broken=broken), writer(C, 1, broken=broken)]
    run([reader(A, 0, broken=broken), *threads], [A, B, C], [A], slices=False)


def dead_reader_and_writer(broken: str) -> None:
    run([reader_killed_inside(A, 0), writer(B, 1, broken=broken)], [A, B], [A])


def dead_reader_reader_and_writer(broken: str) -> None:
    threads = [reader_killed_inside(A, 0), reader(B, cells=1, after=A, broken=broken)]
    run([*threads, writer(C, 1, turns=2, broken=broken)], [A, B, C], [A])


def dead_writer_and_two_readers(broken: str) -> None:
    threads = [reader(A, 0, after=C, broken=broken), reader(B, 1, broken=broken)]
    run([*threads, writer_killed_inside(C, 2)], [A, B, C], [A, B], slices=False)


def dead_writer_reader_and_writer(broken: str) -> None:
    threads = [reader(A, 0, patient=False, broken=broken), writer(B, 1, broken=broken)]
    run([*threads, writer_killed_inside(C, 1)], [A, B, C], [A])


def dead_writer_writer_and_reader(broken: str) -> None:
    threads = [reader(A, 0, broken=broken), writer(B, 1, patient=False, broken=broken)]
    run([*threads, writer_killed_inside(C, 1)], [A, B, C], [A])


def two_threads_of_a_process(broken: str) -> None:
    threads = [reader(A, cells=1, broken=broken), reader(A, cells=1, broken=broken)]
    run([*threads, writer(C, 1, broken=broken)], [A, A, C], [0], slices=False)


PARTS = [
    ("he is counted by a locked add", reader_and_writer, "beside"),
    ("he looks again when he is counted", reader_and_writer, "beside"),
    ("he looks at the cells after he has the word", reader_and_writer, "beside"),
    ("he keeps the word while he waits", reader_and_writer, "overtook"),
    ("he asks before he reaps", reader_and_writer, "beside"),
    ("he is counted out by a locked add", reader_and_writer, "all wait"),
    ("who leaves wakes the writer", reader_and_writer, "all wait"),
    ("who yields is not counted", reader_and_writer, "all wait"),
    ("he sees what to sleep at before he looks", reader_and_writer, "all wait"),
    ("a release wakes all", two_readers_and_writer, "all wait"),
    ("a release wakes all", reader_and_two_writers, "all wait"),
    ("the dead are reaped", dead_reader_and_writer, "no way leads"),
    ("he reaps by CAS", dead_reader_reader_and_writer, "beside"),
    ("who claims a cell clears its count", dead_reader_reader_and_writer, "no way leads"),
    ("one thread claims at a time", two_threads_of_a_process, "beside"),
    ("who takes a death off wakes all", dead_writer_and_two_readers, "all wait"),
    ("he is counted before he takes a death off", dead_writer_reader_and_writer, "to be told"),
    ("he leaves to the next what he is not told", dead_writer_writer_and_reader, "to be told"),
]
WHOLE = "nothing is broken"


@pytest.mark.parametrize("explores", dict.fromkeys(explores for _, explores, _ in PARTS))
def test_the_whole_holds_where_the_parts_are_broken(explores: Callable[[str], None]) -> None:
    explores(WHOLE)


@pytest.mark.parametrize(("part", "explores", "fault"), PARTS)
def test_every_part_is_needed(part: str, explores: Callable[[str], None], fault: str) -> None:
    with pytest.raises(Violation, match=fault):
        explores(part)


@pytest.mark.parametrize("repairs", [True, False])
def test_mortals(*, repairs: bool) -> None:
    threads = [reader(A, 0, turns=2, fair=True), writer(B, 1, turns=2, repairs=repairs)]
    assert run(threads, [A, B], [A], "01") > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("mortals", ["", "012"])
def test_reader_and_two_writers(mortals: str) -> None:
    threads = [reader(A, 0, fair=True), writer(B, 1, patient=False), writer(C, 1)]
    assert run(threads, [A, B, C], [A], mortals, slices=bool(mortals)) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("mortals", ["", "012"])
def test_two_readers_and_writer(mortals: str) -> None:
    threads = [reader(A, 0, patient=False, fair=True), reader(B, 1, fair=True), writer(C, 2)]
    assert run(threads, [A, B, C], [A, B], mortals, slices=bool(mortals)) > 10_000
