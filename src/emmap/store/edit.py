"""A value that is read, changed and written back as one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from emmap.store.transaction import Transaction


class Edit:
    """What `edit` of a dict or a list returns, for a `with` block."""

    def __init__(self, container: Any, key: Any, transaction: Transaction, *default: Any) -> None:
        self._container = container
        self._key = key
        self._transaction = transaction
        self._default = default

    def __enter__(self) -> Any:
        self._transaction.__enter__()
        try:
            try:
                self._value = self._container[self._key]
            except KeyError:
                if not self._default or self._key in self._container:
                    raise
                (self._value,) = self._default
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            raise
        return self._value

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._container[self._key] = self._value
            except BaseException as failure:
                self._transaction.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._transaction.__exit__(kind, error, traceback)
