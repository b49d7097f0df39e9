"""Eight processes work on one store, and some are killed and stopped.

Run:  python storm_store.py KILLS [SEED]

Each process writes down in shared memory what it is about to do and what has returned. So what is
checked is: what had returned is there, and nothing that was never begun; a transaction is there as
a whole or not at all; no reader sees half of anything, or waits for anybody; nobody hangs; and the
store is sound.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import emmap

sys.path.insert(0, str(Path(__file__).parents[1]))
from store.steps import Model, checksum

WORKERS = 8
KEYS = 8
ACCOUNTS = 10
PATIENCE = 60.0  # seconds without a turn that count as a hang

# Numbers of eight bytes, each written whole.
STOP, FAILED = range(2)
TURNS, PHASE = (range(8 + 8 * i, 16 + 8 * i) for i in range(2))
# What each worker counts: its steps, what it has added, changes of its array, then its keys. Before
# an operation BEGUN is one more than before, after it ENDED is the same.
COUNTERS = 3 + KEYS
STEPS, ADDED, ARRAY, FIRST_KEY = range(4)
BEGUN, ENDED = 64, 64 + WORKERS * COUNTERS
# Additions to one number of all; the dead are counted in.
TOTAL_BEGUN, TOTAL_ENDED = (range(512 + 8 * i, 520 + 8 * i) for i in range(2))
READS, WRITES = 0, 1


def check(condition: object, what: object) -> None:
    if not condition:
        raise AssertionError(what)


def value_of(worker: int, key: int, n: int) -> tuple[int, int, int, bytes]:
    """The n-th value of a key: of a size and content that n tells."""
    return worker, key, n, bytes([n & 255]) * (n * 7919 % 3000)


class Shared:
    """What all processes have: the numbers, and the store."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.numbers = memoryview(mmap.mmap(-1, 8192)).cast("q")
        self.open()

    def open(self) -> None:
        self.store = emmap.Store(self.path)

    def slot(self, worker: int, counter: int) -> int:
        return worker * COUNTERS + counter

    def create(self) -> None:
        with self.store.transaction():
            for name in ("sums", "keys", "counts", "accounts", "large"):
                self.store.dict(name)
            self.store.dict("accounts").update(dict.fromkeys(range(ACCOUNTS), 100))
            for worker in range(WORKERS):
                self.store.dict(f"dict {worker}")
                self.store.list(f"list {worker}")
                self.store.array(f"array {worker}", shape=500, dtype="i8")
                self.store.dict("sums")[worker] = 0, checksum({}, [])

    # What anybody may look at, at any time

    def look(self, chance: random.Random) -> None:
        """Reads one moment: all that belongs together is there together."""
        with self.store.snapshot() as snapshot:
            accounts = snapshot.dict("accounts")
            check(sum(accounts.values()) == 100 * ACCOUNTS, "half a transfer")
            worker = chance.randrange(WORKERS)
            d, items = snapshot.dict(f"dict {worker}"), snapshot.list(f"list {worker}")
            _, expected = snapshot.dict("sums")[worker]
            check(checksum(dict(d.items()), list(items)) == expected, "half a transaction")
            array = snapshot.array(f"array {worker}")[...]
            check(array.min() == array.max(), "half an array")
            for value in snapshot.dict("large").values():
                check(value == value[:1] * len(value), "half a large value")
            for (owner, key), value in snapshot.dict("keys").items():
                check(value == value_of(owner, key, value[2]), "half a value")
            check(sum(accounts.values()) == 100 * ACCOUNTS, "another moment")
            check(checksum(d.copy(), items.copy()) == expected, "another moment")
            views = [snapshot.dict("large").view(key) for key in snapshot.dict("large")]
        check(len(array) == 500 and array.min() == array.max(), "the array went away")
        for view in views:
            check(view == bytes(view[:1]) * len(view), "a view went away")


