"""What the models can do: each effect that a protocol must live with is seen, and no other is."""

from typing import Any

import pytest

from model.explore import ALL, Memory, Step, Steps, Thread, Violation, explore


def seen(*threads: Thread, **options: Any) -> set[tuple[int, int, bool]]:
    """What x, y and life become, together."""
    found = set()

    def watch(thread: int, before: Memory, after: Memory) -> Memory:
        found.add((after["x"], after["y"], after["life"]))
        return {}

    explore(threads, {"x": 0, "y": 0, "life": True}, watch=watch, **options)
    return found


def does(*steps: Step) -> Thread:
    return lambda: (step for step in steps)


@pytest.mark.parametrize("fence", [True, False])
def test_a_load_overtakes_a_store_unless_there_is_a_fence(*, fence: bool) -> None:
    def thread(mine: str, others: str) -> Thread:
        def steps() -> Steps:
            yield "store", mine, 1
            if fence:
                yield ("fence",)
            if not (yield "load", others):
                yield "add", mine, 1  # to 2

        return steps

    assert ((2, 2, True) in seen(thread("x", "y"), thread("y", "x"))) is not fence


def test_stores_arrive_in_order_and_their_thread_sees_them_at_once() -> None:
    def thread() -> Steps:
        yield "store", "x", 1
        yield "store", "y", (yield "load", "x")

    assert seen(thread) == {(1, 0, True), (1, 1, True)}


@pytest.mark.parametrize("step", [("cas", "y", 0, 1), ("add", "y", 1)])
def test_locked_steps_wait_for_earlier_stores(step: Step) -> None:
    assert seen(does(("store", "x", 1), step)) == {(1, 0, True), (1, 1, True)}


def test_a_swap_is_one_step() -> None:
    def thread() -> Steps:
        if (yield "cas", "x", 0, 1) == 0:
            yield "add", "y", 1

    assert seen(thread, thread, thread) == {(1, 0, True), (1, 1, True)}


def test_stores_of_the_dead_arrive_until_they_are_buried() -> None:
    dead = does(("store", "x", 1), ("store", "y", 1), ("die", "life"))
    found = seen(dead)
    assert {(0, 0, False), (1, 0, False), (1, 1, False)} < found
    heir = does(("wait", "life", False), ("cas", "x", 0, 7))
    assert seen(dead, heir) - found == {(7, 0, False)}


def test_mortals_are_killed_anywhere_and_the_others_nowhere() -> None:
    thread = does(("add", "x", 1), ("add", "y", 1))
    lives, dies = {(1, 0, True), (1, 1, True)}, {(0, 0, False), (1, 0, False)}
    assert seen(thread) == lives
    assert seen(thread, mortals={0: "life"}) == lives | dies


def test_a_sleeper_sleeps_only_on_what_it_has_seen() -> None:
    sleeper = does(("sleep", "x", 0))
    waker = does(("add", "x", 1), ("wake", "x", 1))
    assert seen(sleeper, waker, slices=False)
    assert seen(does(("sleep", "x", 1)), slices=False) == set()
    assert seen(does(("sleep", "x", 0))) == set()  # it wakes by itself
    for lost in ([sleeper], [sleeper, does(("wake", "x", 1), ("add", "x", 1))]):
        with pytest.raises(Violation, match="all wait"):
            seen(*lost, slices=False)
    with pytest.raises(Violation, match="all wait"):  # the halves of these are the same
        seen(does(("sleep", "x", 1 << 32)), slices=False)


def test_one_of_the_sleepers_is_woken_or_all() -> None:
    sleepers = [does(("sleep", "x", 0), ("add", "y", 1))] * 2
    assert seen(*sleepers, does(("add", "x", 1), ("wake", "x", ALL)), slices=False)
    with pytest.raises(Violation, match="all wait"):
        seen(*sleepers, does(("add", "x", 1), ("wake", "x", 1)), slices=False)


def test_from_every_state_there_must_be_a_way_to_the_end() -> None:
    def spins() -> Steps:
        while not (yield "load", "x"):
            yield ("here",)

    assert seen(spins, does(("add", "x", 1)))
    with pytest.raises(Violation, match="no way leads to the end"):
        seen(spins)
    with pytest.raises(Violation, match="no way leads to the end"):
        seen(spins, mortals={0: "life"})  # a death is no way out


def test_where_names_mean_something_else_is_not_the_same_here() -> None:
    def counts() -> Steps:
        for n in range(5):
            yield ("here",)
            yield "add", "x", n

    assert {x for x, _, _ in seen(counts)} == {1, 3, 6, 10}


def test_a_fault_is_told_with_the_way_that_led_to_it() -> None:
    def thread() -> Steps:
        if (yield "choose", 1, 2) == 2:
            yield "store", "x", 1
            raise Violation("the fault")

    with pytest.raises(Violation) as told:
        seen(thread)
    assert str(told.value).splitlines()[:3] == [
        "the fault, after:",
        "0 ('choose', 1, 2)",
        "{'x': 0, 'y': 0, 'life': True}",
    ]
