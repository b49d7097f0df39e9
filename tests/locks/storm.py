"""Eight processes work with all kinds of locks in one file, and some are killed and stopped.

Run:  python storm.py KILLS [SEED]

What is checked: never two holders (a witness word names who is inside, and an unlocked counter
would lose counts); no permit too many; no reader beside a writer; a stopped holder keeps what it
holds; nobody hangs; and each death of an owner is told once.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import emmap

WORKERS = 8
PERMITS = 3
PARTIES = 3
PATIENCE = 60.0  # seconds without a turn that count as a hang

PLACES = {"lock": 0, "event": 64, "rwlock": 4096, "semaphore": 8192, "condition": 12288}
BARRIER, NUMBERS, SIZE = 16384, 20480, 65536

# Numbers of eight bytes, each written whole.
STOP, WITNESS, COUNT, WRITER, LEFT, RIGHT, AVAILABLE, FAILED = range(8)
TOLD_LOCK, TOLD_WRITER, TURNS, INSIDE, PHASE = (range(8 + 8 * i, 16 + 8 * i) for i in range(5))
ACQUIRED = 100  # the phase of one who holds a lock, and has been told all there is to tell


class Shared:
    """Everything that lies in the file, as each process has it."""

    def __init__(self, path: str) -> None:
        self.map = m = emmap.open(path, "r+")
        self.numbers = memoryview(m)[NUMBERS:].cast("q")
        self.words = memoryview(m).cast("Q")
        self.worker = -1
        self.lock = emmap.Lock(m, offset=PLACES["lock"], on_owner_death=self.repair_count)
        self.rwlock = emmap.RWLock(m, offset=PLACES["rwlock"], on_owner_death=self.repair_pair)
        self.semaphore = emmap.Semaphore(m, PERMITS, maximum=PERMITS, offset=PLACES["semaphore"])
        self.condition = emmap.Condition(m, offset=PLACES["condition"])
        self.event = emmap.Event(m, offset=PLACES["event"])
        self.barrier = emmap.Barrier(m, PARTIES, offset=BARRIER)

    # What a holder has left half-done

    def repair_count(self, lock: emmap.Lock) -> None:
        self.tell(TOLD_LOCK)
        if witness := self.numbers[WITNESS]:
            check(is_dead(witness), "the lock was taken from one who lives")
        self.numbers[WITNESS] = 0

    def repair_pair(self, lock: emmap.RWLock) -> None:
        self.tell(TOLD_WRITER)
        if writer := self.numbers[WRITER]:
            check(is_dead(writer), "the write lock was taken from one who lives")
        self.numbers[WRITER] = 0
        self.numbers[RIGHT] = self.numbers[LEFT]

    def tell(self, whom: range) -> None:
        self.numbers[whom[self.worker]] += 1
        self.numbers[PHASE[self.worker]] = ACQUIRED

    def acquired(self) -> None:
        self.numbers[PHASE[self.worker]] = ACQUIRED

    # One turn with each of them

    def count(self) -> None:
        with self.lock:
            self.acquired()
            check(self.numbers[WITNESS] == 0, "two hold the lock")
            self.numbers[WITNESS] = os.getpid()
            before = self.numbers[COUNT]
            dawdle()
            check(self.numbers[WITNESS] == os.getpid(), "another one came in")
            check(self.numbers[COUNT] == before, "another one counted")
            self.numbers[COUNT] = before + 1
            self.numbers[WITNESS] = 0

    def write(self) -> None:
        with self.rwlock.write():
            self.acquired()
            check(self.numbers[WRITER] == 0, "two write")
            self.numbers[WRITER] = os.getpid()
            self.numbers[LEFT] += 1
            dawdle()
            self.numbers[RIGHT] += 1
            check(self.numbers[LEFT] == self.numbers[RIGHT], "two wrote")
            self.numbers[WRITER] = 0

    def read(self) -> None:
        with self.rwlock.read():
            self.acquired()
            if not self.rwlock.owner_died:
                left = self.numbers[LEFT]
                dawdle()
                check(left == self.numbers[RIGHT], "a reader was beside a writer")

    def permit(self) -> None:
        with self.semaphore:
            self.acquired()
            self.numbers[INSIDE[self.worker]] = 1
            inside = sum(self.numbers[slot] for slot in INSIDE)
            check(inside <= PERMITS, f"{inside} have one of {PERMITS} permits")
            dawdle()
            self.numbers[INSIDE[self.worker]] = 0

    def produce(self) -> None:
        with self.condition:
            self.acquired()
            self.numbers[AVAILABLE] += 1
            self.condition.notify()

    def consume(self) -> None:
        with self.condition:
            self.condition.wait_for(lambda: self.numbers[AVAILABLE] > 0 or self.numbers[STOP])
            self.numbers[AVAILABLE] -= 1

    def set(self) -> None:
        self.event.set()

    def clear(self) -> None:
        self.event.clear()

    def wait(self) -> None:
        check(self.event.wait() is True, "an event without a timeout was not set")

    def meet(self) -> None:
        try:
            check(self.barrier.wait() in range(PARTIES), "an index that cannot be")
        except threading.BrokenBarrierError:
            self.barrier.reset()

    def work(self, seed: int) -> None:
        """What a worker does until all stop."""
        chance = random.Random(seed)
        turns: list[Callable[[], None]] = [
            *[self.count] * 4, *[self.write] * 2, *[self.read] * 4, *[self.permit] * 3,
            self.produce, self.consume, self.set, self.clear, self.wait, self.meet,
        ]  # fmt: skip
        while not self.numbers[STOP]:
            self.numbers[PHASE[self.worker]] = 1
            chance.choice(turns)()
            self.numbers[TURNS[self.worker]] += 1


def check(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def dawdle() -> None:
    """Stays inside for as long as most other turns take together, to be killed there."""
    for _ in range(500):
        pass


def is_dead(pid: int) -> bool:
    """Is there no such process, or has it ended and waits to be reaped?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


