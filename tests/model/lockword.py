"""The lock word as a model: the functions of lock.c, and what must hold whoever uses them.

Left out are what they do when pages are lost, and the looks before a sleep: a look that fails
changes nothing. `broken` names the part of the protocol that is not to hold.
"""

from model.explore import Memory, Step, Steps, Violation, Watch

WAITERS, DIED, FLAGS = 1, 2, 15
OWNER_DIED, INCONSISTENT = 1, 2
A, B, C = 1 << 4, 2 << 4, 3 << 4  # owners


def life(owner: int) -> str:
    """What tells whether this owner lives: the answer of emmap_life_ask."""
    return f"life {owner >> 4}"


def attempt(me: int, *, ask: bool, slept: bool, broken: str = "") -> Steps:
    """emmap_lock_attempt, announcing: how it ended, None for -EAGAIN, and what was seen then."""
    told = False
    word = yield "load", "word"
    while True:
        yield ("here",)
        owner, died = word & ~FLAGS, word & DIED
        if owner == 0:
            new = me | died | (word & WAITERS) | (WAITERS if slept else 0)
            if broken == "who has slept remembers the other sleepers":
                new = me | died | (word & WAITERS)
            if broken == "DIED stays when it is acquired":
                new = new & ~DIED
        elif ask and (broken == "he asks" or not (yield "load", life(owner))):
            new = me | DIED | WAITERS
            if broken == "who takes over remembers the sleepers":
                new = me | DIED
            if broken == "he takes over from exactly the word he asked about":
                word = yield "load", "word"
            if broken == "one CAS takes over and tells":
                new = DIED | WAITERS
        elif broken == "he announces that he sleeps":
            new = word
        else:
            new = word | WAITERS
        if new != word:
            takes_over = owner != 0 and new & ~FLAGS != owner
            if broken == ("he takes over by CAS" if takes_over else "he acquires by CAS"):
                yield "store", "word", new
                yield ("fence",)
            elif (found := (yield "cas", "word", word, new)) != word:
                word = found
                del owner, died, new, takes_over, found
                continue
            if new & ~FLAGS == 0:
                word, told = new, True
                del owner, died, new, takes_over, found
                continue
        if new & ~FLAGS == me and owner != me:
            return (OWNER_DIED if owner or told else INCONSISTENT if died else 0), None
        return None, new


def acquire(me: int, *, patient: bool = True, broken: str = "") -> Steps:
    """emmap_lock_acquire, called again after each slice: how it ended; None: its time was up."""
    slept, ask = False, True
    while True:
        yield ("here",)
        result, seen = yield from attempt(me, ask=ask, slept=slept, broken=broken)
        if result is not None:
            return result
        if not patient and (yield "choose", False, True):
            return None
        if broken == "he sleeps only if nothing has changed":
            seen = yield "load", "word"
        slept, ask = True, (yield "sleep", "word", seen) == "slice"
        del result, seen


def release(me: int, *, to: int = 0, wakes: int = 1, broken: str = "") -> Steps:
    """emmap_lock_release. `to`: see GHOST in test_rwlock_model.py."""
    word = yield "load", "word"
    if broken == "he wakes after he has released" and word & WAITERS:
        yield "wake", "word", wakes
    while True:
        yield ("here",)
        if word & ~FLAGS != me:
            raise Violation(f"{me} does not hold what it releases: {word}")
        new = to | (0 if broken == "DIED stays when it is released" else word & DIED)
        if broken == "he releases by CAS":
            yield "store", "word", new
            break
        if (found := (yield "cas", "word", word, new)) == word:
            break
        word = found
        del new, found
    if word & WAITERS and broken not in ("he wakes after he has released", "he wakes"):
        yield "wake", "word", wakes


def mark_consistent(*, broken: str = "") -> Steps:
    """emmap_lock_mark_consistent."""
    word = yield "load", "word"
    while True:
        yield ("here",)
        if broken == "he marks by CAS":
            yield "store", "word", word & ~DIED
            return
        if (found := (yield "cas", "word", word, word & ~DIED)) == word:
            return
        word = found
        del found


def tell(me: int, result: int | None) -> Step:
    """He is told how his acquisition ended; None: it did not succeed."""

    def told(memory: Memory) -> Memory:
        if (me in memory["untold"]) != (result == OWNER_DIED):
            raise Violation(f"{me} was told {result}, and {memory['untold']} were to be told")
        return {"untold": memory["untold"] - {me}}

    return "call", told


def watch(*owners: int, forgetful: frozenset[int] = frozenset()) -> Watch:
    """Watches whose name leaves the word. `owners`: as whom each thread acquires.

    "untold" are those who have taken over from a dead owner and were not told so yet. When such a
    one dies too, the word must name him, so that the next is told; unless he is `forgetful`.
    """

    def watch(thread: int, before: Memory, after: Memory) -> Memory:
        me, was, now = owners[thread], before["word"] & ~FLAGS, after["word"] & ~FLAGS
        if not after[life(me)] and now != me and me in after["untold"] - forgetful:
            raise Violation("nobody will be told of a death")
        if was == me and now not in (0, me):  # he leaves it to the next to be told
            return {"untold": after["untold"] - {me}}
        if was in (0, now, me):
            return {}
        if before[life(was)]:
            raise Violation(f"{me} robbed {was}")
        return {"untold": after["untold"] | {me}}

    return watch
