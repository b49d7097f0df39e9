from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, Self, final

from typing_extensions import disjoint_base

from emmap.locks.lock import BaseLock
from emmap.locks.place import Place

@disjoint_base
class RWLock(BaseLock):
    SIZE: Final = 4096
    ALIGNMENT: Final = 16
    def __new__(
        cls,
        place: Place,
        *,
        offset: int = 0,
        on_owner_death: Callable[[RWLock], object] | None = None,
    ) -> Self: ...
    def read(self) -> Reading: ...
    def acquire_read(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    async def acquire_read_async(self, timeout: float = -1) -> bool: ...
    def release_read(self) -> None: ...
    def write(self) -> Writing: ...
    def acquire_write(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    async def acquire_write_async(self, timeout: float = -1) -> bool: ...
    async def _write_async(self, patience: int, to_repair: bool) -> bool: ...
    def release_write(self) -> None: ...
    @property
    def write_locked(self) -> bool: ...
    @property
    def readers(self) -> int: ...

@final
class Reading:
    def __enter__(self) -> Literal[True]: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def __aenter__(self) -> Literal[True]: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Writing:
    def __enter__(self) -> Literal[True]: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def __aenter__(self) -> Literal[True]: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
