"""`Dict` does what dict does."""

from __future__ import annotations

import collections.abc
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import emmap
from mapping.peer import Peer
from store.company import OPEN
from store.twins import Call, agree, alike, in_any_order, outcome

CONTENT: dict[Any, Any] = {
    "a": 1,
    "b": [1, {"c": (2,)}],
    b"a": None,
    7: "seven",
    -1: b"",
    2**70: 2**80,
    "": 2.5,
    (): True,
    ("a", 1): {"x"},
    ("a", b"1"): "x" * 5000,
}


class Keyed:
    """All that `update` asks of a mapping."""

    def keys(self) -> list[str]:
        return ["a", "new"]

    def __getitem__(self, key: str) -> str:
        return key * 3


def match(d: Any) -> object:
    match d:
        case {"a": first, "b": [_, rest]}:
            return first, rest
    return None


READS: dict[str, Call] = {
    "len": len,
    "bool": bool,
    "item": lambda d: d["a"],
    "item of each kind of key": lambda d: [d[key] for key in CONTENT],
    "no item": lambda d: d["x"],
    "no item, bytes": lambda d: d[b""],
    "no item, int": lambda d: d[8],
    "no item, tuple": lambda d: d["a", 2],
    "no item, tuple of one": lambda d: d[("a",)],
    "get": lambda d: d.get("a"),
    "get nothing": lambda d: d.get("x"),
    "get default": lambda d: (d.get("x", 5), d.get("a", 5), d.get(b"a", 5)),
    "get without a key": lambda d: d.get(),
    "get too much": lambda d: d.get("a", 1, 2),
    "in": lambda d: [key in d for key in (*CONTENT, "x", b"b", 8, ("a",))],
    "not in": lambda d: ["a" not in d, "x" not in d],
    "iteration": in_any_order,
    "keys": lambda d: in_any_order(d.keys()),
    "values": lambda d: in_any_order(d.values()),
    "items": lambda d: in_any_order(d.items()),
    "one order": lambda d: list(zip(d.keys(), d.values(), strict=True)) == list(d.items()),
    "that order": lambda d: list(d) == list(d.keys()) == [key for key, _ in d.items()],
    "dict()": dict,
    "**": lambda d: dict(**{k: v for k, v in d.items() if type(k) is str and k}),
    "unpacked": lambda d: {**d},
    "match": match,
    "==": lambda d: d == CONTENT,
    "== turned": lambda d: CONTENT == d,  # noqa: SIM300
    "!=": lambda d: (d != CONTENT, d != {}, d != 5, d != None),  # noqa: E711
    "== more": lambda d: d == {**CONTENT, "x": 1},
    "== less": lambda d: d == {"a": 1},
    "== another": lambda d: d == {**CONTENT, "a": 2},
    "== another key": lambda d: d == {**dict(list(CONTENT.items())[1:]), "A": 1},
    "== something": lambda d: [d == other for other in (5, None, [], "a", list(CONTENT.items()))],
    "== itself": lambda d: d == d,
    "<": lambda d: d < {},
    ">=": lambda d: d >= CONTENT,
    "hash": hash,
    "|": lambda d: d | {"a": 9, "z": 1},
    "| turned": lambda d: {"a": 9, "z": 1} | d,
    "| itself": lambda d: d | d,
    "| pairs": lambda d: d | [("a", 9)],
    "| number": lambda d: d | 5,
    "+": lambda d: d + {},
    "copy": lambda d: d.copy(),
    "copied": lambda d: type(d.copy()) is dict and d.copy() is not d.copy(),
    "len of views": lambda d: [len(d.keys()), len(d.values()), len(d.items())],
    "in keys": lambda d: ["a" in d.keys(), "x" in d.keys(), 7 in d.keys()],  # noqa: SIM118
    "in values": lambda d: [v in d.values() for v in (1, None, {"x"}, "y", [1, {"c": (2,)}])],
    "in items": lambda d: [
        pair in d.items() for pair in (("a", 1), ("a", 2), ("x", 1), (b"a", None), ("x", None))
    ],
    "keys &": lambda d: d.keys() & {"a", 7, "x"},
    "keys & turned": lambda d: {"a", 7, "x"} & d.keys(),
    "keys |": lambda d: d.keys() | ["x"],
    "keys -": lambda d: d.keys() - {"a", 7, "x"},
    "keys - turned": lambda d: {"a", 7, "x"} - d.keys(),
    "keys ^": lambda d: d.keys() ^ {"a", "x"},
    "keys <=": lambda d: [d.keys() <= set(CONTENT), d.keys() < set(CONTENT), d.keys() <= {"a"}],
    "keys >=": lambda d: [d.keys() >= {"a"}, d.keys() > set(CONTENT), d.keys() >= {"x"}],
    "keys ==": lambda d: [d.keys() == set(CONTENT), d.keys() == {"a"}, d.keys() != {"a"}],
    "keys isdisjoint": lambda d: [d.keys().isdisjoint(["x"]), d.keys().isdisjoint({"a"})],
    "items &": lambda d: d.items() & {("a", 1), ("a", 2), (7, "seven")},
    "items >=": lambda d: [d.items() >= {("a", 1)}, d.items() >= {("a", 2)}],
    "items isdisjoint": lambda d: [d.items().isdisjoint([("a", 1)]), d.items().isdisjoint([])],
    "call": lambda d: d(),
    "attribute": lambda d: d.no_such_thing,
    "bad key, list": lambda d: d[[]],
    "bad key in a tuple": lambda d: d["a", []],
    "bad key in": lambda d: {} in d,
    "bad key get": lambda d: d.get([]),
}

