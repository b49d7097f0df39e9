from collections.abc import Callable
from typing import Any, Final, Self

from typing_extensions import disjoint_base

from emmap.locks.place import Place, Placed

@disjoint_base
class Barrier(Placed):
    SIZE: Final = 4096
    ALIGNMENT: Final = 16
    def __new__(
        cls,
        place: Place,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        offset: int = 0,
    ) -> Self: ...
    def wait(self, timeout: float | None = None) -> int: ...
    async def wait_async(self, timeout: float | None = None) -> int: ...
    def reset(self) -> None: ...
    def abort(self) -> None: ...
    @property
    def parties(self) -> int: ...
    @property
    def n_waiting(self) -> int: ...
    @property
    def broken(self) -> bool: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
