"""`List` where it differs from list: commits, editing, iteration while it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import emmap
from locks.company import Worker
from mapping.peer import Peer


@pytest.fixture
def items(store: emmap.Store) -> emmap.List[Any]:
    return store.list("l")


def test_one_commit_for_one_call(store: emmap.Store, items: emmap.List[Any]) -> None:
    calls: list[Callable[[], object]] = [
        lambda: items.append(1),
        lambda: items.extend(range(1000)),
        lambda: items.insert(500, "x"),
        lambda: items.__iadd__([1, 2]),
        lambda: items.__imul__(2),
        lambda: items.reverse(),
        lambda: items.remove("x"),
        lambda: items.sort(key=str),
        lambda: items.__setitem__(slice(10, 20), range(100)),
        lambda: items.__setitem__(slice(0, 100, 2), range(50)),
        lambda: items.__delitem__(slice(0, 100, 3)),
        lambda: items.pop(7),
        lambda: items.clear(),
    ]
    for call in calls:
        before = store.statistics().transaction
        call()
        # What is read inside a transaction takes a number, too.
        assert before < store.statistics().transaction <= before + 3


def test_no_commit_where_nothing_changes(store: emmap.Store, items: emmap.List[Any]) -> None:
    items.extend([1, 2])
    before = store.statistics().transaction
    items.extend([])
    items += []
    assert items.index(2) == 1
    assert items[0:1] == [1]
    for call in (
        lambda: items.__setitem__(5, 1),
        lambda: items.pop(9),
        lambda: items.extend([1, object()]),
        lambda: items.__setitem__(slice(0, 1), [1, object()]),
        lambda: items.sort(key=lambda value: value.no),
    ):
        with pytest.raises((IndexError, TypeError, AttributeError)):
            call()
    assert store.statistics().transaction == before
    assert items == [1, 2]


def test_a_source_that_fails_changes_nothing(items: emmap.List[Any]) -> None:
    items.extend([1, 2])

    def source() -> Iterator[int]:
        yield 5
        raise ZeroDivisionError

    calls: list[Callable[[], object]] = [
        lambda: items.extend(source()),
        lambda: items.__iadd__(source()),
        lambda: items.__setitem__(slice(0, 1), source()),
    ]
    for call in calls:
        with pytest.raises(ZeroDivisionError):
            call()
    assert items == [1, 2]


@pytest.mark.parametrize("value", [object(), {1: object()}, [print]])
def test_what_is_no_value_is_refused_with_a_way_out(items: emmap.List[Any], value: Any) -> None:
    items.append(1)
    calls: list[Callable[[], object]] = [
        lambda: items.append(value),
        lambda: items.insert(0, value),
        lambda: items.__setitem__(0, value),
        lambda: items.extend([2, value]),
        lambda: items.__setitem__(slice(None), [2, value]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="type="):
            call()
    assert items == [1]


# edit


def test_edit_writes_back(items: emmap.List[Any]) -> None:
    items.extend([[1], {"a": 1}])
    with items.edit(0) as value:
        value.append(2)
        assert items[0] == [1], "not before the block ends"
    with items.edit(-1) as value:
        value["b"] = 2
    assert items == [[1, 2], {"a": 1, "b": 2}]


def test_edit_that_raises_writes_nothing(items: emmap.List[Any]) -> None:
    items.append([1])
    with pytest.raises(ZeroDivisionError), items.edit(0) as value:  # noqa: PT012
        value.append(2)
        raise ZeroDivisionError
    with pytest.raises(TypeError), items.edit(0) as value:
        value.append(object())
    for index in (1, -2, 2**70):
        with pytest.raises(IndexError), items.edit(index):
            pass
    with pytest.raises(TypeError), items.edit("a"):  # type: ignore[arg-type]
        pass
    assert items == [[1]]
    items.append(2)  # nobody holds the lock


def test_edits_of_two_processes(store: emmap.Store, items: emmap.List[Any]) -> None:
    items.append(0)
    items.append([])
    with Peer() as peer:
        peer(f"import emmap; items = emmap.Store({store.path!r}).list('l')")
        peer("def edit(i):\n with items.edit(1) as value: value.append(i)")
        peer.begin("for i in range(300): edit(i)")
        for i in range(300, 600):
            with items.edit(1) as value:
                value.append(i)
        peer.end()
    assert sorted(items[1]) == list(range(600))


# Iteration while it changes


@pytest.mark.parametrize("way", [iter, reversed])
def test_an_iterator_sees_the_moment_at_which_it_began(
    items: emmap.List[Any], way: Callable[[Any], Iterator[Any]]
) -> None:
    content = [i if i % 2 else "x" * (i % 50) for i in range(1000)]
    changes: list[Callable[[], object]] = [
        items.clear,
        items.reverse,
        lambda: items.extend(range(500)),
        lambda: items.__delitem__(slice(0, 900)),
        lambda: items.__setitem__(slice(0, 1000, 10), [None] * 100),
    ]
    for change in changes:
        items[:] = content
        iterator = way(items)
        seen = [next(iterator)]
        change()
        seen += iterator
        assert seen == list(way(content))
        assert next(iterator, None) is None


def test_appending_to_what_one_iterates_over_ends(items: emmap.List[Any]) -> None:
    items.extend([1, 2, 3])
    for value in items:
        items.append(value)
    items.extend(value * 10 for value in items)
    assert items == [1, 2, 3, 1, 2, 3, 10, 20, 30, 10, 20, 30]


def test_readers_of_an_update_see_all_or_nothing(
    store: emmap.Store, items: emmap.List[Any]
) -> None:
    items[:] = [0] * 200
    with Peer() as peer:
        peer(f"import emmap; items = emmap.Store({store.path!r}).list('l')")
        peer.begin("for n in range(1, 100): items[:] = [n] * (200 + n)")
        seen = 0
        while seen < 99:
            now = items.copy()
            assert len(set(now)) == 1
            assert len(now) == 200 + now[0]
            assert now[0] >= seen
            seen = now[0]
        peer.end()


# Hostile calls


class Closing:
    """An index that closes the store, or changes the list, while it is asked for."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __index__(self) -> int:
        self.act()
        return 0


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "item": lambda items, index: items[index],
    "slice": lambda items, index: items[index : index or None],
    "set": lambda items, index: items.__setitem__(index, 5),
    "set slice": lambda items, index: items.__setitem__(slice(index, None), [5]),
    "delete": lambda items, index: items.__delitem__(index),
    "delete slice": lambda items, index: items.__delitem__(slice(index, None)),
    "insert": lambda items, index: items.insert(index, 5),
    "pop": lambda items, index: items.pop(index),
    "*=": lambda items, index: items.__imul__(index),
    "index": lambda items, index: items.index(1, index),
    "edit": lambda items, index: items.edit(index).__enter__(),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_index_that_closes_the_store(
    store: emmap.Store, items: emmap.List[Any], name: str
) -> None:
    items.extend([1, 2, 3])
    with pytest.raises(emmap.ClosedError):
        CALLS[name](items, Closing(store.close))
    assert emmap.Store(store.path).list("l") == [1, 2, 3]


