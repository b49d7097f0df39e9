"""The pins as a model: pins.h, and the writers who look at them before they use a block again.

Blocks hold who wrote them, so a reader knows at once that a block was used again. What is free is
told by the root itself here: how that survives a kill is another model's matter. `broken` names the
part of the protocol that is not to hold.
"""

from collections.abc import Sequence
from typing import NamedTuple

from model.explore import Memory, Steps, Thread, Violation

TENTATIVE = 1 << 63
MOST = TENTATIVE - 1

Content = tuple[int, str]  # the transaction that a block was born in, and who wrote it
Place = tuple[int, Content]  # a block, and what is to be found there


class Root(NamedTuple):
    txn: int
    places: tuple[Place, ...]  # the root record itself, then what it leads to
    retired: tuple[tuple[int, int], ...] = ()  # blocks, and in which transaction they were replaced
    frontier: int = 0


class Protected(NamedTuple):
    """What a scan has found: struct emmap_protected."""

    scanned: int = 0
    tentative: int = MOST
    txns: frozenset[int] = frozenset()

    def is_free(self, birth: int, retired: int, broken: str = "") -> bool:
        scanned = self.scanned
        if broken == "what was replaced since the scan is kept":
            scanned = MOST
        if retired > scanned:
            return False
        if retired > self.tentative and broken != "what was replaced since he began is kept":
            return False
        if broken == "a root keeps what was born in it":
            return not any(birth < p < retired for p in self.txns)
        if broken == "a root keeps what the next one replaces":
            return not any(birth <= p < retired - 1 for p in self.txns)
        if broken == "a root does not keep what was replaced in it":
            return not any(birth <= p <= retired for p in self.txns)
        if broken == "a root does not keep what was born later":
            return not any(p < retired for p in self.txns)
        return not any(birth <= p < retired for p in self.txns)


def beginning(*, pieces: int = 1, blocks: int = 8) -> Memory:
    """A store after its first transaction, in which each piece has its block."""
    contents = [(1, "the creator") if n <= pieces else (0, "nobody") for n in range(blocks)]
    root = Root(1, tuple((n, contents[n]) for n in range(pieces + 1)), (), pieces + 1)
    memory: Memory = {"root": root, "epoch": 1, "lock": "", "copies": 0, "pin 0": 0}
    return memory | {f"block {n}": content for n, content in enumerate(contents)}


LOCKS = ("lock", "flush lock")


def life(who: str) -> str:
    return f"life of {who}"


def watch(thread: int, before: Memory, after: Memory) -> Memory:
    """The lock of the dead goes to the next: lockword.py has how."""
    if "meta 0" in after:
        check_metas(after)
    return {name: "" for name in LOCKS if not after.get(life(after.get(name, "")), True)}


def exchange(name: str, new: int) -> Steps:
    found = yield "cas", name, 0, new
    if found:
        yield "cas", name, found, new


def expect(place: Place, root: Root) -> Steps:
    block, content = place
    if (found := (yield "load", f"block {block}")) != content:
        raise Violation(f"block {block} was used again by {found}; root {root.txn} had {content}")


def pin(name: str, broken: str = "") -> Steps:
    """emmap_pin_set: the root that is pinned."""
    if broken == "he says that he begins before he looks":
        root = yield "load", "root"
        yield from expect(root.places[0], root)
        yield from exchange(name, root.txn)
        return root
    epoch = yield "load", "epoch"
    if broken == "the exchange is a fence":
        yield "store", name, TENTATIVE | epoch
    else:
        yield from exchange(name, TENTATIVE | epoch)
    root = yield "load", "root"
    yield from expect(root.places[0], root)
    if broken == "a pin is one word":
        yield "store", f"{name}, txn", root.txn
        yield "store", name, 0
    else:
        yield "store", name, root.txn
    return root


def clear(name: str, broken: str = "") -> Steps:
    yield "store", f"{name}, txn" if broken == "a pin is one word" else name, 0


