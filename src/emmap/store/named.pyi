from collections.abc import Callable
from typing import Any

from emmap.locks.condition import Condition
from emmap.locks.event import Event
from emmap.locks.lock import Lock
from emmap.locks.rwlock import RWLock
from emmap.locks.semaphore import Semaphore
from emmap.store.handle import Handle

TYPES: dict[int, Any]

def lock(handle: Handle, name: str, on_owner_death: Callable[[Lock], object] | None) -> Lock: ...
def rwlock(
    handle: Handle, name: str, on_owner_death: Callable[[RWLock], object] | None
) -> RWLock: ...
def semaphore(handle: Handle, name: str, n: int) -> Semaphore: ...
def condition(handle: Handle, name: str) -> Condition: ...
def event(handle: Handle, name: str) -> Event: ...
def existing(handle: Handle, name: str) -> Lock | RWLock | Semaphore | Condition | Event: ...