class Worker:
    """One who reads and writes until all stop."""

    def __init__(self, shared: Shared, worker: int, model: Model, seed: int) -> None:
        self.shared, self.worker, self.model = shared, worker, model
        self.numbers = shared.numbers
        self.chance = random.Random(seed)

    @property
    def store(self) -> emmap.Store:
        return self.shared.store

    def begin(self, counter: int) -> int:
        slot = self.shared.slot(self.worker, counter)
        n = self.numbers[ENDED + slot] + 1
        self.numbers[BEGUN + slot] = n
        return n

    def end(self, counter: int) -> None:
        slot = self.shared.slot(self.worker, counter)
        self.numbers[ENDED + slot] = self.numbers[BEGUN + slot]

    # Writes

    def step(self) -> None:
        """One transaction on the worker's own dict and list."""
        n = self.begin(STEPS)
        d, items = self.store.dict(f"dict {self.worker}"), self.store.list(f"list {self.worker}")
        with self.store.transaction():
            for operation in self.model.operations(n):
                operation(d, items)
                if self.chance.random() < 0.1:
                    self.drop(d, items)
            self.model.advance(n)
            self.store.dict("sums")[self.worker] = n, checksum(self.model.d, self.model.items)
            check(len(d) == len(self.model.d), "not what a transaction has written")
        self.end(STEPS)

    def drop(self, d: Any, items: Any) -> None:
        """A savepoint that comes to nothing."""
        try:
            with self.store.transaction():
                d.clear()
                items.extend(range(50))
                self.store.dict("accounts").clear()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass

    def put(self) -> None:
        """One key of the worker's own, set or deleted."""
        key = self.chance.randrange(KEYS)
        keys = self.store.dict("keys")
        n = self.begin(FIRST_KEY + key)
        if n % 5 == 0:
            del keys[self.worker, key]
        else:
            keys[self.worker, key] = value_of(self.worker, key, n)
        self.end(FIRST_KEY + key)
        check(self.has(keys, key, n), "not what was put")

    def has(self, keys: Any, key: int, n: int) -> bool:
        expected = value_of(self.worker, key, n) if n % 5 else None
        return bool(keys.get((self.worker, key)) == expected)

    def add(self) -> None:
        n = self.begin(ADDED)
        check(self.store.dict("counts").add(self.worker) == n, "an addition was lost")
        self.end(ADDED)

    def add_together(self) -> None:
        self.numbers[TOTAL_BEGUN[self.worker]] += 1
        self.store.dict("counts").add("total")
        self.numbers[TOTAL_ENDED[self.worker]] += 1

    def transfer(self) -> None:
        accounts = self.store.dict("accounts")
        one, other = self.chance.sample(range(ACCOUNTS), 2)
        n = self.chance.randrange(100)
        try:
            with self.store.transaction():
                accounts[one] -= n
                self.store.dict("keys").get((self.worker, 0))
                accounts[other] += n
                if n == 50:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass

    def edit_array(self) -> None:
        n = self.begin(ARRAY)
        with self.store.edit(f"array {self.worker}") as array:
            check((array == n - 1).all(), "an edit was lost")
            array += 1
        self.end(ARRAY)

    def put_large(self) -> None:
        size = int(2 ** self.chance.uniform(10, 19))
        self.store.dict("large")[self.worker] = bytes([self.chance.randrange(256)]) * size

    def rename(self) -> None:
        """Names come and go, with much below them."""
        old, new = f"old {self.worker}", f"new {self.worker}"
        for name in (old, new):
            if name in self.store:
                del self.store[name]
        self.store.dict(old).update({i: "x" * i for i in range(100)})
        self.store.rename(old, new)
        check(len(self.store.dict(new)) == 100, "a dict was not renamed")
        del self.store[new]

    def flush(self) -> None:
        self.store.flush()

    def reopen(self) -> None:
        self.store.close()
        self.shared.open()

    # Reads

    def read(self) -> None:
        keys = self.store.dict("keys")
        key = self.chance.randrange(KEYS)
        n = self.numbers[ENDED + self.shared.slot(self.worker, FIRST_KEY + key)]
        check(n == 0 or self.has(keys, key, n), "what had returned is lost")
        for (owner, key), value in keys.items():
            check(value == value_of(owner, key, value[2]), "half a value")

    def look(self) -> None:
        self.shared.look(self.chance)

    def fork(self) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.look()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        check(os.waitpid(pid, 0)[1] == 0, "a child has failed")

    def work(self) -> None:
        writes: list[Callable[[], None]] = [
            *[self.step] * 6, *[self.put] * 8, *[self.add] * 4, *[self.add_together] * 3,
            *[self.transfer] * 5, *[self.edit_array] * 2, self.put_large, self.rename,
        ]  # fmt: skip
        reads: list[Callable[[], None]] = [*[self.read] * 8, *[self.look] * 4]
        while not self.numbers[STOP]:
            kind = self.chance.randrange(20)
            self.numbers[PHASE[self.worker]] = WRITES if kind < 14 else READS
            if kind == 0 and self.chance.random() < 0.2:
                self.chance.choice([self.flush, self.reopen, self.fork])()
            else:
                self.chance.choice(writes if kind < 14 else reads)()
            self.numbers[TURNS[self.worker]] += 1