WRITES: dict[str, Call] = {
    "set": lambda d: d.__setitem__("new", [1]),
    "replace": lambda d: d.__setitem__("a", {"other": 1}),
    "replace by longer": lambda d: d.__setitem__("a", "y" * 100_000),
    "replace by shorter": lambda d: d.__setitem__(("a", b"1"), 1),
    "replace by itself": lambda d: d.__setitem__("b", d["b"]),
    "set a tuple": lambda d: d.__setitem__((1, 2, "c", b"d"), 1),
    "set a bad key": lambda d: d.__setitem__([], 1),
    "set a long key": lambda d: d.__setitem__("k" * 10_000, 1),
    "delete": lambda d: d.__delitem__("a"),
    "delete nothing": lambda d: d.__delitem__("x"),
    "delete a tuple": lambda d: d.__delitem__(("a", 1)),
    "delete no tuple": lambda d: d.__delitem__(("a", 2)),
    "delete all": lambda d: [d.__delitem__(key) for key in CONTENT],
    "pop": lambda d: d.pop("b"),
    "pop nothing": lambda d: d.pop("x"),
    "pop default": lambda d: (d.pop("x", 5), d.pop("x", None), d.pop("a", 5)),
    "pop too much": lambda d: d.pop("x", 1, 2),
    "pop all": lambda d: [d.pop(key) for key in CONTENT],
    "popitem": lambda d: in_any_order(d.popitem() for _ in range(len(d))),
    "clear": lambda d: d.clear(),
    "clear twice": lambda d: (d.clear(), d.clear(), len(d), list(d)),
    "setdefault": lambda d: d.setdefault("a", 5),
    "setdefault new": lambda d: d.setdefault("new", [5]),
    "setdefault None": lambda d: (d.setdefault("new"), d.setdefault("new", 5), d.setdefault(b"a")),
    "update dict": lambda d: d.update({"a": 2, "new": 3}),
    "update pairs": lambda d: d.update([("a", 2), ["new", 3], (5, 6)]),
    "update generator": lambda d: d.update((i, i) for i in range(100)),
    "update names": lambda d: d.update(a=2, new=3),
    "update self=": lambda d: d.update(self=1, other=2),
    "update both": lambda d: d.update({"a": 2, "c": 3}, a=4),
    "update keyed": lambda d: d.update(Keyed()),
    "update itself": lambda d: d.update(d),
    "update its items": lambda d: d.update(d.items()),
    "update nothing": lambda d: (d.update(), d.update({}), d.update([])),
    "update twice the same": lambda d: d.update([("new", 1), ("new", 2)]),
    "update number": lambda d: d.update(5),
    "update no pairs": lambda d: d.update([("new", 1), 5]),
    "update triples": lambda d: d.update([("new", 1), (1, 2, 3)]),
    "update too much": lambda d: d.update({}, {}),
    "update bad key": lambda d: d.update([("new", 1), ([], 3)]),
    "|=": lambda d: d.__ior__({"a": 2, "new": 3}),
    "|= pairs": lambda d: d.__ior__([("a", 2)]),
    "|= itself": lambda d: d.__ior__(d),
    "|= number": lambda d: d.__ior__(5),
}


