"""Runs a protocol in every order that a processor of the x86 kind allows.

Stores wait in a queue before they reach the memory (TSO), so that a load may overtake them. Test
runs hardly ever show it; here every state is visited. The next state is one in which some thread
has done its next step, or in which the oldest store of some queue has arrived. The kernel's calls
act at once, before earlier stores arrive: so we do not count on them as fences.

Threads may be killed at any point. Of the stores in the queue of a killed thread any number still
arrive. Some time later it is buried: none arrives any more, and the kernel lets go of the byte that
told of its life.
"""

import gc
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

Step = tuple[Any, ...]
Steps = Generator[Step, Any, Any]
Thread = Callable[[], Steps]
Memory = dict[str, Any]
Watch = Callable[[int, Memory, Memory], Memory]

ALL = 1 << 30  # to wake
LOW_HALF = (1 << 32) - 1  # of a word: a futex compares no more

RUNS, SLEEPS, DYING, DYING_ASLEEP, BURIED = range(5)
KILLED = "is killed"
THE_END = 0  # the place of threads that have ended or died


class Violation(Exception):
    pass


class State(NamedTuple):
    places: tuple[int, ...]  # of the threads
    fates: tuple[int, ...]
    queues: tuple[tuple[tuple[str, Any], ...], ...]  # the stores of each thread on their way
    memory: tuple[Any, ...]  # the values, in the order of the names


def explore(
    threads: Sequence[Thread],
    memory: Memory,
    *,
    mortals: Mapping[int, str] | None = None,
    slices: bool = True,
    watch: Watch | None = None,
) -> int:
    """Visits all states and returns their number. Raises `Violation`, and tells how it came to it.

    From every state there must be a way to the end of all threads, without a further death.

    A thread yields its steps, and is sent the answer to each:

    - ("load", name), ("store", name, value), ("fence",), ("add", name, n), which is locked.
    - ("cas", name, old, new): a locked compare-and-swap. The answer is what was found.
    - ("wait", name, value): until it is so.
    - ("call", function): the kernel's. It is given the memory and returns what changes in it.
    - ("sleep", name, seen): FUTEX_WAIT. The answer is "changed", or "woken", or "slice" when its
      time was up, which it is only with `slices`, but then at any moment.
    - ("wake", name, n): FUTEX_WAKE, of any n who sleep there. The dying may still swallow it.
    - ("choose", *answers): any of them.
    - ("die", life): it is killed.
    - ("here",): no step. A thread that is here again, and whose names mean the same again, is where
      it was: so a loop does not lead to ever more states. It stands alone, and each `yield from` on
      the way to it alone or in an assignment: within an expression, more would be remembered.

    `mortals` are the threads that may be killed at any point, each with the name of its life, which
    turns False in memory when it is buried. `watch` is called with the thread that changes the
    memory, with the memory before, and after. It returns what changes besides.
    """
    machine = Machine(threads, mortals or {}, slices, watch, list(memory))
    with without_collector():
        return visit_all(machine, memory)


