from typing import SupportsIndex

from emmap.mapping.cursor import MappedCursor

KNOWN_ADVICE: frozenset[int]
ABOUT_CONTENT: frozenset[int]

class MappedPages(MappedCursor):
    def protect(self, protection: int, offset: int = 0, length: int | None = None) -> None: ...
    def flush(
        self,
        offset: int = 0,
        length: int | None = None,
        /,
        *,
        flags: int | None = None,
        wait: bool = True,
        invalidate: bool = False,
    ) -> None: ...
    def advise(self, advice: int, offset: int = 0, length: int | None = None) -> None: ...
    def madvise(
        self,
        option: SupportsIndex,
        start: SupportsIndex = 0,
        length: SupportsIndex | None = None,
        /,
    ) -> None: ...
    def populate(
        self, offset: int = 0, length: int | None = None, *, write: bool = False
    ) -> None: ...
    def pin(self, offset: int = 0, length: int | None = None) -> None: ...
    def unpin(self, offset: int = 0, length: int | None = None) -> None: ...
    def evict(self, offset: int = 0, length: int | None = None) -> None: ...