class Storm:
    """The parent of the workers, which kills and stops them, and looks at what they leave."""

    def __init__(self, path: str, seed: int) -> None:
        self.shared = Shared(path)
        self.shared.create()
        self.numbers = self.shared.numbers
        self.chance = random.Random(seed)
        self.models = [Model(worker) for worker in range(WORKERS)]
        self.pids = [0] * WORKERS

    @property
    def store(self) -> emmap.Store:
        return self.shared.store

    def start(self, worker: int) -> None:
        seed = self.chance.randrange(1 << 30)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if self.store.closed:
                    self.shared.open()
                Worker(self.shared, worker, self.models[worker], seed).work()
                self.store.close()
                status = 0
            except BaseException:
                traceback.print_exc()
                self.numbers[FAILED] = 1
            finally:
                os._exit(status)
        self.pids[worker] = pid

    def kill(self) -> None:
        worker = self.victim()
        os.kill(self.pids[worker], signal.SIGKILL)
        os.waitpid(self.pids[worker], 0)
        self.look_for_failures()
        self.verify(worker)
        if self.chance.random() < 0.5:  # then the next one finds no store open that he inherits
            self.store.close()
        self.start(worker)
        if self.store.closed:
            self.shared.open()

    def victim(self) -> int:
        """Anybody, but mostly one who writes, and of those one who runs."""
        anybody = list(range(WORKERS))
        writers = [worker for worker in anybody if self.numbers[PHASE[worker]] == WRITES]
        running = [worker for worker in writers if state_of(self.pids[worker]) == "R"]
        return self.chance.choice(
            (running or writers or anybody) if self.chance.random() < 0.8 else anybody
        )

    def verify(self, worker: int) -> None:
        """What the dead one has left: each of its operations is done or not done."""
        with self.store.snapshot() as snapshot:
            n, expected = snapshot.dict("sums")[worker]
            self.settle(worker, STEPS, n)
            model = self.models[worker]
            model.advance(n)
            d, items = snapshot.dict(f"dict {worker}"), snapshot.list(f"list {worker}")
            check(dict(d.items()) == model.d, "the dict is another one")
            check(list(items) == model.items, "the list is another one")
            check(checksum(model.d, model.items) == expected, "the checksum is another one")
            self.settle(worker, ADDED, snapshot.dict("counts").get(worker, 0))
            array = snapshot.array(f"array {worker}")[...]
            check(np.all(array == array[0]), "half an array")
            self.settle(worker, ARRAY, int(array[0]))
            for key in range(KEYS):
                value = snapshot.dict("keys").get((worker, key))
                counter = FIRST_KEY + key
                if value is None:
                    slot = self.shared.slot(worker, counter)
                    # It was deleted, by the last operation or by the one that was under way.
                    ended, begun = self.numbers[ENDED + slot], self.numbers[BEGUN + slot]
                    n = begun if begun % 5 == 0 else ended
                    check(n % 5 == 0, f"{worker}, {key}: what had returned is lost")
                else:
                    n = value[2]
                    check(value == value_of(worker, key, n), "half a value")
                self.settle(worker, counter, n)

    def settle(self, worker: int, counter: int, n: int) -> None:
        slot = self.shared.slot(worker, counter)
        ended, begun = self.numbers[ENDED + slot], self.numbers[BEGUN + slot]
        check(n in (ended, begun), f"{worker}, {counter}: {n} after {ended} of {begun}")
        self.numbers[ENDED + slot] = self.numbers[BEGUN + slot] = n

    def stop_some(self) -> None:
        """Some stand still, or all: who reads does not wait for them."""
        stopped = self.chance.sample(range(WORKERS), self.chance.choice([1, 2, 3, WORKERS]))
        for worker in stopped:
            os.kill(self.pids[worker], signal.SIGSTOP)
        for worker in stopped:
            os.waitpid(self.pids[worker], os.WUNTRACED)
        signal.alarm(int(PATIENCE))
        for _ in range(20):
            self.shared.look(self.chance)
        signal.alarm(0)
        for worker in stopped:
            os.kill(self.pids[worker], signal.SIGCONT)

    def let_all_go_on(self) -> None:
        """Waits until each has had a turn."""
        before = [self.numbers[slot] for slot in TURNS]
        end = time.monotonic() + PATIENCE
        while any(self.numbers[slot] == turns for slot, turns in zip(TURNS, before, strict=True)):
            self.look_for_failures()
            if time.monotonic() > end:
                self.say_who_hangs()
            time.sleep(0.002)

    def look_for_failures(self) -> None:
        check(self.numbers[FAILED] == 0, "a worker has failed")

    def say_who_hangs(self) -> None:
        for worker, pid in enumerate(self.pids):
            print(worker, pid, self.numbers[TURNS[worker]], state_of(pid))
        print(self.store.statistics())
        raise AssertionError("somebody hangs")

    def run(self, kills: int) -> None:
        for worker in range(WORKERS):
            self.start(worker)
        try:
            for kill in range(kills):
                time.sleep(self.chance.random() * 0.01)
                self.kill()
                if kill % 5 == 0:
                    self.stop_some()
                    self.let_all_go_on()
                if kill % 10 == 0:
                    self.store.check()
            self.let_all_go_on()
            self.numbers[STOP] = 1
            for pid in list(self.pids):
                self.end(pid)
        finally:
            for pid in self.pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self.finish()

    def end(self, pid: int) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.pids.remove(pid)
                check(status == 0, "a worker has failed")
                return
            if time.monotonic() > end:
                self.say_who_hangs()
            time.sleep(0.001)

    def finish(self) -> None:
        """All have gone: everything is there, also after the store was closed and opened."""
        for _ in range(2):
            for worker in range(WORKERS):
                self.verify(worker)
            for _ in range(20):
                self.shared.look(self.chance)
            begun, ended = (
                sum(self.numbers[slot] for slot in slots) for slots in (TOTAL_BEGUN, TOTAL_ENDED)
            )
            total = self.store.dict("counts").get("total", 0)
            check(ended <= total <= begun, f"{total} of {begun} additions, {ended} had returned")
            self.store.check()
            statistics = self.store.statistics()
            check(statistics.readers == 0, f"{statistics.readers} dead readers are left")
            check(statistics.size < 64 << 20, f"{statistics.size} bytes for a few megabytes")
            self.store.close()
            self.shared.open()
        print(f"{sum(self.numbers[t] for t in TURNS)} turns, {total} additions, {statistics}")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def main() -> None:
    kills, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else os.getpid()
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        Storm(f"{folder}/store", seed).run(kills)


if __name__ == "__main__":
    main()
