"""`List` does what list does."""

from __future__ import annotations

import collections.abc
import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import emmap
from store.twins import Call, agree, outcome

CONTENT: list[Any] = [
    *(3, "b", 1, None, 2.5, [1, (2,)], b"x" * 14, b"x" * 15, "é" * 40, {"k": {1}}, 2**70, True),
    *(3, "b", ("t", 1), "x" * 5000),
]
N = len(CONTENT)
ENDS = [None, 0, 1, 5, N - 1, N, N + 5, -1, -3, -N, -N - 5, 2**62, -(2**62), 2**100]
STEPS = [None, 1, 2, 3, 7, -1, -2, -5, 2**62, -(2**100)]
SLICES = [
    slice(start, stop, step)
    for start, stop, step in random.Random(3).sample(
        list(itertools.product(ENDS, ENDS, STEPS)), 120
    )
]
SLICES += [slice(None), slice(0, 0), slice(2, 5), slice(5, 2), slice(None, None, -1)]
SLICES += [slice(None, None, 0), slice("a", None), slice(1.0, 2)]


class Index:
    """What is no int, but says that it is one."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __index__(self) -> int:
        return self.n


def match(items: Any) -> object:
    match items:
        case [first, _, *_, last]:
            return first, last
    return None


WANTED: list[Any] = [3, 3.0, "b", b"x" * 15, {"k": {1}}, "no", [], float("nan")]
READS: dict[str, Call] = {
    "len": len,
    "bool": bool,
    "items": lambda x: [x[i] for i in range(-N, N)],
    "item behind": lambda x: x[N],
    "item before": lambda x: x[-N - 1],
    "item far behind": lambda x: x[2**62],
    "item too far behind": lambda x: x[2**64],
    "item too far before": lambda x: x[-(2**100)],
    "item by index": lambda x: x[Index(1)],
    "item by bool": lambda x: x[True],
    "item by str": lambda x: x["a"],
    "item by float": lambda x: x[1.0],
    "item by None": lambda x: x[None],
    "item by tuple": lambda x: x[1, 2],
    "in": lambda x: [value in x for value in WANTED],
    "not in": lambda x: [3 not in x, 4 not in x],
    "iteration": list,
    "tuple": tuple,
    "reversed": lambda x: list(reversed(x)),
    "unpacked": lambda x: [*x],
    "enumerate": lambda x: list(enumerate(x)),
    "zip": lambda x: list(zip(x, x, strict=True)),
    "match": match,
    "index": lambda x: [x.index(3), x.index("b"), x.index([1, (2,)])],
    "index of nothing": lambda x: x.index("no"),
    "index from": lambda x: [x.index(3, 1), x.index(3, -4), x.index("b", -100)],
    "index from too far": lambda x: x.index(3, N),
    "index between": lambda x: x.index(3, 1, 5),
    "index between ends": lambda x: [x.index(1, 0, 3), x.index(1, -N, -1), x.index(3, 0, 2**70)],
    "index of nothing to str": lambda x: x.index(3, "a"),
    "count": lambda x: [x.count(value) for value in (3, "b", None, "no", True, 1.0)],
    "==": lambda x: [x == CONTENT, x == CONTENT[:-1], x == [*CONTENT, 1], x == []],
    "== tuple": lambda x: [x == tuple(CONTENT), x == None, x == 5, x == {}],  # noqa: E711
    "== turned": lambda x: [CONTENT == x, [] == x, (1,) == x],  # noqa: SIM300
    "!=": lambda x: [x != CONTENT, x != [], x != [*CONTENT[:-1], "y"]],
    "<": lambda x: [x < [3, "c"], x < [3], x < [3, "b"], x < [*CONTENT, 0], x < CONTENT],
    "<=": lambda x: [x <= [4], x <= CONTENT, x <= []],
    ">": lambda x: [x > [3, "a"], x > [3], x > CONTENT[:-1], x > CONTENT, x > [5]],
    ">=": lambda x: [x >= CONTENT, x >= [4]],
    "< of others": lambda x: x < ["text"],
    "< tuple": lambda x: x < (4,),
    "turned <": lambda x: [[2] < x, [4] > x, CONTENT >= x],  # noqa: SIM300
    "hash": hash,
    "+": lambda x: x + [1, 2],  # noqa: RUF005
    "+ turned": lambda x: [1, 2] + x,  # noqa: RUF005
    "+ itself": lambda x: x + x,
    "+ tuple": lambda x: x + (1,),  # noqa: RUF005
    "+ None": lambda x: x + None,
    "*": lambda x: [x * 2, 2 * x, x * 0, x * -1, x * True],
    "* str": lambda x: x * "a",
    "* itself": lambda x: x * x,
    "copy": lambda x: x.copy(),
    "sorted": lambda x: sorted(x, key=repr),
    "call": lambda x: x(),
    "attribute": lambda x: x.no_such_thing,
    "min": lambda x: min(x, key=repr),
}
READS |= {f"slice {n} {s}": lambda x, s=s: x[s] for n, s in enumerate(SLICES)}  # type: ignore[misc]

WRITES: dict[str, Call] = {
    "set": lambda x: x.__setitem__(1, "new"),
    "set last": lambda x: x.__setitem__(-1, "y" * 100_000),
    "set all": lambda x: [x.__setitem__(i, [i, "z" * i]) for i in range(-N, N)],
    "set by index": lambda x: x.__setitem__(Index(-2), 5),
    "set behind": lambda x: x.__setitem__(N, 1),
    "set before": lambda x: x.__setitem__(-N - 1, 1),
    "set too far": lambda x: x.__setitem__(2**64, 1),
    "set by str": lambda x: x.__setitem__("a", 1),
    "delete": lambda x: x.__delitem__(1),
    "delete last": lambda x: x.__delitem__(-1),
    "delete behind": lambda x: x.__delitem__(N),
    "delete before": lambda x: x.__delitem__(-N - 1),
    "delete by float": lambda x: x.__delitem__(1.0),
    "delete one by one": lambda x: [x.__delitem__(0) for _ in range(len(x))],
    "append": lambda x: x.append("new"),
    "append itself": lambda x: x.append(x.copy()),
    "insert first": lambda x: x.insert(0, "new"),
    "insert": lambda x: x.insert(5, [1]),
    "insert at ends": lambda x: [x.insert(i, i) for i in (N, N + 5, -1, -N, -N - 50, 2**62)],
    "insert too far": lambda x: x.insert(2**64, 1),
    "insert by index": lambda x: x.insert(Index(2), 1),
    "insert by str": lambda x: x.insert("a", 1),
    "extend": lambda x: x.extend([1, "two", (3,)]),
    "extend by generator": lambda x: x.extend(str(i) for i in range(100)),
    "extend by nothing": lambda x: x.extend([]),
    "extend by str": lambda x: x.extend("abc"),
    "extend by dict": lambda x: x.extend({"a": 1}),
    "extend by itself": lambda x: x.extend(x),
    "extend by number": lambda x: x.extend(5),
    "+=": lambda x: x.__iadd__([1, 2]),
    "+= itself": lambda x: x.__iadd__(x),
    "+= str": lambda x: x.__iadd__("abc"),
    "+= number": lambda x: x.__iadd__(5),
    "*=": lambda x: x.__imul__(3),
    "*= 1": lambda x: x.__imul__(1),
    "*= 0": lambda x: x.__imul__(0),
    "*= -1": lambda x: x.__imul__(-1),
    "*= str": lambda x: x.__imul__("a"),
    "pop": lambda x: [x.pop(), x.pop()],
    "pop first": lambda x: [x.pop(0), x.pop(0)],
    "pop at": lambda x: [x.pop(5), x.pop(-3), x.pop(-len(x))],
    "pop by index": lambda x: x.pop(Index(1)),
    "pop behind": lambda x: x.pop(N),
    "pop before": lambda x: x.pop(-N - 1),
    "pop by str": lambda x: x.pop("a"),
    "pop one by one": lambda x: [x.pop() for _ in range(len(x))],
    "remove": lambda x: x.remove("b"),
    "remove nothing": lambda x: x.remove("no"),
    "clear": lambda x: x.clear(),
    "clear twice": lambda x: (x.clear(), x.clear(), len(x), list(x), x.append(1)),
    "reverse": lambda x: x.reverse(),
    "sort": lambda x: x.sort(key=repr),
    "sort reversed": lambda x: x.sort(key=repr, reverse=True),
    "sort stably": lambda x: x.sort(key=lambda value: len(str(value))),
    "sort stably reversed": lambda x: x.sort(key=lambda value: len(str(value)), reverse=True),
    "sort what has no order": lambda x: x.sort(),
    "sort with a bad key": lambda x: x.sort(key=lambda value: value.no),
    "sort positional": lambda x: x.sort(repr),
    "sort without a key": lambda x: (x.clear(), x.extend([3, 1, 2]), x.sort(), x.sort(key=None)),
}
for number, s in enumerate(SLICES):
    WRITES |= {
        f"delete slice {number} {s}": lambda x, s=s: x.__delitem__(s),  # type: ignore[misc]
        f"set slice {number} {s}": lambda x, s=s: x.__setitem__(s, ["n", [2]]),  # type: ignore[misc]
        f"set slice to itself {number} {s}": lambda x, s=s: x.__setitem__(s, x[s]),  # type: ignore[misc]
    }
for s in (slice(2, 5), slice(5, 2), slice(None), slice(None, None, 2), slice(N, None)):
    WRITES |= {
        f"set {s} to nothing": lambda x, s=s: x.__setitem__(s, []),  # type: ignore[misc]
        f"set {s} to many": lambda x, s=s: x.__setitem__(s, range(200)),  # type: ignore[misc]
        f"set {s} to all": lambda x, s=s: x.__setitem__(s, x),  # type: ignore[misc]
        f"set {s} to a generator": lambda x, s=s: x.__setitem__(s, iter("abc")),  # type: ignore[misc]
        f"set {s} to a number": lambda x, s=s: x.__setitem__(s, 5),  # type: ignore[misc]
    }


@pytest.fixture(params=["by itself", "in a transaction", "in a savepoint"])
def make(request: pytest.FixtureRequest, store: emmap.Store) -> Iterator[Callable[[], Any]]:
    """Makes a list of this content, for calls in this place."""

    def make() -> emmap.List[Any]:
        items = store.list("l")
        items[:] = CONTENT
        return items

    if request.param == "by itself":
        yield make
    elif request.param == "in a transaction":
        with store.transaction():
            yield make
    else:
        with store.transaction():
            make()
            with store.transaction():
                yield make


def agree_about(name: str, call: Call, plain: list[Any], ours: Any) -> None:
    try:
        agree(call, plain, ours)
    except AssertionError as error:
        raise AssertionError(name) from error


def test_reads(store: emmap.Store) -> None:
    items = store.list("l")
    items.extend(CONTENT)
    for name, call in READS.items():
        agree_about(name, call, list(CONTENT), items)


def test_reads_of_a_snapshot(store: emmap.Store) -> None:
    store.list("l").extend(CONTENT)
    with store.snapshot() as snapshot:
        store.list("l").clear()
        for name, call in READS.items():
            agree_about(name, call, list(CONTENT), snapshot.list("l"))


def test_reads_of_nothing(store: emmap.Store) -> None:
    for name, call in READS.items():
        agree_about(name, call, [], store.list("l"))


def test_writes(make: Callable[[], Any]) -> None:
    for name, call in WRITES.items():
        agree_about(name, call, list(CONTENT), make())


def test_writes_to_nothing(store: emmap.Store) -> None:
    items = store.list("l")
    for name, call in WRITES.items():
        items.clear()
        agree_about(name, call, [], items)


def test_no_writes_to_a_snapshot(store: emmap.Store) -> None:
    store.list("l").extend(CONTENT)
    with store.snapshot() as snapshot:
        items = snapshot.list("l")
        for call in WRITES.values():
            outcome(call, items)
            assert items == CONTENT
        for write in ("set", "delete", "append", "insert", "extend", "pop", "clear", "reverse"):
            assert isinstance(outcome(WRITES[write], items), TypeError), write
    assert store.list("l") == CONTENT


def test_lists_are_compared(store: emmap.Store) -> None:
    one, other = store.list("one"), store.list("other")
    assert one == other
    one += [1, 2]
    assert one > other
    other += [1, 3]
    assert one < other
    assert one <= other
    assert one != other
    other[1] = 2.0
    assert one == other
    assert one >= other
    with pytest.raises(TypeError):
        assert one < ["a"]


def test_it_is_a_mutable_sequence(store: emmap.Store) -> None:
    items = store.list("many")
    assert isinstance(items, collections.abc.MutableSequence)
    assert isinstance(items, emmap.List)
    assert items.name == "many"
    assert "many" in repr(items)
    items.append([1, "b"])
    assert "[[1, 'b']]" in repr(items)


def test_values_are_copies(store: emmap.Store) -> None:
    items = store.list("l")
    items.append([1])
    items[0].append(2)
    items.copy()[0].append(2)
    next(iter(items)).append(2)
    items[:][0].append(2)
    assert items == [[1]]
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            way(items)


@pytest.mark.parametrize("place", ["end", "start", "middle", "anywhere"])
def test_thousands(store: emmap.Store, place: str) -> None:
    """Grown and shrunk at one place, element by element."""
    items, chance = store.list("l"), random.Random(7)
    plain: list[Any] = []
    for grows in (True, False):
        with store.transaction():
            for i in range(3000):
                n = len(plain)
                at = {"end": n, "start": 0, "middle": n // 2, "anywhere": chance.randrange(n + 1)}
                index = at[place]
                if grows:
                    value = i if i % 3 else "v" * (i % 40)
                    items.insert(index, value)
                    plain.insert(index, value)
                else:
                    index = min(index, n - 1)
                    assert items.pop(index) == plain.pop(index)
        assert len(items) == len(plain)
        assert items == plain
        assert list(reversed(items)) == plain[::-1]
        assert all(items[i] == plain[i] for i in range(0, len(plain), 7))


def test_slices_of_thousands(store: emmap.Store) -> None:
    items, chance = store.list("l"), random.Random(11)
    plain: list[Any] = list(range(5000))
    items.extend(plain)
    for _ in range(150):
        start, stop = (chance.randrange(-10, len(plain) + 10) for _ in range(2))
        step = chance.choice([1, 1, 1, 2, 3, 50, -1, -7])
        s = slice(start, stop, step)
        assert items[s] == plain[s]
        call = chance.randrange(3)
        if call == 0 and len(plain) > 2000:
            del items[s], plain[s]
        elif call == 1:
            items[s] = plain[s] = [chance.randrange(10**6) for _ in plain[s]]
        elif step == 1:
            items[s] = plain[s] = ["n"] * chance.randrange(700)
        assert items == plain
