from types import TracebackType

from emmap.store.handle import Handle

class Transaction:
    def __init__(self, handle: Handle) -> None: ...
    def __enter__(self) -> Transaction: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool: ...
