"""Random calls of two processes on dicts and lists, and plain ones beside them: they stay equal.

Hypothesis makes up the calls: with transactions in transactions, snapshots that are compared later,
containers that are renamed and deleted, and the store closed and opened again.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import emmap
from mapping.peer import Peer
from store.twins import alike

SIZES = (0, 1, 13, 14, 15, 100, 1000, 1024, 1025, 5000, 70_000)
BYTES = st.sampled_from(SIZES).flatmap(lambda n: st.integers(0, 255).map(lambda b: bytes([b]) * n))
VALUES = (
    st.none()
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=20)
    | BYTES
    | st.lists(st.integers(0, 9) | st.text(max_size=3), max_size=5)
    | st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
)
KEYS = st.integers(0, 40) | st.sampled_from(["a", "b", "", b"a", ("a", 1), (), "k" * 2000])
MANY = st.integers(0, 300)
INDEXES = st.integers(-70, 70)
ENDS = st.none() | INDEXES
SLICES = st.builds(slice, ENDS, ENDS, st.none() | st.sampled_from([1, 2, 3, -1, -4]))
DICTS, LISTS = ["d0", "d1", "d2"], ["l0", "l1", "l2"]

# What one call does to a dict x and to a list x, as code: the model, this process and the other one
# run the same.
DICT_CALLS = st.one_of(
    st.builds("x[{!r}] = {!r}".format, KEYS, VALUES),
    st.builds("x[{!r}] = {!r}".format, KEYS, VALUES),
    st.builds("del x[{!r}]".format, KEYS),
    st.builds("x.pop({!r}, None)".format, KEYS),
    st.builds("x.pop({!r})".format, KEYS),
    st.builds("x.setdefault({!r}, {!r})".format, KEYS, VALUES),
    st.builds("x.update({!r})".format, st.dictionaries(KEYS, VALUES, max_size=10)),
    st.builds("x.update((i, str(i)) for i in range({}, {}))".format, MANY, MANY),
    st.builds("[x.pop(i, 0) for i in range({}, {})]".format, MANY, MANY),
    st.builds("x |= {!r}".format, st.dictionaries(KEYS, VALUES, max_size=3)),
    st.just("x.clear()"),
)
LIST_CALLS = st.one_of(
    st.builds("x.append({!r})".format, VALUES),
    st.builds("x.insert({}, {!r})".format, INDEXES, VALUES),
    st.builds("x[{}] = {!r}".format, INDEXES, VALUES),
    st.builds("del x[{}]".format, INDEXES),
    st.builds("x.pop({})".format, INDEXES),
    st.builds("x.extend({!r})".format, st.lists(VALUES, max_size=20)),
    st.builds("x.extend(range({}))".format, MANY),
    st.builds("del x[{!r}]".format, SLICES),
    st.builds("x[{!r}] = {!r}".format, SLICES, st.lists(VALUES, max_size=5)),
    st.builds("x[{0!r}] = x[{0!r}][::-1]".format, SLICES),
    st.builds("x.sort(key=repr, reverse={})".format, st.booleans()),
    st.just("x.reverse()"),
    st.just("x *= 2 if len(x) < 200 else 0"),
    st.just("x.clear()"),
)

DO = """
def do(x, code):
    try:
        exec(code, {"x": x})
    except (LookupError, ValueError) as error:
        return type(error).__name__