@pytest.mark.parametrize("name", [name for name in CALLS if name != "*="])
def test_an_index_that_empties_the_list(items: emmap.List[Any], name: str) -> None:
    items.extend([1, 2, 3])
    try:
        CALLS[name](items, Closing(items.clear))
    except (IndexError, ValueError):
        assert items == []
    else:
        assert items.copy() in ([], [5])


def test_values_that_change_the_list_while_they_are_compared(items: emmap.List[Any]) -> None:
    class Jealous:
        def __eq__(self, other: object) -> bool:
            items.clear()
            return False

        __hash__ = None  # type: ignore[assignment]

    items.extend(range(100))
    assert Jealous() not in items
    assert not items
    for call in (items.index, items.remove):
        items.extend(range(100))
        with pytest.raises(ValueError, match="not in list"):
            call(Jealous())
        assert not items
    items.extend(range(100))
    assert items.count(Jealous()) == 0


def test_a_key_that_changes_the_list_while_it_is_sorted(items: emmap.List[Any]) -> None:
    """list raises ValueError then; ours too, and keeps what the key function has done, or waits."""
    items.extend([3, 1, 2])

    def key(value: int) -> int:
        items.append(9)
        return value

    try:
        items.sort(key=key)
    except ValueError:
        assert items[:3] == [3, 1, 2]
    else:
        assert sorted(items[:3]) == [1, 2, 3]


# Threads and processes


def test_threads_append(items: emmap.List[Any]) -> None:
    def work(who: int) -> None:
        for i in range(500):
            items.append((who, i))

    for worker in [Worker(lambda i=i: work(i)) for i in range(4)]:  # type: ignore[misc]
        assert worker.end() is None
    assert sorted(items) == [(who, i) for who in range(4) for i in range(500)]
    for who in range(4):
        assert [i for by, i in items if by == who] == list(range(500))


def test_processes_take_from_one_list(store: emmap.Store, items: emmap.List[Any]) -> None:
    items.extend(range(1000))
    peers = [Peer() for _ in range(2)]
    program = """
def take():
    taken = []
    while True:
        try:
            taken.append(items.pop(0))
        except IndexError:
            return taken
"""
    try:
        for peer in peers:
            peer(f"import emmap; items = emmap.Store({store.path!r}).list('l')")
            peer(program)
        for peer in peers:
            peer.begin("take()")
        taken = [peer.end() for peer in peers]
    finally:
        for peer in peers:
            peer.kill()
    assert sorted(taken[0] + taken[1]) == list(range(1000))
    assert all(each == sorted(each) for each in taken)


def test_a_list_that_was_deleted(store: emmap.Store, items: emmap.List[Any]) -> None:
    items.extend([1, 2])
    iterator = iter(items)
    del store["l"]
    for use in (
        lambda: items[0],
        lambda: len(items),
        lambda: list(items),
        lambda: items.append(1),
        lambda: items.sort(),
        lambda: items == [],
    ):
        with pytest.raises(KeyError, match="'l'"):
            use()
    assert list(iterator) == [1, 2]