def agree_about(name: str, call: Call, plain: dict[Any, Any], ours: Any) -> None:
    try:
        agree(call, plain, ours)
    except AssertionError as error:
        raise AssertionError(name) from error


@pytest.fixture(params=["by itself", "in a transaction", "in a savepoint"])
def make(request: pytest.FixtureRequest, store: emmap.Store) -> Iterator[Callable[[], Any]]:
    """Makes a dict of this content, for calls in this place."""

    def make() -> emmap.Dict[Any, Any]:
        d = store.dict("d")
        d.clear()
        d.update(CONTENT)
        return d

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


def test_reads(make: Callable[[], Any]) -> None:
    d = make()
    for name, call in READS.items():
        agree_about(name, call, dict(CONTENT), d)


def test_reads_of_a_snapshot(store: emmap.Store) -> None:
    store.dict("d").update(CONTENT)
    with store.snapshot() as snapshot:
        store.dict("d").clear()
        for name, call in READS.items():
            agree_about(name, call, dict(CONTENT), snapshot.dict("d"))


def test_reads_of_nothing(store: emmap.Store) -> None:
    for name, call in READS.items():
        agree_about(name, call, {}, store.dict("d"))


def test_writes(make: Callable[[], Any]) -> None:
    for name, call in WRITES.items():
        agree_about(name, call, dict(CONTENT), make())


def test_writes_to_nothing(store: emmap.Store) -> None:
    d = store.dict("d")
    for name, call in WRITES.items():
        d.clear()
        if "all" not in name:
            agree_about(name, call, {}, d)


def test_writes_are_seen_by_others(store: emmap.Store, peer: Peer) -> None:
    d = store.dict("d")
    peer(OPEN)
    for name, call in WRITES.items():
        plain = dict(CONTENT)
        d.clear()
        d.update(CONTENT)
        if not isinstance(outcome(call, d), Exception):
            call(plain)
        assert alike(plain, peer("d.copy()")), name


def test_no_writes_to_a_snapshot(store: emmap.Store) -> None:
    store.dict("d").update(CONTENT)
    with store.snapshot() as snapshot:
        d = snapshot.dict("d")
        for call in WRITES.values():
            outcome(call, d)
            assert alike(CONTENT, d.copy())
        for write in ("set", "delete", "pop", "popitem", "clear", "setdefault new", "update dict"):
            assert isinstance(outcome(WRITES[write], d), TypeError), write
    assert alike(CONTENT, store.dict("d").copy())


# What a dict does in another way


def test_there_is_no_order_to_reverse(store: emmap.Store) -> None:
    d = store.dict("d")
    views: list[Any] = [d, d.keys(), d.values(), d.items()]
    for view in views:
        with pytest.raises(TypeError):
            reversed(view)


def test_what_is_no_key_is_refused_everywhere(store: emmap.Store) -> None:
    d = store.dict("d")
    d[1] = d[0] = 5
    keys: list[Any] = [None, True, False, 1.0, 1j, frozenset(), ("a", ("b",)), (1, None)]
    for key in keys:
        refused(d, key)
    assert d == {1: 5, 0: 5}