"""
names: dict[str, Any] = {}
exec(DO, names)
do: Callable[[Any, str], str | None] = names["do"]

Model = dict[str, Any]
peer: Peer | None = None


def other_process() -> Peer:
    """One for all runs: starting one takes longer than a run."""
    global peer
    if peer is None:
        peer = Peer()
        peer(DO)
    return peer


class Stores(RuleBasedStateMachine):
    """Our store, and a model of what it holds."""

    @initialize(flushes=st.booleans())
    def begin(self, flushes: bool) -> None:  # noqa: FBT001
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "store")
        self.store = emmap.Store(self.path)
        self.peer = other_process()
        self.peer(f"store = emmap.Store({self.path!r})")
        self.model: Model = {}
        self.before: list[tuple[emmap.Transaction, Model]] = []
        self.snapshots: list[tuple[emmap.Snapshot, Model]] = []
        if flushes:
            self.store.flush()

    @property
    def committed(self) -> Model:
        return self.before[0][1] if self.before else self.model

    def find(self, store: Any, name: str) -> Any:
        return store.dict(name) if name[0] == "d" else store.list(name)

    # Calls

    def call(self, name: str, code: str, *, there: bool) -> None:
        plain = self.model.setdefault(name, {} if name[0] == "d" else [])
        there = there and not self.before
        expected = do(plain, code)
        if there:
            found = self.peer(
                f"do(store.{'dict' if name[0] == 'd' else 'list'}({name!r}), {code!r})"
            )
        else:
            found = do(self.find(self.store, name), code)
        assert found == expected, f"{code}: expected {expected}, got {found}"
        assert len(self.find(self.store, name)) == len(plain)

    @rule(name=st.sampled_from(DICTS), code=DICT_CALLS, there=st.booleans())
    def call_dict(self, name: str, code: str, there: bool) -> None:  # noqa: FBT001
        self.call(name, code, there=there)

    @rule(name=st.sampled_from(LISTS), code=LIST_CALLS, there=st.booleans())
    def call_list(self, name: str, code: str, there: bool) -> None:  # noqa: FBT001
        self.call(name, code, there=there)

    @rule(name=st.sampled_from(DICTS), key=KEYS, n=st.integers(-(2**65), 2**65))
    def add(self, name: str, key: Any, n: int) -> None:
        plain = self.model.setdefault(name, {})
        d = self.store.dict(name)
        if type(plain.get(key, 0)) is int:
            plain[key] = plain.get(key, 0) + n
            assert d.add(key, n) == plain[key]

    @rule(name=st.sampled_from(DICTS))
    def popitem(self, name: str) -> None:
        if plain := self.model.get(name):
            key, value = self.store.dict(name).popitem()
            assert alike({key: plain.pop(key)}, {key: value})

    @rule(name=st.sampled_from(DICTS + LISTS), key=KEYS, fails=st.booleans())
    def edit(self, name: str, key: Any, fails: bool) -> None:  # noqa: FBT001
        plain = self.model.get(name)
        if not plain:
            return
        if name[0] == "l":
            key = len(plain) // 2
        try:
            with self.find(self.store, name).edit(key) as value:
                assert value == plain[key]
                if fails or type(value) is not list:
                    raise ZeroDivisionError
                value.append(5)
        except KeyError:
            assert key not in plain
        except ZeroDivisionError:
            pass
        else:
            plain[key] = [*plain[key], 5]

    # Names

    @rule(name=st.sampled_from(DICTS + LISTS))
    def delete(self, name: str) -> None:
        if name in self.model:
            del self.store[name], self.model[name]
        else:
            with pytest.raises(KeyError):
                del self.store[name]

    @rule(old=st.sampled_from(DICTS + LISTS), new=st.sampled_from(DICTS + LISTS))
    def rename(self, old: str, new: str) -> None:
        if old[0] != new[0]:
            return
        if old not in self.model:
            with pytest.raises(KeyError):
                self.store.rename(old, new)
        elif new in self.model:
            if new != old:
                with pytest.raises(ValueError, match=new):
                    self.store.rename(old, new)
        else:
            self.store.rename(old, new)
            self.model[new] = self.model.pop(old)

    # Transactions

    @precondition(lambda self: len(self.before) < 4)
    @rule()
    def begin_transaction(self) -> None:
        transaction = self.store.transaction()
        transaction.__enter__()
        self.before.append((transaction, copy.deepcopy(self.model)))

    @precondition(lambda self: self.before)
    @rule()
    def commit(self) -> None:
        transaction, _ = self.before.pop()
        transaction.__exit__(None, None, None)

    @precondition(lambda self: self.before)
    @rule()
    def roll_back(self) -> None:
        transaction, self.model = self.before.pop()
        error = ZeroDivisionError()
        assert not transaction.__exit__(ZeroDivisionError, error, None)

    # What is read

    @precondition(lambda self: not self.before and len(self.snapshots) < 5)
    @rule()
    def take_snapshot(self) -> None:
        snapshot = self.store.snapshot()
        snapshot.__enter__()
        self.snapshots.append((snapshot, copy.deepcopy(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(i=st.integers(0, 4), ends=st.booleans())
    def look_at_snapshot(self, i: int, ends: bool) -> None:  # noqa: FBT001
        i %= len(self.snapshots)
        self.compare(*self.snapshots[i])
        if ends:
            self.snapshots.pop(i)[0].__exit__(None, None, None)

    @rule()
    def compare_there(self) -> None:
        """The other process sees what is committed."""
        expected = self.committed
        assert self.peer("store.names()") == sorted(expected)
        for name, plain in expected.items():
            assert alike(plain, self.peer(f"store[{name!r}].copy()"))

    @rule()
    def compare_here(self) -> None:
        self.compare(self.store, self.model)

    def compare(self, source: Any, expected: Model) -> None:
        assert source.names() == sorted(expected)
        for name, plain in expected.items():
            found = self.find(source, name)
            assert len(found) == len(plain)
            assert alike(plain, found.copy())
            assert found == plain
            if name[0] == "d":
                assert alike(dict(plain.items()), dict(found.items()))
                assert alike(list(plain.values()), found.get_many(list(plain)))
            else:
                assert alike(plain[::-1], list(reversed(found)))
                assert alike(plain, [found[i] for i in range(len(plain))])

    # The file

    @precondition(lambda self: not self.before)
    @rule()
    def reopen(self) -> None:
        while self.snapshots:
            self.snapshots.pop()[0].__exit__(None, None, None)
        self.store.close()
        self.store = emmap.Store(self.path)

    @precondition(lambda self: not self.before)
    @rule()
    def reopen_there(self) -> None:
        self.peer(f"store.close(); store = emmap.Store({self.path!r})")

    @precondition(lambda self: not self.before)
    @rule()
    def flush(self) -> None:
        self.store.flush()

    @invariant()
    def is_sound(self) -> None:
        if hasattr(self, "store") and not self.before:
            self.store.check()

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        while self.before:
            self.roll_back()
        self.compare(self.store, self.model)
        for snapshot, expected in self.snapshots:
            self.compare(snapshot, expected)
            snapshot.__exit__(None, None, None)
        self.store.close()
        self.peer("store.close()")
        with emmap.Store(self.path, "r+") as store:
            self.compare(store, self.model)
            store.check()
        self.folder.cleanup()


@pytest.mark.parametrize(
    ("runs", "steps"),
    [
        (25, 40),
        pytest.param(300, 80, marks=pytest.mark.slow),
        pytest.param(10_000, 80, marks=pytest.mark.long),
    ],
)
def test_they_stay_equal(runs: int, steps: int) -> None:
    run_state_machine_as_test(
        Stores,
        settings=settings(
            max_examples=runs, stateful_step_count=steps, deadline=None, database=None
        ),
    )
