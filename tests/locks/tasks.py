"""What the tests of awaiting share: what happens soon, scripts, waiter threads."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import emmap
from mapping.peer import Peer


def until(condition: Callable[[], object]) -> None:
    """Waits for something that happens soon, and lets no loop go on meanwhile."""
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.0005)
    raise TimeoutError(f"{condition} has not come true")


async def soon(condition: Callable[[], object]) -> None:
    """The same in a loop that goes on."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"{condition} has not come true"
        await asyncio.sleep(0)


def waiters() -> int:
    """How many waiter threads there are."""
    return sum(thread.name == "emmap-waiter" for thread in threading.enumerate())


def run_script(script: str, **options: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
        **options,
    )
    return str(done.stdout)


def forget(task: "asyncio.Task[Any]") -> None:
    """That a task is destroyed which still waits is what we are after."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def begin(waiting: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """A task that waits."""
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    assert not task.done()
    return task


def borrow_id(peer: Peer, m: emmap.MemoryMap) -> bytes:
    """The word of a lock that the peer holds."""
    peer("lock = emmap.Lock(m, offset=12288); lock.acquire()")
    return bytes(m[12288 + 8 : 12288 + 16])
