from types import TracebackType
from typing import Any, Final, Literal, Self

from typing_extensions import disjoint_base

from emmap.locks.place import Place, Placed

@disjoint_base
class Semaphore(Placed):
    SIZE: Final = 4096
    ALIGNMENT: Final = 16
    def __new__(
        cls, place: Place, value: int = 1, *, maximum: int | None = None, offset: int = 0
    ) -> Self: ...
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool: ...
    def release(self, n: int = 1) -> None: ...
    def __enter__(self) -> Literal[True]: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    @property
    def value(self) -> int: ...
    @property
    def maximum(self) -> int | None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
