"""The stores that the benchmark compares, each used as its documentation recommends."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import multiprocessing
import random
import shelve
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import emmap

# Different values that no compression makes smaller.
VALUES = [random.Random(number).randbytes(100) for number in range(997)]
KEY_SIZE = 16
ROOM = 1 << 34  # bytes of address space, for the one that must be told


def make_keys(count: int, chosen: Iterable[int] | None = None) -> list[bytes]:
    """Keys of 16 characters, the same in each process: so many, or those of these numbers."""
    text = random.Random(1).randbytes(count * KEY_SIZE // 2).hex().encode()
    numbers = range(count) if chosen is None else chosen
    return [text[number * KEY_SIZE : (number + 1) * KEY_SIZE] for number in numbers]


def with_values(keys: Iterable[Any]) -> Iterable[tuple[Any, bytes]]:
    """Pairs for these keys."""
    return zip(keys, itertools.cycle(VALUES), strict=False)


def in_type(kind: type[Peer], keys: Sequence[bytes]) -> Sequence[Any]:
    """The keys, or the strings that a peer wants in their place."""
    return [key.decode() for key in keys] if kind.key_type is str else keys


class Peer:
    """Pairs that are kept in a folder. This one does all that a mapping has a method for.

    `get` and `put` do each pair for itself, `*_together` all of them in one transaction. What gets
    and iterates returns the last that it found, so that it can be looked at.
    """

    name = ""
    needs: tuple[str, ...] = ()  # modules that must be installed
    key_type: type = bytes
    is_shared = True  # by the processes that open the same folder
    pairs: Any

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.open(read_only=read_only)

    def open(self, *, read_only: bool) -> None:
        raise NotImplementedError

    def get(self, keys: Sequence[Any]) -> object:
        pairs, value = self.pairs, None
        for key in keys:
            value = pairs[key]
        return value

    def get_together(self, keys: Sequence[Any]) -> object:
        raise NotImplementedError

    def put(self, keys: Sequence[Any]) -> None:
        pairs = self.pairs
        for key, value in with_values(keys):
            pairs[key] = value

    def put_together(self, keys: Sequence[Any]) -> None:
        self.pairs.update(with_values(keys))

    def mix(self, keys: Sequence[Any]) -> None:
        """Nine gets for each put."""
        gets = len(keys) * 9 // 10
        self.get(keys[:gets])
        self.put(keys[gets:])

    def iterate(self) -> object:
        pair = None
        for pair in self.pairs.items():  # noqa: B007 - the last is returned
            pass
        return pair

    def close(self) -> None:
        pass


class Emmap(Peer):
    name = "emmap"

    def open(self, *, read_only: bool) -> None:
        self.store = emmap.Store(self.folder / "store", "r" if read_only else "a")
        self.pairs = self.store.dict("pairs")

    def get_together(self, keys: Sequence[Any]) -> object:
        with self.store.snapshot() as snapshot:
            pairs, value = snapshot.dict("pairs"), None
            for key in keys:
                value = pairs[key]
        return value

    def get_many(self, keys: Sequence[Any]) -> object:
        """All by one call."""
        return self.pairs.get_many(keys)[-1]

    def put_together(self, keys: Sequence[Any]) -> None:
        with self.store.transaction():
            self.put(keys)

    def update(self, keys: Sequence[Any]) -> None:
        """All by one call, which is one transaction."""
        self.pairs.update(with_values(keys))

    def close(self) -> None:
        self.store.close()


class LMDB(Peer):
    name = "LMDB, no sync"
    needs = ("lmdb",)
    write_map = False

    def open(self, *, read_only: bool) -> None:
        lmdb: Any = importlib.import_module(self.needs[0])
        self.environment = lmdb.open(
            str(self.folder),
            map_size=ROOM,
            sync=False,
            writemap=self.write_map,
            readonly=read_only,
        )

    def get(self, keys: Sequence[Any]) -> object:
        begin, value = self.environment.begin, None
        for key in keys:
            with begin() as transaction:
                value = transaction.get(key)
        return value

    def get_together(self, keys: Sequence[Any]) -> object:
        value = None
        with self.environment.begin() as transaction:
            for key in keys:
                value = transaction.get(key)
        return value

    def put(self, keys: Sequence[Any]) -> None:
        begin = self.environment.begin
        for key, value in with_values(keys):
            with begin(write=True) as transaction:
                transaction.put(key, value)

    def put_together(self, keys: Sequence[Any]) -> None:
        with self.environment.begin(write=True) as transaction:
            for key, value in with_values(keys):
                transaction.put(key, value)

    def update(self, keys: Sequence[Any]) -> None:
        """All by one call, in one transaction."""
        with self.environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(with_values(keys))

    def iterate(self) -> object:
        pair = None
        with self.environment.begin() as transaction:
            for pair in transaction.cursor():  # noqa: B007 - the last is returned
                pass
        return pair

    def close(self) -> None:
        self.environment.close()


class LMDBWriteMap(LMDB):
    name = "LMDB, writemap, no sync"
    write_map = True


class SQLite(Peer):
    name = "sqlite3, WAL"
    set_one = "INSERT INTO pairs VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
    get_one = "SELECT value FROM pairs WHERE key = ?"

    def open(self, *, read_only: bool) -> None:
        self.connection = sqlite3.connect(self.folder / "pairs", timeout=60, isolation_level=None)
        if not read_only:
            self.connection.executescript(
                "PRAGMA journal_mode = WAL;"
                "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;"
            )
        self.connection.execute("PRAGMA synchronous = NORMAL")

    def get(self, keys: Sequence[Any]) -> object:
        execute, get_one, value = self.connection.execute, self.get_one, None
        for key in keys:
            (value,) = execute(get_one, (key,)).fetchone()
        return value

    def get_together(self, keys: Sequence[Any]) -> object:
        self.connection.execute("BEGIN")
        value = self.get(keys)
        self.connection.execute("COMMIT")
        return value

    def put(self, keys: Sequence[Any]) -> None:
        execute, set_one = self.connection.execute, self.set_one
        for pair in with_values(keys):
            execute(set_one, pair)

    def put_together(self, keys: Sequence[Any]) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany(self.set_one, with_values(keys))
        self.connection.execute("COMMIT")

    def iterate(self) -> object:
        pair = None
        for pair in self.connection.execute("SELECT key, value FROM pairs"):  # noqa: B007
            pass
        return pair

    def close(self) -> None:
        self.connection.close()


class DiskCache(Peer):
    name = "diskcache.Index"
    needs = ("diskcache",)

    def open(self, *, read_only: bool) -> None:
        diskcache: Any = importlib.import_module(self.needs[0])
        self.pairs = self.index = diskcache.Index(str(self.folder))

    def put_together(self, keys: Sequence[Any]) -> None:
        with self.index.transact():
            self.put(keys)

    def close(self) -> None:
        self.index.cache.close()


class RocksDB(Peer):
    name = "RocksDict"
    needs = ("rocksdict",)

    def open(self, *, read_only: bool) -> None:
        self.library: Any = importlib.import_module(self.needs[0])
        options = self.library.Options(raw_mode=True)  # keys and values are bytes
        access = self.library.AccessType
        self.pairs = self.database = self.library.Rdict(
            str(self.folder),
            options,
            access_type=access.read_only() if read_only else access.read_write(),
        )

    def put_together(self, keys: Sequence[Any]) -> None:
        batch = self.library.WriteBatch(raw_mode=True)
        for key, value in with_values(keys):
            batch.put(key, value)
        self.database.write(batch)

    def close(self) -> None:
        self.database.close()


class LevelDB(Peer):
    name = "LevelDB, plyvel"
    needs = ("plyvel",)

    def open(self, *, read_only: bool) -> None:
        plyvel: Any = importlib.import_module(self.needs[0])
        self.database = plyvel.DB(
            str(self.folder), create_if_missing=True, lru_cache_size=1 << 28, bloom_filter_bits=10
        )

    def get(self, keys: Sequence[Any]) -> object:
        get, value = self.database.get, None
        for key in keys:
            value = get(key)
        return value

    def get_together(self, keys: Sequence[Any]) -> object:
        value = None
        with self.database.snapshot() as snapshot:
            get = snapshot.get
            for key in keys:
                value = get(key)
        return value

    def put(self, keys: Sequence[Any]) -> None:
        put = self.database.put
        for key, value in with_values(keys):
            put(key, value)

    def put_together(self, keys: Sequence[Any]) -> None:
        with self.database.write_batch(transaction=True) as batch:
            for key, value in with_values(keys):
                batch.put(key, value)

    def iterate(self) -> object:
        pair = None
        for pair in self.database:  # noqa: B007 - the last is returned
            pass
        return pair

    def close(self) -> None:
        self.database.close()


class Ultra(Peer):
    """In shared memory, not in a file. Processes that do not fork need its shared lock."""

    name = "UltraDict, shared lock"
    needs = ("UltraDict", "atomics")

    def open(self, *, read_only: bool) -> None:
        library: Any = importlib.import_module(self.needs[0])
        self.pairs = self.shared = library.UltraDict(
            name=self.folder.name, buffer_size=10_000_000, shared_lock=True
        )

    def close(self) -> None:
        self.shared.close()


class Manager(Peer):
    """In a process of its own, which ends with this one."""

    name = "Manager().dict"

    def open(self, *, read_only: bool) -> None:
        self.manager = multiprocessing.get_context("spawn").Manager()
        self.pairs = self.manager.dict()

    def put_together(self, keys: Sequence[Any]) -> None:
        self.pairs.update(dict(with_values(keys)))

    def close(self) -> None:
        self.manager.shutdown()


class Shelve(Peer):
    """Its keys are strings."""

    name = "shelve"
    key_type = str

    def open(self, *, read_only: bool) -> None:
        path = str(self.folder / "shelf")
        self.pairs = self.shelf = shelve.open(path, "r" if read_only else "c")  # noqa: SIM115

    def close(self) -> None:
        self.shelf.close()


class PlainDict(Peer):
    """The limit: in the memory of one process."""

    name = "plain dict"
    is_shared = False

    def open(self, *, read_only: bool) -> None:
        self.pairs = {}

    def put_together(self, keys: Sequence[Any]) -> None:
        # Each value is an object of its own, as it is where values come from somewhere.
        self.pairs.update((key, bytes(bytearray(value))) for key, value in with_values(keys))


PEERS: list[type[Peer]] = [
    Emmap,
    LMDB,
    LMDBWriteMap,
    SQLite,
    DiskCache,
    RocksDB,
    LevelDB,
    Ultra,
    Manager,
    Shelve,
    PlainDict,
]
# Those that promises name, and the limit.
FEW_PEERS: list[type[Peer]] = [Emmap, LMDB, LMDBWriteMap, Manager, PlainDict]


def installed(peers: Iterable[type[Peer]]) -> list[type[Peer]]:
    """Those that are there; the others are named."""
    found = []
    for peer in peers:
        if all(map(importlib.util.find_spec, peer.needs)):
            found.append(peer)
        else:
            print(f"{peer.name} is not installed, and left out")
    return found