class Storm:
    """The parent of the workers, which kills and stops them, and looks at what they leave."""

    def __init__(self, path: str, seed: int) -> None:
        self.path = path
        self.shared = Shared(path)
        self.numbers = self.shared.numbers
        self.chance = random.Random(seed)
        self.pids = [0] * WORKERS
        self.anybody = range(WORKERS)
        # Deaths of owners, by the word that named them; and who died before he could tell.
        self.deaths: dict[str, set[int]] = {"lock": set(), "rwlock": set()}
        self.untold = {"lock": 0, "rwlock": 0}

    def start(self, worker: int) -> None:
        seed = self.chance.randrange(1 << 30)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                shared = Shared(self.path)
                shared.worker = worker
                shared.work(seed)
                status = 0
            except BaseException:
                traceback.print_exc()
                self.numbers[FAILED] = 1
            finally:
                os._exit(status)
        self.pids[worker] = pid

    def stop_all(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in self.pids:
            os.waitpid(pid, os.WUNTRACED)

    def go_on(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    def owner(self, kind: str) -> int:
        """What the lock word says, without its flags."""
        return int(self.shared.words[PLACES[kind] // 8 + 1]) & ~15

    def kill(self) -> None:
        """Kill one while all stand still, so that what it held can be seen."""
        self.stop_all()
        self.look_for_failures()
        worker = self.victim()
        before = {kind: self.owner(kind) for kind in self.deaths}
        os.kill(self.pids[worker], signal.SIGKILL)
        os.waitpid(self.pids[worker], 0)
        dead = {
            "lock": not self.shared.lock.locked() and before["lock"] != 0,
            "rwlock": self.shared.rwlock.owner_died and self.writer_is_dead(),
        }
        for kind, deaths in self.deaths.items():
            if dead[kind] and before[kind] not in deaths:
                deaths.add(before[kind])
                # Until then it may have been about to tell of the one who died before it.
                self.untold[kind] += self.numbers[PHASE[worker]] != ACQUIRED
        self.numbers[INSIDE[worker]] = 0
        self.start(worker)
        os.kill(self.pids[worker], signal.SIGSTOP)
        os.waitpid(self.pids[worker], os.WUNTRACED)
        self.go_on()

    def victim(self) -> int:
        """Anybody, but mostly one who holds something where there is such a one."""
        inside = {self.numbers[WITNESS], self.numbers[WRITER]}
        inside |= {pid for pid, slot in zip(self.pids, INSIDE, strict=True) if self.numbers[slot]}
        holders = [worker for worker in range(WORKERS) if self.pids[worker] in inside]
        return self.chance.choice(
            holders if holders and self.chance.random() < 0.8 else self.anybody
        )

    def writer_is_dead(self) -> bool:
        return self.owner("rwlock") != 0 and "died" in repr(self.shared.rwlock)

    def stop(self, worker: int) -> None:
        """Stop one for longer than a slice: it must keep the lock if it has it."""
        pid = self.pids[worker]
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        before, witness = self.owner("lock"), self.numbers[WITNESS]
        time.sleep(0.12)
        if witness == pid:
            check(self.owner("lock") == before, "a stopped holder was robbed")
            check(self.numbers[WITNESS] == pid, "another one is where a stopped holder is")
        os.kill(pid, signal.SIGCONT)

    def let_all_go_on(self) -> None:
        """Waits until each has had a turn. Those who wait for somebody get what they wait for."""
        before = [self.numbers[slot] for slot in TURNS]
        end = time.monotonic() + PATIENCE
        while any(self.numbers[slot] == turns for slot, turns in zip(TURNS, before, strict=True)):
            self.look_for_failures()
            if time.monotonic() > end:
                self.say_who_hangs()
            self.relieve()
            time.sleep(0.002)

    def relieve(self) -> None:
        self.shared.event.set()
        self.shared.produce()
        if self.shared.barrier.broken or self.shared.barrier.n_waiting:
            self.shared.barrier.reset()

    def look_for_failures(self) -> None:
        check(self.numbers[FAILED] == 0, "a worker has failed")

    def say_who_hangs(self) -> None:
        for worker, pid in enumerate(self.pids):
            state = Path(f"/proc/{pid}/wchan").read_text()
            print(worker, pid, self.numbers[TURNS[worker]], self.numbers[PHASE[worker]], state)
        print(self.shared.lock, self.shared.rwlock, self.shared.semaphore, self.shared.condition,
              self.shared.event, self.shared.barrier, sep="\n")  # fmt: skip
        raise AssertionError("somebody hangs")

    def run(self, kills: int) -> None:
        for worker in range(WORKERS):
            self.start(worker)
        try:
            for kill in range(kills):
                time.sleep(self.chance.random() * 0.004)
                self.kill()
                if kill % 20 == 0:
                    self.stop(self.chance.randrange(WORKERS))
                if kill % 5 == 0:
                    self.let_all_go_on()
            self.let_all_go_on()
            self.numbers[STOP] = 1
            for pid in list(self.pids):
                self.end(pid)
        finally:
            for pid in self.pids:
                os.kill(pid, signal.SIGKILL)
        self.settle()

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
            self.relieve()
            time.sleep(0.001)

    def settle(self) -> None:
        """All have gone. Nothing is held, and each death was told once."""
        with self.shared.lock, self.shared.rwlock.write():  # the last ones are told here
            pass
        check(self.shared.semaphore.value == PERMITS, "permits are gone for good")
        for kind, told in (("lock", TOLD_LOCK), ("rwlock", TOLD_WRITER)):
            number, deaths = sum(self.numbers[slot] for slot in told), len(self.deaths[kind])
            print(f"{kind}: {deaths} owners died, {number} times told, {self.untold[kind]} untold")
            check(deaths - self.untold[kind] <= number <= deaths, f"{kind}: not told once each")
        print(f"{self.numbers[COUNT]} counted, {sum(self.numbers[t] for t in TURNS)} turns")


def main() -> None:
    kills, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else os.getpid()
    print(f"seed {seed}", flush=True)
    warnings.simplefilter("ignore", emmap.OwnerDiedWarning)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/storm"
        emmap.open(path, "x+", size=SIZE).close()
        Storm(path, seed).run(kills)


if __name__ == "__main__":
    assert mmap.PAGESIZE <= 4096 or SIZE % mmap.PAGESIZE == 0
    main()
