from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from typing_extensions import disjoint_base

from emmap.locks.lock import Lock
from emmap.locks.place import Place, Placed
from emmap.locks.rlock import RLock

_T = TypeVar("_T")

@disjoint_base
class Condition(Placed):
    SIZE: Final = 4096
    ALIGNMENT: Final = 16
    lock: Lock | RLock
    def __new__(
        cls, place: Place, lock: Lock | RLock | None = None, *, offset: int = 0
    ) -> Self: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> Literal[True]: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T: ...
    def notify(self, n: int = 1) -> None: ...
    def notify_all(self) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
