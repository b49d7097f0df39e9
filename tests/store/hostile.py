"""Damages stores and uses them: what comes is data, or an exception that says what is wrong.

Run:  python hostile.py ROUNDS [SEED]

Each round writes a damaged image of a store over the file that it was made in, or into a new one
(which is recovered from its last flush), opens it, reads all of it and changes it. Any other
exception, a crash and a hang end the run with a status that is not 0. It prints how often each
thing came, as JSON.
"""

from __future__ import annotations

import collections
import faulthandler
import itertools
import json
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import emmap

PATIENCE = 60.0  # seconds for one round: it takes milliseconds
MEMORY = 3 << 30  # bytes: what a hostile length asks for is more

# What the bytes may lead to. A name or a key may be gone by the time that it is asked for again,
# for what it was found by is damaged.
REFUSALS: tuple[type[Exception], ...] = (emmap.CorruptFileError, OSError, KeyError)

# Where things lie: src/emmap/store/format.h.
META, LIVE, SPACE, PINS, BLOCKS = 4096, 64 << 10, 68 << 10, 128 << 10, 256 << 10

VALUES: list[Any] = [
    *(None, True, 0, -1, 2**70, 1.5, "", "word", "é" * 300, b"", b"bytes" * 300, "x" * 5000),
    *([1, [2, (3,)], {"a": {4}}], {"key": "value", 1: None}, (1, "two", 3.0)),
    *(np.arange(20), np.ones((30, 40)), np.array(["a", "bc"]), 1j, range(5), "y" * 60_000),
]

T = TypeVar("T")
counts: collections.Counter[str] = collections.Counter()


def attempt(action: Callable[[], T], *also: type[Exception]) -> T | None:
    """Does something that a damaged store may refuse."""
    try:
        result = action()
    except (*REFUSALS, *also) as error:
        counts[type(error).__name__] += 1
        return None
    counts["done"] += 1
    return result


# The stores


