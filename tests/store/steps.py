"""What a worker of the storm does to a dict and a list, step by step: known to all beforehand."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

Operation = Callable[[Any, Any], object]


def operation(chance: random.Random) -> Operation:
    """A random call on a dict d and a list x."""
    key = chance.randrange(60)
    i = chance.randrange(1000)
    value = bytes([i & 255]) * chance.choice([0, 10, 14, 15, 100, chance.randrange(2000), 9000])
    calls: list[Operation] = [
        lambda d, x: d.__setitem__(key, value),
        lambda d, x: d.__setitem__(key, str(i)),
        lambda d, x: d.pop(key, None),
        lambda d, x: d.update((n, i) for n in range(key)),
        lambda d, x: [d.pop(n, None) for n in range(key, 60)],
        lambda d, x: x.append(value),
        lambda d, x: x.insert(i % (len(x) + 1), i),
        lambda d, x: x.extend(range(i % 90)) if len(x) < 300 else x.clear(),
        lambda d, x: x and x.pop(i % len(x)),
        lambda d, x: x and x.__setitem__(i % len(x), value),
        lambda d, x: x.__delitem__(slice(i % 200, i % 200 + key)),
        lambda d, x: x.__setitem__(slice(key, key + 3), [1, "two"]),
        lambda d, x: x.reverse(),
    ]
    return chance.choice(calls)


class Model:
    """A plain dict and list after the first `n` steps of a worker."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.n = 0
        self.d: dict[int, Any] = {}
        self.items: list[Any] = []

    def operations(self, n: int) -> list[Operation]:
        """The n-th step, counted from 1."""
        chance = random.Random(self.worker << 32 | n)
        return [operation(chance) for _ in range(chance.randrange(1, 6))]

    def advance(self, n: int) -> None:
        while self.n < n:
            self.n += 1
            for each in self.operations(self.n):
                each(self.d, self.items)


def checksum(d: dict[int, Any], items: list[Any]) -> int:
    """The same for equal contents, in any order of the dict."""
    return zlib.crc32(repr(items).encode(), zlib.crc32(repr(sorted(d.items())).encode()))
