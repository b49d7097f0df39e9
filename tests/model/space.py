"""Space as a model: space.c, queue.c and commit.c on a file of a few units, store by store.

A writer who is killed has done some of his stores, in their order, and no more: so a list of the
files after each of them has all that a kill can leave. `broken` names the part of the protocol that
is not to hold. How it is known which roots are read is another model's matter: pins.py.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from model.explore import Violation

SMALL, MIDDLE, LARGE, HELD = range(4)  # classes, and the queue of blocks that somebody holds
UNITS = (1, 1, 2)  # of a block
CHUNK = MIDDLE
ENTRIES = 2  # in a chunk
MOVES = 2  # to `held`, in one allocation
SWEEP = 2  # looks at `held`, in one commit
DEEP = 20


class Fifo(NamedTuple):
    head: int = 0
    tail: int = 0
    n: int = 0
    head_i: int = 0
    tail_i: int = 0


class Entry(NamedTuple):
    block: int
    txn: int
    size: int  # its class


class Chunk(NamedTuple):
    next: int = 0
    entries: tuple[Entry | None, ...] = (None,) * ENTRIES


class Space(NamedTuple):
    txn: int = 0
    base: int = 0
    frontier: int = 0
    changed: frozenset[int] = frozenset()
    fifos: tuple[Fifo, ...] = (Fifo(),) * 4


class Item(NamedTuple):
    block: int
    size: int
    body: Any


class Root(NamedTuple):
    txn: int
    items: tuple[tuple[str, Item], ...]  # the root record is one of them


class File(NamedTuple):
    root: Root
    spaces: tuple[Space, Space]
    headers: tuple[tuple[int, int], ...]  # of the blocks that begin in each unit: birth and class
    bodies: tuple[Any, ...]  # of each unit
    pinned: frozenset[Root] = frozenset()


def create(units: int = 120) -> File:
    """As emmap_store_create: nothing but a root record. Unit 0 is none."""
    record = Item(1, SMALL, "root 1")
    headers = ((0, 0), (1, SMALL), *[(0, 0)] * (units - 2))
    bodies = ("", record.body, *[""] * (units - 2))
    root = Root(1, (("root", record),))
    return File(root, (Space(1, 0, 2), Space()), headers, bodies)


def true_space(file: File) -> int:
    for i in (0, 1):
        if file.spaces[i].txn == file.root.txn:
            return i
    raise Violation("no space is the live root's")


def check(file: File) -> None:
    """emmap_check: each unit is reached, in one queue, or a queue's own; what is read is whole."""
    for root in (file.root, *file.pinned):
        for name, item in root.items:
            if set(file.bodies[item.block : item.block + UNITS[item.size]]) != {item.body}:
                raise Violation(f"{name} of root {root.txn} was overwritten")
    space = file.spaces[true_space(file)]
    units = Counter(
        unit
        for _, item in file.root.items
        for unit in range(item.block, item.block + UNITS[item.size])
    )
    for queue, fifo in enumerate(space.fifos):
        units.update(units_of_queue(file, queue, fifo))
    whose = dict.fromkeys(range(1, space.frontier), 1)
    if units != whose:
        twice = sorted(unit for unit in units if units[unit] > 1 or unit not in whose)
        lost = sorted(set(whose) - set(units))
        raise Violation(f"units that have two owners: {twice}; lost: {lost}")


def units_of_queue(file: File, queue: int, fifo: Fifo) -> Iterator[int]:
    at, i, left = fifo.head, fifo.head_i, fifo.n
    while at:
        yield at
        chunk = file.bodies[at]
        if not isinstance(chunk, Chunk):
            raise Violation(f"chunk {at} of queue {queue} was overwritten")
        for entry in chunk.entries[i : fifo.tail_i if at == fifo.tail else ENTRIES]:
            if entry is None or queue not in (entry.size, HELD):
                raise Violation(f"queue {queue} has a wrong entry: {entry}")
            left -= 1
            yield from range(entry.block, entry.block + UNITS[entry.size])
        if at == fifo.tail:
            break
        at, i = chunk.next, 0
    if left:
        raise Violation(f"queue {queue} has {left} entries less than it says")


