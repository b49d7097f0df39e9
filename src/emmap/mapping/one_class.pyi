from typing import TypeVar

_Kind = TypeVar("_Kind", bound=type)

def as_one_class(kind: _Kind) -> _Kind: ...