def walk(root: Root) -> Steps:
    for place in root.places[1:] or root.places:
        yield from expect(place, root)


def reader(name: str = "pin 0", *, turns: int = 1, broken: str = "") -> Thread:
    def thread() -> Steps:
        for _ in range(turns):
            yield ("here",)
            root = yield from pin(name, broken)
            yield from walk(root)
            yield from clear(name, broken)
            del root

    return thread


def claim(me: str, name: str, broken: str = "") -> Steps:
    """emmap_pin_claim, where there is one pin. What a dead one has left in its word stays there."""
    if broken == "a pin is claimed by CAS":
        if (yield "load", f"{name}, owner"):
            return False
        yield "store", f"{name}, owner", me
    elif (yield "cas", f"{name}, owner", "", me):
        return False
    if broken != "pins are counted before they are set":
        yield "cas", "pins", 0, 1
    return True


def give(name: str, broken: str = "") -> Steps:
    """emmap_pin_give."""
    if broken == "who gives a pin clears it first":
        yield "store", f"{name}, owner", ""
        yield "store", name, 0
    else:
        yield "store", name, 0
        yield "store", f"{name}, owner", ""


def guest(me: str, *, reads: bool = True, broken: str = "") -> Thread:
    """Claims the pin, reads, and gives it back. If it is not free he goes away."""
    name = "pin 0"

    def thread() -> Steps:
        claimed = yield from claim(me, name, broken)
        if not claimed:
            return
        if reads:
            root = yield from pin(name)
            if broken == "pins are counted before they are set":
                yield "cas", "pins", 0, 1
            yield from walk(root)
        yield from give(name, broken)

    return thread


def parent(name: str, copy: str, broken: str = "") -> Thread:
    """Pins, forks, and drops its pin: the child has one of its own by then, which `copy` is."""

    def thread() -> Steps:
        root = yield from pin(name)
        if broken != "the child's pin is set before the parent's is cleared":
            yield from exchange(copy, root.txn)
        if broken != "copies are counted":
            yield "add", "copies", 1
        yield "store", "child's root", root
        yield "store", "forked", True
        yield from clear(name)
        if broken == "the child's pin is set before the parent's is cleared":
            yield from exchange(copy, root.txn)

    return thread


def child(name: str) -> Thread:
    def thread() -> Steps:
        yield "wait", "forked", True
        root = yield "load", "child's root"
        yield from walk(root)
        yield from clear(name)

    return thread


def flusher(me: str, broken: str = "") -> Thread:
    """emmap_flush."""

    def thread() -> Steps:
        yield from lock(me, "flush lock")
        if (yield "load", "flushing"):
            if broken == "a dead one's meta is wiped before its root may go":
                yield "store", "flushing", 0
            yield "call", lambda memory: {f"meta {1 - complete(memory)}": None}
            yield "store", "flushing", 0
        yield from lock(me)
        root = yield "load", "root"
        if broken == "the root under way is said while the lock is held":
            yield from unlock(me)
        if broken != "the root under way is said":
            yield "store", "flushing", root.txn
        if broken != "the root under way is said while the lock is held":
            yield from unlock(me)
        if broken == "he writes over the older meta":
            yield "call", lambda memory: {f"meta {complete(memory)}": None}
        else:
            yield "call", lambda memory: {f"meta {1 - complete(memory)}": None}
        yield "call", lambda memory: {f"meta {0 if memory['meta 0'] is None else 1}": root}
        if broken == "the root under way is let go when it is the last":
            yield "store", "flushing", 0
        yield "store", "flushed", root.txn
        yield "store", "flushing", 0
        yield from unlock(me, "flush lock")

    return thread


def complete(memory: Memory) -> int:
    """Which meta tells of the last completed flush?"""
    root: Root | None = memory["meta 0"]
    return 0 if root and root.txn == memory["flushed"] else 1


