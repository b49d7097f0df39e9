"""What the tests of the arena share."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emmap

PARTNER = Path(__file__).with_name("arena_partner.py")
FIRST = 2576  # the offset of an arena's first block
BUSY, ROOT, SIZE, VERSION = 56, 48, 24, 8  # the offsets of words of its head


def arena_in(path: Path, size: int = 1 << 16) -> emmap.Arena:
    return emmap.Arena(emmap.open(path, "a+", size=size))


def fill(arena: emmap.Arena, length: Callable[[], int]) -> list[int]:
    """Allocates until the arena is full, and returns the blocks' offsets."""
    offsets = []
    with contextlib.suppress(MemoryError):
        while True:
            offsets.append(arena.allocate(length()))
    return offsets


@contextlib.contextmanager
def partner(arena: emmap.Arena) -> Iterator[Any]:
    """A function that lets another process, where the arena lies elsewhere, answer a request."""
    command = [sys.executable, str(PARTNER), str(arena.mapping.name), str(arena.mapping.address)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def send(*request: Any) -> None:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()

        def receive() -> Any:
            return json.loads(stdout.readline())

        def ask(*request: Any) -> Any:
            send(*request)
            return receive()

        ask.send, ask.receive = send, receive  # type: ignore[attr-defined]
        yield ask
        stdin.close()
        assert process.wait() == 0


def methods(arena: emmap.Arena, offset: int) -> dict[str, Any]:
    """A call of each method, by its name."""
    return {
        "allocate": lambda: arena.allocate(10),
        "free": lambda: arena.free(offset),
        "set root": lambda: setattr(arena, "root", offset),
        "repair": arena.repair,
        "root": lambda: arena.root,
        "view": lambda: arena.view(offset),
        "statistics": arena.statistics,
        "check": arena.check,
    }
