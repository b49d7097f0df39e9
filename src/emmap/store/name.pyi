from typing import Self

from typing_extensions import disjoint_base

from emmap.store.file import StoreFile

@disjoint_base
class Name:
    @property
    def text(self) -> str: ...
    def __new__(cls, file: StoreFile, name: str) -> Self: ...
