from types import GenericAlias
from typing import Any, NoReturn

KINDS: dict[int, str]

class Container:
    @property
    def name(self) -> str: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __reduce__(self) -> NoReturn: ...