@contextmanager
def without_collector() -> Iterator[None]:
    """Millions of tuples in no cycle: to look for cycles takes as long as all the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def visit_all(machine: "Machine", memory: Memory) -> int:
    """Breadth first: so the way to a fault is the shortest."""
    states = [machine.start(memory)]
    numbers = {states[0]: 0}
    origins: list[tuple[int, int, Step | str]] = [(0, 0, "")]  # of each: from which state, and how
    before: list[list[int]] = [[]]  # of each state, those that lead to it without a death
    ends: list[int] = []

    def tell(number: int) -> str:
        lines = [str(dict(zip(memory, states[number].memory, strict=True)))]
        while number:
            number, i, what = origins[number]
            lines.append(f"{i} {what}")
        return "\n".join(reversed(lines))

    for number, state in enumerate(states):  # which grows meanwhile
        try:
            moves = list(machine.moves(state))
        except Violation as violation:
            raise Violation(f"{violation}, after:\n{tell(number)}") from None
        for i, what, after in moves:
            if after not in numbers:
                numbers[after] = len(states)
                states.append(after)
                origins.append((number, i, what))
                before.append([])
            if what is not KILLED:
                before[numbers[after]].append(number)
        if machine.is_over(state):
            ends.append(number)
        elif all(what is KILLED for _, what, _ in moves):
            raise Violation(f"all wait, after:\n{tell(number)}")

    hopeful = set(ends)
    while ends:
        new = set(before[ends.pop()]) - hopeful
        hopeful |= new
        ends += new
    if len(hopeful) < len(states):
        lost = min(set(range(len(states))) - hopeful)
        raise Violation(f"no way leads to the end, after:\n{tell(lost)}")
    return len(states)


class Machine:
    """What can happen next in a state."""

    def __init__(
        self,
        threads: Sequence[Thread],
        mortals: Mapping[int, str],
        slices: bool,  # noqa: FBT001
        watch: Watch | None,
        names: list[str],
    ) -> None:
        self._everyone = range(len(threads))
        self._places = Places(threads)
        self._steps = self._places.steps
        self._mortals = mortals
        self._lives = dict(mortals)
        self._slices = slices
        self._watch = watch
        self._names = names
        self._index = {name: n for n, name in enumerate(names)}

    def start(self, memory: Memory) -> State:
        n = len(self._everyone)
        places = tuple(self._places.begin(i) for i in self._everyone)
        return State(places, (RUNS,) * n, ((),) * n, tuple(memory.values()))

    def is_over(self, state: State) -> bool:
        return not any(state.places) and not any(state.queues) and DYING not in state.fates

    def moves(self, state: State) -> Iterator[tuple[int, Step | str, State]]:
        """All that can happen next: to which thread, what, and the state after it."""
        for i in self._everyone:
            fate, place = state.fates[i], state.places[i]
            if state.queues[i]:
                (name, value), *later = state.queues[i]
                arrived = self._change(state, i, {name: value})
                yield i, "stored", put(arrived, i, queue=tuple(later))
            if fate == RUNS and place != THE_END:
                step = self._steps[place]
                for after in self._advance(state, i, step):
                    yield i, step, after
            if fate == SLEEPS and self._slices:
                yield i, "wakes by itself", self._wake(state, i, "slice")
            if fate in (DYING, DYING_ASLEEP):
                buried = put(state, i, place=THE_END, fate=BURIED, queue=())
                yield i, "is buried", self._change(buried, i, {self._lives[i]: False})
            if i in self._mortals and fate in (RUNS, SLEEPS) and place != THE_END:
                yield i, KILLED, self._kill(state, i)

    def _advance(self, state: State, i: int, step: Step) -> Iterator[State]:
        """Thread `i` has done its step, in each way that there is; none if it must wait."""
        queue = state.queues[i]
        match step:
            case "load", name:
                yield self._answer(state, i, self._see(state, i, name))
            case "store", name, value:
                yield self._answer(put(state, i, queue=(*queue, (name, value))), i, None)
            case ("fence",) if not queue:
                yield self._answer(state, i, None)
            case "add", name, n if not queue:
                added = self._change(state, i, {name: self._see(state, i, name) + n})
                yield self._answer(added, i, None)
            case "cas", name, old, new if not queue:
                found = self._see(state, i, name)
                swapped = self._change(state, i, {name: new}) if found == old else state
                yield self._answer(swapped, i, found)
            case "wait", name, value if self._see(state, i, name) == value:
                yield self._answer(state, i, None)
            case "call", function:
                changes = function(dict(zip(self._names, state.memory, strict=True)))
                yield self._answer(self._change(state, i, changes), i, None)
            case "sleep", name, value if (self._see(state, i, name) ^ value) & LOW_HALF:
                yield self._answer(state, i, "changed")
            case "sleep", _, _:
                yield put(state, i, fate=SLEEPS)
            case "wake", name, n:
                asleep = [j for j in self._everyone if self._sleeps_at(state, j, name)]
                for chosen in combinations(asleep, min(n, len(asleep))):
                    after = state
                    for j in chosen:
                        after = self._wake(after, j, "woken")
                    yield self._answer(after, i, None)
            case "choose", *answers:
                for answer in answers:
                    yield self._answer(state, i, answer)
            case "die", life:
                self._lives[i] = life
                yield self._kill(state, i)

    def _see(self, state: State, i: int, name: str) -> Any:
        """What thread `i` sees there: its own stores at once."""
        for stored, value in reversed(state.queues[i]):
            if stored == name:
                return value
        return state.memory[self._index[name]]

    def _change(self, state: State, i: int, changes: Memory) -> State:
        before = dict(zip(self._names, state.memory, strict=True))
        after = before | changes
        if self._watch is not None and after != before:
            after |= self._watch(i, before, after)
        return State(*state[:3], tuple(after.values()))

    def _answer(self, state: State, i: int, answer: Any) -> State:
        return put(state, i, place=self._places.after(state.places[i], answer))

    def _sleeps_at(self, state: State, i: int, name: str) -> bool:
        asleep = state.fates[i] in (SLEEPS, DYING_ASLEEP)
        return asleep and bool(self._steps[state.places[i]][1] == name)

    def _wake(self, state: State, i: int, why: str) -> State:
        if state.fates[i] == DYING_ASLEEP:
            return put(state, i, place=THE_END, fate=DYING)
        return self._answer(put(state, i, fate=RUNS), i, why)

    def _kill(self, state: State, i: int) -> State:
        if state.fates[i] == SLEEPS:
            return put(state, i, fate=DYING_ASLEEP)
        return put(state, i, place=THE_END, fate=DYING)


class Places:
    """Where threads can be: each place stands for what a thread was answered on the way there."""

    def __init__(self, threads: Sequence[Thread]) -> None:
        self.steps: list[Step] = [()]  # of each place, the next step
        self._threads = threads
        self._ways: list[tuple[int, tuple[Any, ...]]] = [(0, ())]
        self._known: dict[Any, int] = {}
        self.begin = cache(lambda i: self._place(i, ()))
        self.after = cache(self._after)

    def _after(self, place: int, answer: Any) -> int:
        i, heard = self._ways[place]
        return self._place(i, (*heard, answer))

    def _place(self, i: int, heard: tuple[Any, ...]) -> int:
        thread = self._threads[i]()
        here = None
        try:
            step = next(thread)
            for answer in heard:
                step = thread.send(answer)
            while step == ("here",):
                here = (i, *remembered(thread))
                if here in self._known:
                    return self._known[here]
                heard = (*heard, None)
                step = thread.send(None)
        except StopIteration:
            return THE_END
        place = len(self.steps)
        self.steps.append(step)
        self._ways.append((i, heard))
        if here is not None:
            self._known[here] = place
        return place


def remembered(thread: Any) -> Iterator[Any]:
    """All that a thread remembers between two statements: where it is, and what its names mean."""
    while thread is not None:
        frame = thread.gi_frame
        yield thread.gi_code, frame.f_lasti, tuple(frame.f_locals.items())
        thread = thread.gi_yieldfrom


def put(
    state: State,
    i: int,
    *,
    place: int | None = None,
    fate: int | None = None,
    queue: tuple[tuple[str, Any], ...] | None = None,
) -> State:
    """The state with this of thread `i` instead."""
    places, fates, queues, memory = state
    if place is not None:
        places = (*places[:i], place, *places[i + 1 :])
    if fate is not None:
        fates = (*fates[:i], fate, *fates[i + 1 :])
    if queue is not None:
        queues = (*queues[:i], queue, *queues[i + 1 :])
    return State(places, fates, queues, memory)
