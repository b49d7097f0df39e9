from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Literal, Self

from typing_extensions import disjoint_base

from emmap.locks.place import Place, Placed

@disjoint_base
class BaseLock(Placed):
    def locked(self) -> bool: ...
    @property
    def owner_died(self) -> bool: ...
    def mark_consistent(self) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

class Lock(BaseLock):
    SIZE: Final = 16
    ALIGNMENT: Final = 16
    def __new__(
        cls,
        place: Place,
        *,
        offset: int = 0,
        on_owner_death: Callable[[Lock], object] | None = None,
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
    async def acquire_async(self, timeout: float = -1) -> bool: ...
    async def __aenter__(self) -> Literal[True]: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
