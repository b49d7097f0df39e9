from typing import Any

from _typeshed import StrOrBytesPath
from typing_extensions import disjoint_base

from emmap.mapping import MemoryMap

Place = MemoryMap | StrOrBytesPath

@disjoint_base
class Placed:
    offset: int
    _path: str | None
    @property
    def mapping(self) -> MemoryMap: ...

def place_again(kind: type[Any], place: Place, offset: int, options: dict[str, Any]) -> Any: ...
