from types import TracebackType
from typing import Self, final

from emmap.store.handle import Handle

@final
class Transaction:
    def __new__(cls, handle: Handle) -> Self: ...
    def __enter__(self) -> Transaction: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...
