"""The guard's protocols, run in every order that a processor of the x86 kind allows.

Each part of a protocol is then left out, and the model must fail: so each part is needed.
"""

from collections.abc import Generator
from typing import Any

import pytest

from model.explore import Memory, Step, Thread, Violation, explore

# The handler and the end of a guard: patch, emmap_guard_retire and emmap_guard_begin in fault.c, h.
# Memory holds the entry of the table, and to whom address A belongs.
ENTRY: Memory = {"state": "live", "start": "A", "users": 0, "owner": "the mapping"}


def patch(memory: Memory) -> Memory:
    if memory["owner"] != "the mapping":
        raise Violation(f"patched what belongs to {memory['owner']}")
    return {}


def handler(left_out: str = "", *, locked: bool = True) -> Thread:
    """Address A faults. Not `locked`, users++ is a load and a store: so the fence shows."""

    def covers() -> Generator[Step, Any, bool]:
        return bool((yield "load", "state") == "live" and (yield "load", "start") == "A")

    def count(n: int) -> Generator[Step, Any, None]:
        if locked:
            yield "add", "users", n
        else:
            yield "store", "users", (yield "load", "users") + n

    def thread() -> Generator[Step, Any, None]:
        if not (yield from covers()):
            return
        yield from count(+1)
        if left_out != "handler's fence":
            yield ("fence",)
        if left_out == "second look" or (yield from covers()):
            yield "call", patch
        if left_out != "departure":
            yield from count(-1)

    return thread


def retirer(left_out: str = "") -> Thread:
    """Ends the guard and unmaps. A goes to somebody else, and the entry to a mapping at B."""

    def thread() -> Generator[Step, Any, None]:
        if left_out != "mark":
            yield "store", "state", "retired"
        if left_out != "retirer's fence":
            yield ("fence",)
        if left_out != "wait":
            yield "wait", "users", 0
        yield "call", lambda memory: {"owner": "nobody"}
        yield "call", lambda memory: {"owner": "somebody else"}
        if left_out != "new start":
            yield "store", "start", "B"
        yield "store", "state", "live"

    return thread


@pytest.mark.parametrize("handlers", [1, 2, 3])
def test_no_handler_patches_what_was_unmapped(handlers: int) -> None:
    assert explore([handler()] * handlers + [retirer()], ENTRY) > 50
    assert explore([handler(locked=False), retirer()], ENTRY) > 50  # as it is cut below


PARTS = "second look, handler's fence, departure, mark, retirer's fence, wait, new start"


@pytest.mark.parametrize("left_out", PARTS.split(", "))
def test_every_part_is_needed(left_out: str) -> None:
    with pytest.raises(Violation):
        explore([handler(left_out, locked=False), retirer(left_out)], ENTRY)


# Zeros are known as such: lose in fault.c, emmap_lost_any in lost.h.

STEPS: dict[str, Step] = {
    "mark": ("store", "any", 1),
    "fence": ("fence",),
    "zeros": ("call", lambda memory: {"byte": "zero"}),
}


def loser(*names: str) -> Thread:
    return lambda: (STEPS[name] for name in names)


def reader() -> Generator[Step, Any, None]:
    if (yield "load", "byte") == "zero" and not (yield "load", "any"):
        raise Violation("a zero was read that no mark tells of")


def test_zeros_that_were_read_are_marked() -> None:
    assert (
        explore([loser("mark", "fence", "zeros"), reader, reader], {"byte": "data", "any": 0}) > 20
    )


@pytest.mark.parametrize("order", ["zeros mark fence", "mark zeros fence", "mark zeros", "zeros"])
def test_the_mark_must_arrive_before_the_zeros(order: str) -> None:
    with pytest.raises(Violation):
        explore([loser(*order.split()), reader], {"byte": "data", "any": 0})


# Repair takes the marks away while others fault: emmap_pages_repair in system.c, lose in fault.c.
# Of two sets of marks, "which" is the one in use; the page ends as the file's, or as known zeros.


def faulting() -> Generator[Step, Any, None]:
    yield "add", "users", 1
    yield ("fence",)
    marks = "marks 0" if (yield "load", "which") == 0 else "marks 1"
    yield "call", lambda memory: {marks: 1}
    yield "call", lambda memory: {"page": "zeros"}
    yield "add", "users", -1
    yield "add", "done", 1


def repairer(left_out: str = "") -> Thread:
    def thread() -> Generator[Step, Any, None]:
        yield "call", lambda memory: {"which": 1}
        if left_out != "wait":
            yield "wait", "users", 0
        if (yield "load", "marks 0"):
            yield "call", lambda memory: {"page": "file's"}
        yield "add", "done", 1

    return thread


def auditor(faults: int) -> Thread:
    def thread() -> Generator[Step, Any, None]:
        yield "wait", "done", faults + 1
        if (yield "load", "page") == "zeros" and not (yield "load", "marks 1"):
            raise Violation("zeros stayed, and no mark tells of them")

    return thread


REPAIR: Memory = {"users": 0, "which": 0, "marks 0": 0, "marks 1": 0, "page": "lost", "done": 0}


@pytest.mark.parametrize("faults", [1, 2])
def test_repair_leaves_no_unknown_zeros(faults: int) -> None:
    assert explore([faulting] * faults + [repairer(), auditor(faults)], REPAIR) > 20


def test_repair_must_wait() -> None:
    with pytest.raises(Violation):
        explore([faulting, repairer("wait"), auditor(1)], REPAIR)
