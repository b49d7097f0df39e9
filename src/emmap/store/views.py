"""Keys, values and items of a dict in a store, as the views of a plain dict."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from emmap.store.dict import Dict

# What a walk gives: see DictIterator.
KEYS, VALUES, ITEMS = range(3)


class Keys(KeysView[Any] if TYPE_CHECKING else KeysView):  # type: ignore[misc]
    """The keys, as a set."""

    _mapping: Dict[Any, Any]

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._walk(KEYS)


class Values(ValuesView[Any] if TYPE_CHECKING else ValuesView):  # type: ignore[misc]
    """The values."""

    _mapping: Dict[Any, Any]

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._walk(VALUES)

    def __contains__(self, value: object) -> bool:
        return any(value is one or value == one for one in self)


class Items(ItemsView[Any, Any] if TYPE_CHECKING else ItemsView):  # type: ignore[misc]
    """The keys with their values, as a set."""

    _mapping: Dict[Any, Any]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._walk(ITEMS)
