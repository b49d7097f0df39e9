"""What `Store.statistics` tells."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


OLDEST_READER = ("pid", "transaction", "behind", "since")
STATISTICS = (
    *("size", "room", "used", "free", "held", "names", "transaction", "readers", "oldest_reader"),
    *("flushes", "last_flush", "unflushed"),
)


class Figures:
    """Numbers by their names, which cannot be changed."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, **figures: object) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, figures[name])

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Figures) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({figures})"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self._values())


def _again(kind: type[Figures], values: tuple[object, ...]) -> Figures:
    return kind(**dict(zip(kind.__slots__, values, strict=True)))


class OldestReader(Figures):
    """Who reads the oldest moment of a store, and so keeps the space of what was replaced since.

    - `pid`: his process, as he sees it himself (a container may number it otherwise).
    - `transaction`: the one after which he reads the store.
    - `behind`: how many transactions there have been since.
    - `since`: when he began, as `time.time` tells; None where he reads but for a moment.
    """

    __slots__ = OLDEST_READER
    pid: int
    transaction: int
    behind: int
    since: float | None


class Statistics(Figures):
    """A store in numbers, at one moment. All sizes are in bytes.

    - `size`: of the file. `room`: to how much it can grow before it has to be mapped anew.
    - `used`: in what the store holds now. `free`: can be used at once. `held`: was replaced, and is
      used again when readers or the next flush let go of it.
    - `names`: how many containers and locks it has.
    - `transaction`: the number of the last one that was committed.
    - `readers`: how many moments are being read, in all processes; `oldest_reader`: the one who
      reads the oldest, an `OldestReader`, or None.
    - `flushes`: how many were completed; `last_flush`: the transaction that the last one has made
      durable; `unflushed`: how many there have been since.

    It cannot be changed; equal ones are equal, and it pickles.

    >>> import emmap
    >>> with emmap.Store(None) as store:
    ...     store.dict("a")["key"] = "value"
    ...     figures = store.statistics()
    >>> figures.names, figures.readers, figures.used < figures.size
    (1, 0, True)
    """

    __slots__ = STATISTICS
    size: int
    room: int
    used: int
    free: int
    held: int
    names: int
    transaction: int
    readers: int
    oldest_reader: OldestReader | None
    flushes: int
    last_flush: int
    unflushed: int