def refused(d: Any, key: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: d[key],
        lambda: d.__setitem__(key, 1),
        lambda: d.__delitem__(key),
        lambda: key in d,
        lambda: d.get(key),
        lambda: d.pop(key),
        lambda: d.pop(key, None),
        lambda: d.setdefault(key, 1),
        lambda: d.add(key),
        lambda: d.get_many([1, key]),
        lambda: d.update([(1, 6), (key, 1)]),
        lambda: d.edit(key).__enter__(),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("value", [object(), lambda: 1, {1: object()}, [1, [print]], type])
def test_what_is_no_value_is_refused_with_a_way_out(store: emmap.Store, value: Any) -> None:
    d = store.dict("d")
    d["a"] = 1
    for call in (
        lambda: d.__setitem__("a", value),
        lambda: d.setdefault("x", value),
        lambda: d.update({"a": 2, "x": value}),
        lambda: d.__ior__({"a": 2, "x": value}),
    ):
        with pytest.raises(TypeError, match="type="):
            call()
    assert d == {"a": 1}


def test_it_is_a_mutable_mapping(store: emmap.Store) -> None:
    d = store.dict("d")
    assert isinstance(d, collections.abc.MutableMapping)
    assert isinstance(d.keys(), collections.abc.KeysView)
    assert isinstance(d.values(), collections.abc.ValuesView)
    assert isinstance(d.items(), collections.abc.ItemsView)
    assert type(d).__name__ == "Dict"
    assert isinstance(d, emmap.Dict)


def test_it_tells_what_it_is(store: emmap.Store) -> None:
    d = store.dict("many")
    assert "many" in repr(d)
    d["a"] = [1, "b"]
    assert "{'a': [1, 'b']}" in repr(d)
    assert "'a'" in repr(d.keys())
    assert "[1, 'b']" in repr(d.values())
    assert "[1, 'b']" in repr(d.items())
    assert d.name == "many"


def test_dicts_are_compared(store: emmap.Store) -> None:
    one, other = store.dict("one"), store.dict("other")
    one.update(CONTENT)
    assert one != other
    other.update(CONTENT)
    assert one == other
    assert store.dict("one") == one
    other["a"] = 1.0
    assert one == other, "numbers are compared as numbers"
    other["a"] = 2
    assert one != other
    one.clear()
    one.update(other)
    assert one == other
    one |= {"more": 1}
    assert one != other


def test_popitem_of_nothing(store: emmap.Store) -> None:
    d = store.dict("d")
    with pytest.raises(KeyError, match="empty"):
        d.popitem()
    d["a"] = 1
    assert d.popitem() == ("a", 1)
    with pytest.raises(KeyError):
        d.popitem()


def test_two_equal_handles_are_one_dict(store: emmap.Store) -> None:
    one, other = store.dict("d"), store["d"]
    one["a"] = 1
    assert other == {"a": 1}
    del other["a"]
    assert not one


def test_views_are_live(store: emmap.Store) -> None:
    d = store.dict("d")
    keys, values, items = d.keys(), d.values(), d.items()
    assert not keys
    d["a"] = 1
    assert list(keys) == ["a"]
    assert list(values) == [1]
    assert list(items) == [("a", 1)]
    assert [len(keys), len(values), len(items)] == [1, 1, 1]
    del d["a"]
    assert "a" not in keys
    assert not list(items)


@pytest.mark.parametrize("view", ["keys", "values", "items", "copy"])
def test_a_view_of_many_sees_all_once(store: emmap.Store, view: str) -> None:
    d = store.dict("d")
    content = {i * 7919: str(i) for i in range(5000)}
    d.update(content)
    assert in_any_order(getattr(d, view)()) == in_any_order(getattr(content, view)())


def test_many_of_each(store: emmap.Store) -> None:
    """Ten thousand random calls against a plain dict."""
    d, plain, chance = store.dict("d"), {}, random.Random(5)
    for _ in range(10_000):
        key = chance.choice([chance.randrange(800), f"k{chance.randrange(800)}"])
        match chance.randrange(6):
            case 0 | 1 | 2:
                d[key] = plain[key] = chance.choice([None, key, "x" * chance.randrange(2000), 1.5])
            case 3:
                assert d.pop(key, "none") == plain.pop(key, "none")
            case 4:
                assert d.setdefault(key, 5) == plain.setdefault(key, 5)
            case 5:
                assert d.get(key) == plain.get(key)
        assert len(d) == len(plain)
    assert d == plain
    assert dict(d.items()) == plain
    for key in list(plain):
        del d[key]
    assert not d
    assert list(d) == []


def test_it_is_not_copied_by_reference(store: emmap.Store) -> None:
    d = store.dict("d")
    d["a"] = [1]
    d["a"].append(2)
    d.copy()["a"].append(2)
    next(iter(d.values())).append(2)
    assert d == {"a": [1]}
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            way(d)