def fill(store: emmap.Store, elements: int) -> None:
    keys: list[Any] = ["name", "é", 7, -(2**80), b"bytes", ("a", 1, b"b")]
    words = store.dict("words")
    everything = store.list("all")
    for i in range(elements):
        words[keys[i] if i < len(keys) else f"key {i}"] = VALUES[i % len(VALUES)]
        everything.insert(i // 2, VALUES[(i * 7) % len(VALUES)])
    store.array("grid", shape=(10, 20), dtype="f8")
    store.lock("lock")
    store.semaphore("semaphore", 2)
    for i in range(0, elements, 3):
        words.pop(f"key {i}", None)
        everything[i // 2] = i


def build_empty(path: Path) -> None:
    emmap.Store(path, "x").close()


def build_small(path: Path) -> None:
    with emmap.Store(path, "x") as store:
        fill(store, 8)


def build_large(path: Path) -> None:
    with emmap.Store(path, "x") as store:
        fill(store, 300)
        store.flush()
        fill(store, 40)


def build_killed(path: Path) -> None:
    """Its writer dies in a transaction, and leaves a lock and pins behind."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store = emmap.Store(path, "x")
            fill(store, 60)
            with store.snapshot(), store.transaction():
                fill(store, 20)
                status = 0
                os._exit(status)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


BUILDERS = (build_empty, build_small, build_large, build_killed)


# The damage


def a_place(chance: random.Random, n: int) -> int:
    """Where damage tells, in a file of `n` bytes: a multiple of 8."""
    used = max(n - BLOCKS, 16)
    return min(
        chance.choice(
            (
                chance.randrange(0, 128, 8),
                META + 4096 * chance.randrange(2) + chance.randrange(0, 128, 8),
                LIVE + chance.randrange(0, 256, 8),
                SPACE + 8192 * chance.randrange(2) + chance.randrange(0, 2000, 8),
                PINS + chance.randrange(0, 256, 8),
                *(BLOCKS + chance.randrange(0, used, 8) for _ in range(8)),
                *(
                    BLOCKS + chance.randrange(0, used >> chance.randrange(12) | 8, 8)
                    for _ in range(8)
                ),
            )
        ),
        n - 8,
    )


def a_number(chance: random.Random, n: int) -> int:
    """What a hostile file would put in the place of one."""
    return chance.choice(
        (
            chance.choice((0, 1, 15, 16, 255, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)),
            chance.choice((n, n - 16, n + 16, BLOCKS, BLOCKS - 16, LIVE, 2**48 - 1, 2**60)),
            chance.randrange(BLOCKS, max(n, BLOCKS + 16), 16),
            chance.randrange(2**64) >> chance.randrange(64),
        )
    )


def damage(chance: random.Random, data: bytearray) -> None:
    n = len(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 10))):
        at, how = a_place(chance, n), chance.randrange(8)
        if how < 2:
            data[at + chance.randrange(8)] = chance.randrange(256)
        elif how == 2:
            data[at + chance.randrange(8)] ^= 1 << chance.randrange(8)
        elif how < 5:
            size = chance.choice((2, 4, 8))
            data[at : at + size] = (a_number(chance, n) % 256**size).to_bytes(size, "little")
        elif how == 5:
            other = a_place(chance, n)
            data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
        elif how == 6:
            size, other = 16 << chance.randrange(8), a_place(chance, n)
            data[at : at + size] = data[other : other + size][: n - at].ljust(min(size, n - at))
        else:
            size = 16 << chance.randrange(8)
            data[at : at + size] = bytes(min(size, n - at))
    if chance.randrange(20) == 0:
        del data[chance.randrange(n) :]
    elif chance.randrange(20) == 0:
        data += bytes(chance.choice((1, 16, 4096, 70_000)))


# The use


def read_dict(d: Any) -> None:
    keys = attempt(lambda: list(d)) or []
    for key in keys:
        attempt(lambda key=key: d[key])  # type: ignore[misc]
    attempt(lambda: dict(d.items()))
    attempt(lambda: d.get_many(keys))
    attempt(lambda: "name" in d)


def read_list(values: Any) -> None:
    n = attempt(lambda: len(values)) or 0
    for i in (*range(min(n, 20)), *range(-min(n, 20), 0), n // 2):
        if i < n:
            attempt(lambda i=i: values[i])  # type: ignore[misc]
    attempt(lambda: list(values))
    attempt(lambda: list(reversed(values)))
    attempt(lambda: values[1 : n - 1 : 3])


def read_array(array: Any) -> None:
    attempt(lambda: float(np.asarray(array[...]).astype(float).sum()))
    attempt(lambda: array.copy())


def read(source: Any) -> None:
    """Everything in a store or a snapshot."""
    for name in attempt(source.names) or []:
        # A snapshot has no locks.
        it = attempt(lambda name=name: source[name], TypeError)  # type: ignore[misc]
        if isinstance(it, emmap.Dict):
            read_dict(it)
        elif isinstance(it, emmap.List):
            read_list(it)
        elif isinstance(it, emmap.Array):
            read_array(it)


def look(store: emmap.Store) -> None:
    """A snapshot, with views of what is in it."""
    with store.snapshot() as snapshot:
        read(snapshot)
        words = attempt(lambda: snapshot["words"], TypeError)
        if isinstance(words, emmap.Dict):
            views = [
                attempt(lambda key=key: words.view(key))  # type: ignore[misc]
                for key in attempt(lambda: list(words)) or []
            ]
            attempt(lambda: [np.asarray(view).tobytes() for view in views if view is not None])


def acquire(lock: Any) -> None:
    """A lock of a file whose processes are all dead: nobody else can have it."""
    if lock.acquire(timeout=PATIENCE):
        lock.release()


def change_one(chance: random.Random, it: Any) -> None:
    value = chance.choice(VALUES)
    if isinstance(it, emmap.Dict):
        attempt(lambda: it.__setitem__(f"new {chance.randrange(5)}", value))
        attempt(lambda: it.update(dict.fromkeys(range(30), value)))
        attempt(lambda: it.pop("name", None))
        attempt(lambda: it.setdefault("é", value))
        attempt(lambda: it.add("counted", 1), TypeError)  # what is there may be no number any more
        attempt(it.popitem)
        if chance.randrange(8) == 0:
            attempt(it.clear)
    elif isinstance(it, emmap.List):
        attempt(lambda: it.append(value))
        attempt(lambda: it.insert((attempt(lambda: len(it)) or 0) // 2, value))
        attempt(lambda: it.extend(VALUES))
        attempt(lambda: it.__delitem__(slice(1, None, 7)))
        attempt(lambda: it.__setitem__(slice(0, 3), VALUES[:3]))
        if chance.randrange(8) == 0:
            attempt(it.clear)
    elif isinstance(it, emmap.Array):
        attempt(lambda: it.__setitem__(..., 3))
    elif it is not None:
        attempt(lambda: acquire(it))


def change_all(chance: random.Random, store: emmap.Store) -> None:
    names = attempt(store.names) or []
    for name in names:
        change_one(chance, attempt(lambda name=name: store[name]))  # type: ignore[misc]
    attempt(lambda: store.dict("made"))
    attempt(lambda: store.list("made too").append(1))
    for name in names:
        # A lock keeps its name.
        if chance.randrange(4) == 0:
            attempt(lambda name=name: store.rename(name, name + "'"), ValueError)  # type: ignore[misc]
        elif chance.randrange(4) == 0:
            attempt(lambda name=name: store.__delitem__(name), ValueError)  # type: ignore[misc]


def change_together(chance: random.Random, store: emmap.Store) -> None:
    with store.transaction():
        change_all(chance, store)
        if chance.randrange(2):
            with store.transaction():
                change_all(chance, store)


def use(chance: random.Random, path: Path) -> None:
    mode = chance.choice(("r", "r+", "a", "a"))
    store = attempt(lambda: emmap.Store(path, mode))
    if store is None:
        counts["refused"] += 1
        return
    counts["opened"] += 1
    if chance.randrange(2):
        attempt(store.check)
    attempt(store.statistics)
    read(store)
    attempt(lambda: look(store))
    if mode != "r":
        attempt(lambda: change_all(chance, store))
        # Damage that is found in the midst of a transaction spoils it.
        attempt(lambda: change_together(chance, store), RuntimeError)
        attempt(store.flush)
        read(store)
    attempt(store.check)
    attempt(store.close)


def main(rounds: int, seed: int) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore", emmap.OwnerDiedWarning)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="emmap-hostile-") as folder:
        stores = []
        for builder in BUILDERS:
            path = Path(folder) / builder.__name__
            builder(path)
            stores.append((path, path.read_bytes()))
        for i in itertools.count():
            if i == rounds:
                break
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            home, image = chance.choice(stores)
            data = bytearray(image)
            damage(chance, data)
            path = home if chance.randrange(3) else Path(folder) / "copy"
            if path != home:
                path.unlink(missing_ok=True)
            path.write_bytes(data)
            try:
                use(chance, path)
            except BaseException:
                traceback.print_exc()
                kept = Path(tempfile.gettempdir()) / f"emmap-hostile-{seed}-{i}"
                kept.write_bytes(data)
                print(
                    f"seed {seed}, round {i} ({home.name}): the file is kept as {kept}",
                    file=sys.stderr,
                )
                sys.exit(1)
        faulthandler.cancel_dump_traceback_later()
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32))
