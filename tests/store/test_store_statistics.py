"""What a store says of itself: statistics, flushes, check; and how much space it takes."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer
from store.company import OPEN

MB = 1 << 20
LMDB = 188  # bytes that its file takes for each of 1e5 pairs of 16 + 100, put in random order


def test_statistics(store: emmap.Store, path: Path, d: emmap.Dict[Any, Any]) -> None:
    statistics = store.statistics()
    assert statistics.names == 1
    assert statistics.size == path.stat().st_size
    assert 0 < statistics.used < statistics.size <= statistics.room
    assert statistics.used + statistics.free <= statistics.size
    assert statistics.transaction > 0
    assert statistics.readers == 0
    assert statistics.oldest_reader is None
    for field in ("size", "used", "free", "held", "room", "names", "transaction", "readers"):
        assert type(getattr(statistics, field)) is int
        assert f"{field}={getattr(statistics, field)}" in repr(statistics)
        with pytest.raises((AttributeError, TypeError)):
            setattr(statistics, field, 5)
    before = statistics.transaction
    d["a"] = bytes(MB)
    now = store.statistics()
    assert now.transaction == before + 1
    assert now.size == path.stat().st_size
    assert statistics.used + MB < now.used < statistics.used + 2 * MB
    assert statistics.transaction == before


def test_flushes(store: emmap.Store, path: Path, d: emmap.Dict[Any, Any]) -> None:
    store.flush()
    before = store.statistics()
    assert before.last_flush == before.transaction
    assert before.unflushed == 0
    store.flush()
    assert store.statistics().flushes == before.flushes, "there was nothing to flush"
    for n in range(3):
        d["a"] = n
    now = store.statistics()
    assert (now.last_flush, now.unflushed) == (before.last_flush, 3)
    store.flush()
    now = store.statistics()
    assert (now.last_flush, now.unflushed) == (before.last_flush + 3, 0)
    assert now.flushes == before.flushes + 1
    d["a"] = 5
    store.close()
    with emmap.Store(path) as again:
        assert again.statistics().unflushed == 0
        assert again.dict("d") == {"a": 5}


def test_durable_commits(path: Path) -> None:
    with emmap.Store(path, durable=True) as store:
        d = store.dict("d")
        for n in range(3):
            d["a"] = n
            assert store.statistics().unflushed == 0
        with store.transaction():
            d["b"] = 1
            assert d["b"] == 1
        assert store.statistics().unflushed == 0


def test_flushes_of_many(store: emmap.Store, d: emmap.Dict[Any, Any], peer: Peer) -> None:
    peer(OPEN)
    peer.begin("for i in range(100): d.add('n'); store.flush()")
    for _ in range(100):
        d.add("n")
        store.flush()
    peer.end()
    assert d == {"n": 200}
    assert store.statistics().unflushed == 0


def test_options_are_checked(path: Path) -> None:
    wrong: Any
    for wrong in ({"flush_every": "a"}, {"flush_every": -1},
                  {"flush_every": float("nan")}, {"reserve": -1}, {"reserve": 0},
                  {"reserve": "1"}, {"reserve": 1.5}, {"reserve": 1 << 80}):  # fmt: skip
        with pytest.raises((TypeError, ValueError, MemoryError)):
            emmap.Store(path, **wrong)
    with pytest.raises(TypeError):
        emmap.Store(path, "a", True)  # type: ignore[call-arg]  # noqa: FBT003
    assert not path.exists()


def test_check_sees_damage(store: emmap.Store, path: Path, d: emmap.Dict[Any, Any]) -> None:
    """Any word of any block that is changed is found, or harms nobody: it never crashes."""
    d.update(dict.fromkeys(range(500), "x" * 10))
    store.list("l").extend(range(500))
    store.check()
    store.close()
    whole = path.read_bytes()
    chance = random.Random(8)
    errors: list[emmap.CorruptFileError] = []
    with emmap.Store(path) as store:
        used = store.statistics().used
    for _ in range(60):
        damaged = bytearray(whole)
        at = chance.randrange(256 << 10, (256 << 10) + used) & ~7
        damaged[at : at + 8] = chance.choice([b"\xff" * 8, bytes(8), chance.randbytes(8)])
        path.write_bytes(damaged)
        try:
            with emmap.Store(path) as store:
                store.check()
                assert len(dict(store.dict("d"))) <= 500
                assert len(list(store.list("l"))) <= 500
        except emmap.CorruptFileError as error:
            errors.append(error)
    assert len(errors) > 20
    for each in errors:
        assert each.filename == str(path)
        assert str(path) in str(each)
        assert each.offset >= 0


# Space


def pairs(n: int, seed: int) -> list[tuple[str, bytes]]:
    chance = random.Random(seed)
    return [(f"{i * 7919 % 10**16:016}", chance.randbytes(100)) for i in range(n)]


@pytest.mark.parametrize("way", ["one by one", "in batches", "at once"])
def test_space_of_many_pairs(store: emmap.Store, d: emmap.Dict[Any, Any], way: str) -> None:
    content = pairs(100_000, 1)
    random.Random(2).shuffle(content)
    if way == "one by one":
        for key, value in content:
            d[key] = value
    elif way == "at once":
        d.update(content)
    else:
        for start in range(0, len(content), 1000):
            d.update(content[start : start + 1000])
    store.close()
    with emmap.Store(store.path) as again:
        assert again.statistics().size <= 1.25 * LMDB * len(content)
        assert again.statistics().used <= 1.25 * LMDB * len(content)
        assert again.dict("d").get_many([key for key, _ in content]) == [v for _, v in content]
        again.check()


@pytest.mark.parametrize("flushes", ["never", "often"])
@pytest.mark.parametrize("size", [20, 1000, 50_000])
def test_space_after_overwriting_ten_times_the_data(
    store: emmap.Store, d: emmap.Dict[Any, Any], flushes: str, size: int
) -> None:
    n = min(20_000, 16 * MB // size)
    chance = random.Random(4)
    d.update({i: bytes(size) for i in range(n)})
    for turn in range(10 * n):
        d[chance.randrange(n)] = b"1" * size
        if flushes == "often" and turn % n == 0:
            store.flush()
    statistics = store.statistics()
    assert statistics.size <= 2.5 * statistics.used + MB
    store.check()


def test_space_of_values_of_all_sizes(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    """What is freed in one size is used in another one, or is at least not lost for good."""
    chance = random.Random(5)
    live: dict[int, int] = {}
    for turn in range(8000):
        key = chance.randrange(400)
        size = int(2 ** chance.uniform(0, 16))
        d[key] = bytes(size)
        live[key] = size
        if turn % 1000 == 0:
            store.flush()
    statistics = store.statistics()
    assert statistics.used <= 1.3 * sum(live.values()) + MB
    assert statistics.size <= 3.5 * statistics.used + 2 * MB


def test_space_of_a_queue(store: emmap.Store) -> None:
    """Appended at one end and taken from the other, for long."""
    items = store.list("l")
    items.extend(range(1000))
    store.flush()
    size = store.statistics().size
    for i in range(20_000):
        items.append("x" * (i % 60))
        items.pop(0)
        if i % 5000 == 0:
            store.flush()
    assert store.statistics().size <= size + 2 * MB
    assert len(items) == 1000
    store.check()


def test_space_on_the_disk_is_had_beforehand(store: emmap.Store, path: Path) -> None:
    store.dict("d")["a"] = bytes(4 * MB)
    status = os.stat(path)
    assert status.st_blocks * 512 >= status.st_size - MB