def check_metas(memory: Memory) -> None:
    """A power loss may come now: the root of the newest meta must be there."""
    metas = [memory[name] for name in ("meta 0", "meta 1") if memory[name]]
    if not metas:
        raise Violation("no meta is left")
    newest = max(metas)
    for block, content in newest.places:
        if memory[f"block {block}"] != content:
            raise Violation(f"block {block} of the flushed root {newest.txn} was used again")


def lock(me: str, name: str = "lock") -> Steps:
    while True:
        yield ("here",)
        if (yield "cas", name, "", me) == "":
            return
        yield "wait", name, ""


def unlock(me: str, name: str = "lock") -> Steps:
    yield "cas", name, me, ""


def scan(scanned: int, looks: Sequence[str], broken: str) -> Steps:
    """emmap_scan: looks at these words in this order. After "pins", at those of the living."""
    while True:
        yield ("here",)
        copies = yield "load", "copies"
        words: frozenset[int] = frozenset()
        for name in looks:
            if name == "pins":
                if not (yield "load", "pins"):
                    break
                continue
            if "pins" in looks:
                lives = yield from is_owned(name, broken)
                if not lives:
                    continue
                del lives
            words |= {(yield "load", name)}
        if (yield "load", "copies") == copies or broken == "copies are counted":
            break
        del copies, words, name
    tentative = min((word - TENTATIVE for word in words if word >= TENTATIVE), default=MOST)
    return Protected(scanned, tentative, frozenset(w for w in words if 0 < w < TENTATIVE))


def is_owned(name: str, broken: str) -> Steps:
    """Is it the pin of somebody alive? That of a dead one becomes nobody's."""
    owner = yield "load", f"{name}, owner"
    if not owner:
        return False
    if broken == "the dead are reaped":
        return True
    if broken != "he asks before he reaps" and (yield "load", life(owner)):
        return True
    yield "cas", f"{name}, owner", owner, ""
    if broken == "who reaps leaves the word alone":
        yield "store", name, 0
    return False


def take(root: Root, protected: Protected, broken: str) -> Steps:
    """A block to write to, and the root without it."""
    for i, (block, retired) in enumerate(root.retired):
        if retired > root.txn:
            break  # replaced by ourselves
        birth = (yield "load", f"block {block}")[0]
        if protected.is_free(birth, retired, broken):
            rest = root.retired[:i] + root.retired[i + 1 :]
            return block, root._replace(retired=rest)
    return root.frontier, root._replace(frontier=root.frontier + 1)


def transact(me: str, base: Root, piece: int, protected: Protected, broken: str) -> Steps:
    """Replaces this piece, and the root record. What is to be published."""
    txn, new = base.txn + 1, base
    for n in sorted({0, piece}):
        block, new = yield from take(new, protected, broken)
        yield "store", f"block {block}", (txn, me)
        places = list(new.places)
        retired = (*new.retired, (places[n][0], txn))
        places[n] = (block, (txn, me))
        new = new._replace(places=tuple(places), retired=retired)
    return new._replace(txn=txn)


def publish(root: Root, broken: str) -> Steps:
    if broken == "the epoch is stored after the root":
        yield "store", "epoch", root.txn
    yield "store", "root", root
    if broken != "the epoch is stored after the root":
        yield "store", "epoch", root.txn


def writer(
    *plan: int,
    me: str = "a writer",
    looks: Sequence[str] = ("pin 0",),
    scans: Sequence[int] | None = None,
    broken: str = "",
) -> Thread:
    """Each transaction replaces the piece that `plan` says, after a scan where `scans` says so."""

    def thread() -> Steps:
        protected = Protected()
        for n, piece in enumerate(plan):
            yield ("here",)
            if broken != "the lock is a fence":
                yield from lock(me)
            root = yield "load", "root"
            if scans is None or n in scans:
                scanned = root.txn + (broken == "a scan tells of what was stored before it")
                protected = yield from scan(scanned, looks, broken)
                del scanned
            root = yield from transact(me, root, piece, protected, broken)
            yield from publish(root, broken)
            del root
            if broken != "the lock is a fence":
                yield from unlock(me)

    return thread
