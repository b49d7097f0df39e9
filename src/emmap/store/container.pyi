from types import GenericAlias
from typing import Any, NoReturn

from typing_extensions import disjoint_base

KINDS: dict[int, str]

@disjoint_base
class Container:
    @property
    def name(self) -> str: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __reduce__(self) -> NoReturn: ...
