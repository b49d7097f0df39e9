from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self

from typing_extensions import disjoint_base

from emmap.locks.lock import BaseLock
from emmap.locks.place import Place

@disjoint_base
class RLock(BaseLock):
    SIZE: Final = 32
    ALIGNMENT: Final = 16
    def __new__(
        cls,
        place: Place,
        *,
        offset: int = 0,
        on_owner_death: Callable[[RLock], object] | None = None,
    ) -> Self: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def _is_owned(self) -> bool: ...
    def _release_save(self) -> int: ...
    def _acquire_restore(self, count: int) -> None: ...
    def __enter__(self) -> Literal[True]: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