class Transaction:
    """struct emmap_txn, and its functions. `stored` is told the file after each store."""

    def __init__(self, file: File, stored: Callable[[File], None], broken: str = "") -> None:
        self.file, self.stored, self.broken = file, stored, broken
        self.base = self.scanned = file.root.txn
        self.txn = self.base + 1
        self.items = dict(file.root.items)
        self.retired: list[Entry] = []
        self.dropped: list[Entry] = []
        self.protected = {root.txn for root in file.pinned}
        self.deep = 0
        self._begin()

    # Stores

    def store(self, **changes: Any) -> None:
        self.file = self.file._replace(**changes)
        self.stored(self.file)

    def store_body(self, at: int, body: Any) -> None:
        bodies = self.file.bodies
        self.store(bodies=(*bodies[:at], body, *bodies[at + 1 :]))

    def store_header(self, at: int, size: int) -> None:
        headers = self.file.headers
        self.store(headers=(*headers[:at], (self.txn, size), *headers[at + 1 :]))

    def change_space(self, **changes: Any) -> None:
        spaces = list(self.file.spaces)
        spaces[self.mine] = spaces[self.mine]._replace(**changes)
        self.store(spaces=tuple(spaces))

    def change_fifo(self, queue: int, **changes: int) -> None:
        fifos = list(self.space.fifos)
        fifos[queue] = fifos[queue]._replace(**changes)
        self.change_space(fifos=tuple(fifos), changed=self.space.changed | {queue})

    @property
    def space(self) -> Space:
        return self.file.spaces[self.mine]

    # Begin and end

    def _begin(self) -> None:
        self.mine = 1 - true_space(self.file)
        before, other = self.file.spaces[1 - self.mine], self.space
        copied = set(range(HELD))
        follows = other.txn == before.base
        if before.base == 0 and self.broken != "before the first there is none":
            follows = False
        if follows or self.broken == "all is copied where it is not the one before":
            copied = set(before.changed)
        if self.broken != "it counts no more while it is filled":
            self.change_space(txn=0)
        for queue in sorted(copied | ({HELD} - {HELD if self.broken == "held is copied" else 0})):
            self.change_fifo(queue, **before.fifos[queue]._asdict())
        self.change_space(base=self.base, frontier=before.frontier, changed=frozenset())

    def commit(self) -> None:
        record = self.allocate(SMALL)
        body = f"root {self.txn}"
        self.store_body(record, body)
        self.retire(self.items["root"])
        self.items["root"] = Item(record, SMALL, body)
        root = Root(self.txn, tuple(sorted(self.items.items())))
        if self.broken == "the queues are complete before the root is stored":
            self.change_space(txn=self.txn)
            self.store(root=root)
        self._end()
        if self.broken == "the space has its number before the root is stored":
            self.store(root=root)
        self.change_space(txn=self.txn)
        self.store(root=root)

    def _end(self) -> None:
        self.sweep()
        i = 0
        while True:
            for block, _, size in self.retired[i:]:
                self.append(size, Entry(block, self.txn, size))
                i += 1
            if i < len(self.retired):
                continue
            if not self.dropped:
                return
            block, _, size = self.dropped.pop()
            self.append(size, Entry(block, self.txn, size))

    def sweep(self) -> None:
        if self.broken == "held is looked at again":
            return
        for _ in range(min(SWEEP, self.space.fifos[HELD].n)):
            entry = self.head(HELD)
            self.append(entry.size if self.is_free(entry) else HELD, entry)
            self.pop(HELD)

    # Blocks

    def allocate(self, size: int, *, chunk: bool = False) -> int:
        at = self.take_dropped(size)
        at = at or self.take_free(size, moves=0 if chunk else MOVES)
        if not at and not chunk:
            at = self.take_larger(size)
        if not at:
            at = self.space.frontier
            if at + UNITS[size] > len(self.file.bodies):
                raise Violation("the file is too short")
            self.change_space(frontier=at + UNITS[size])
        self.store_header(at, size)
        return at

    def take_dropped(self, size: int) -> int:
        for i, entry in enumerate(self.dropped):
            if entry.size == size:
                del self.dropped[i]
                return entry.block
        return 0

    def take_free(self, size: int, *, moves: int) -> int:
        if self.broken == "for a chunk nothing is moved":
            moves = MOVES
        while self.space.fifos[size].n:
            entry = self.head(size)
            if self.is_free(entry):
                self.pop(size)
                return entry.block
            if moves == 0 or entry.txn > self.scanned:
                return 0
            moves -= 1
            self.append(HELD, entry)
            self.pop(size)
        return 0

    def take_larger(self, size: int) -> int:
        at = self.take_free(LARGE, moves=MOVES) if size < LARGE else 0
        if at:
            rest = at + UNITS[size]
            self.store_header(rest, SMALL)
            self.dropped.append(Entry(rest, 0, SMALL))
        return at

    def is_free(self, entry: Entry) -> bool:
        birth = self.file.headers[entry.block][0]
        held = any(birth <= p < entry.txn for p in self.protected)
        return entry.txn <= self.scanned and not held

    def retire(self, item: Item | Entry) -> None:
        entry = Entry(item.block, 0, item.size)
        if self.is_ours(item.block) or self.broken == "what it replaces waits for the next":
            self.dropped.append(entry)
        else:
            self.retired.append(entry)

    def is_ours(self, block: int) -> bool:
        return self.file.headers[block][0] == self.txn

    # Queues

    def head(self, queue: int) -> Entry:
        fifo = self.space.fifos[queue]
        if fifo.head_i >= ENTRIES and fifo.head != fifo.tail:
            empty = fifo.head
            self.change_fifo(queue, head=self.chunk_at(empty).next, head_i=0)
            if self.broken == "an emptied chunk waits for the next":
                self.dropped.append(Entry(empty, 0, CHUNK))
            else:
                self.retire(Entry(empty, 0, CHUNK))
            fifo = self.space.fifos[queue]
        chunk = self.chunk_at(fifo.head)
        entry = chunk.entries[fifo.head_i] if fifo.head_i < ENTRIES else None
        if entry is None:
            raise Violation(f"queue {queue} ends before its last entry")
        if self.broken == "the class stands in the entry":
            entry = entry._replace(size=self.file.headers[entry.block][1])
            if queue not in (entry.size, HELD):
                raise Violation(f"queue {queue} has a wrong entry: {entry}")
        return Entry(*entry)

    def chunk_at(self, at: int) -> Chunk:
        chunk = self.file.bodies[at]
        if isinstance(chunk, Chunk):
            return chunk
        raise Violation(f"chunk {at} was overwritten")

    def pop(self, queue: int) -> None:
        fifo = self.space.fifos[queue]
        self.change_fifo(queue, head_i=fifo.head_i + 1, n=fifo.n - 1)
        if fifo.n == 1 and self.broken == "appending goes on behind the tail":
            self.change_fifo(queue, head=fifo.tail, head_i=0, tail_i=0)

    def append(self, queue: int, entry: Entry) -> None:
        self.deep += 1
        if self.deep > DEEP:
            raise Violation("appending goes on without end")
        fifo = self.space.fifos[queue]
        if not fifo.tail or fifo.tail_i >= ENTRIES:
            at = self.allocate(CHUNK, chunk=True)
            self.store_body(at, Chunk())
            if fifo.tail:
                self.store_body(fifo.tail, self.chunk_at(fifo.tail)._replace(next=at))
                self.change_fifo(queue, tail=at, tail_i=0)
            else:
                self.change_fifo(queue, head=at, head_i=0, tail=at, tail_i=0)
        fifo = self.space.fifos[queue]
        chunk = self.chunk_at(fifo.tail)
        entries = list(chunk.entries)
        entries[fifo.tail_i] = entry
        self.store_body(fifo.tail, chunk._replace(entries=tuple(entries)))
        self.change_fifo(queue, tail_i=fifo.tail_i + 1, n=fifo.n + 1)
        self.deep -= 1

    # What the user does

    def put(self, name: str, body: Any) -> None:
        """ "a" is of the first class, "b1" of the next, and so on."""
        size = "abc".index(name[0])
        old = self.items.get(name)
        if old is not None and self.is_ours(old.block):
            at = old.block
        else:
            at = self.allocate(size)
            if old is not None:
                self.retire(old)
        for unit in range(at, at + UNITS[size]):
            self.store_body(unit, body)
        self.items[name] = Item(at, size, body)

    def remove(self, name: str) -> None:
        if name in self.items:
            self.retire(self.items.pop(name))

    def savepoint(self) -> tuple[Any, ...]:
        if self.broken != "what was dropped is not used again after a savepoint":
            self.retired += self.dropped
            self.dropped = []
        if self.broken != "a savepoint raises the number":
            self.txn += 1
        return self.space, dict(self.items), len(self.retired)

    def rollback_to(self, savepoint: tuple[Any, ...]) -> None:
        space, items, retired = savepoint
        self.change_space(**space._asdict())
        self.items = dict(items)
        del self.retired[retired:]
        if self.broken != "what was dropped since is forgotten":
            self.dropped = []
        self.txn += 1


def run(file: File, script: Sequence[str], broken: str = "") -> list[File]:
    """All files that a kill can leave; the last is the one after the whole script.

    A script's words are: "pin" the live root or "unpin" it, which comes first; "late", where the
    scan is older than the live root; "put a"; "remove a"; "make a", which is dropped at once;
    "save" and "back"; and in the end "commit", or nothing.
    """
    files: list[File] = []
    if script[0] in ("pin", "unpin"):
        file = file._replace(pinned=frozenset([file.root] if script[0] == "pin" else ()))
    transaction = Transaction(file, files.append, broken)
    saved: list[tuple[Any, ...]] = []
    for n, word in enumerate(script):
        match word.split():
            case ("late",):
                transaction.scanned = transaction.base - 1
            case "put", name:
                transaction.put(name, f"{name} of {transaction.txn}, step {n}")
            case "remove", name:
                transaction.remove(name)
            case "make", name:
                transaction.put(f"{name} passing", "nothing")
                transaction.remove(f"{name} passing")
            case ("save",):
                saved.append(transaction.savepoint())
            case ("back",) if saved:
                transaction.rollback_to(saved.pop())
            case ("commit",):
                transaction.commit()
    return files
