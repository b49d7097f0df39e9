"""`Store`: Python data in one file, shared by processes."""

from __future__ import annotations

from operator import index
from sys import maxsize

from emmap.codec.values import Codec
from emmap.store import directory, named
from emmap.store.array import Array
from emmap.store.dict import Dict
from emmap.store.directory import A_DICT, A_LIST, AN_ARRAY
from emmap.store.edit import Edit
from emmap.store.handle import Handle
from emmap.store.list import List
from emmap.store.opening import open_file
from emmap.store.snapshot import Snapshot
from emmap.store.statistics import OldestReader, Statistics
from emmap.store.transaction import Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn, TypeVar, overload

    from numpy.typing import DTypeLike

    from emmap.locks.condition import Condition
    from emmap.locks.event import Event
    from emmap.locks.lock import Lock
    from emmap.locks.rwlock import RWLock
    from emmap.locks.semaphore import Semaphore
    from emmap.store.opening import Path

    Names = list[str]
    Shape = int | tuple[int, ...]
    T = TypeVar("T")


class Store(Handle):
    """Dicts, lists and arrays in one file, shared by processes and safe against `kill -9`.

    `path` is the file; None makes a store in memory, which children of fork share. The modes:

    - ``"r"``: read what is there.
    - ``"r+"``: read and write what is there.
    - ``"a"``: the same, and a missing file is made. It belongs to you alone (0600).
    - ``"w"``: a new store, also in the place of a file that is there, of whatever content. Raises
      `InUseError` while somebody has it open.
    - ``"x"``: a new store, where no file is.

    Any number of processes and threads may have it open and do what they like: each operation on
    what is in it is done or not done, also when its process is killed in the middle; nobody waits
    for a reader, and readers wait for nobody. `transaction` makes one of many operations,
    `snapshot` keeps a moment. Writers take turns. All handles that a process has of a file share
    one mapping. After fork the child goes on with what it inherited, but for transactions.

    What is committed is seen by all at once, and outlives the processes. It survives a power loss
    when it has been flushed: by `flush`, by `close`, or with `durable=True` by each commit.
    `flush_every` (seconds) has no effect yet.

    Values keep their types, or are refused: see `dict`. With `codec="pickle"` all are taken that
    pickle takes; **whoever can write such a file runs code in all who read it**.

    `reserve` is how many bytes of address space are taken, for the file to grow without being
    mapped anew; None is 64 GiB, or as much as there is.

    Raises `OSError` as the built-in `open` does, and `PermissionError` in mode "r" too for a file
    that you may not write: readers note in it what they look at. `CorruptFileError` for what is no
    store or a damaged one, and `OSError` (ENOTSUP) on network filesystems, FUSE and 9p. Cost: about
    a tenth of a millisecond; after the machine was started anew, a walk over all that is in it.

    >>> import emmap, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "data.emmap")
    >>> with emmap.Store(path) as store:
    ...     users = store.dict("users")
    ...     users["ada"] = {"born": 1815}
    ...     with store.transaction():
    ...         users["alan"] = {"born": 1912}
    ...         store.list("log").append("alan came")
    >>> with emmap.Store(path, "r") as store:
    ...     store.names(), store["users"]["alan"]
    (['log', 'users'], {'born': 1912})
    """

    def __init__(
        self,
        path: Path | None,
        mode: str = "a",
        *,
        durable: bool = False,
        flush_every: float | None = 5.0,
        codec: str | None = None,
        reserve: int | None = None,
    ) -> None:
        if codec not in (None, "pickle"):
            raise ValueError(f'codec is None or "pickle", not {codec!r}')
        if flush_every is not None and not flush_every > 0:
            raise ValueError(f"flush_every is a number of seconds or None, not {flush_every!r}")
        if reserve is not None and not 0 < index(reserve) <= maxsize:
            raise ValueError(f"reserve is a number of bytes, not {reserve!r}")
        file = open_file(path, mode, reserve)
        super().__init__(
            file,
            writable=mode != "r",
            durable=durable,
            codec=Codec() if codec is None else Codec.pickle(),
        )
        self._path: str | None = file.name
        self._mode = mode

    # What is in it

    if TYPE_CHECKING:

        @overload
        def dict(self, name: str, type: None = None) -> Dict[Any, Any]: ...
        @overload
        def dict(self, name: str, type: builtins.type[T]) -> Dict[Any, T]: ...

    def dict(self, name: str, type: Any = None) -> Dict[Any, Any]:
        """The dict of this name, made if it is not there.

        Keys are str, bytes, int, or tuples of them. Values are None, bool, int, float, str, bytes,
        list, tuple, dict, set and what else `Store` names, nested as you like; each comes back
        equal and of the same type, or setting it raises `TypeError`. With `type`, a dataclass, a
        `msgspec.Struct` or whatever msgspec knows as a type, all values are of that one. It is not
        recorded: give the same each time.

        Raises `TypeError` when the name is that of something else, and `KeyError` when it is not
        there and the store was opened for reading. Cost: a microsecond, and a commit to make it.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     squares = store.dict("squares")
        ...     squares.update((n, n * n) for n in range(4))
        ...     squares[3], squares.get(4)
        (9, None)
        """
        directory.make(self, name, A_DICT)
        return Dict(self, name, self._codec_for(type))

    if TYPE_CHECKING:

        @overload
        def list(self, name: str, type: None = None) -> List[Any]: ...
        @overload
        def list(self, name: str, type: builtins.type[T]) -> List[T]: ...

    def list(self, name: str, type: Any = None) -> List[Any]:
        """The list of this name, made if it is not there. In all else as `dict`.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     jobs = store.list("jobs")
        ...     jobs += ["one", "three"]
        ...     jobs.insert(1, "two")
        ...     jobs[:2], len(jobs)
        (['one', 'two'], 3)
        """
        directory.make(self, name, A_LIST)
        return List(self, name, self._codec_for(type))

    def array(self, name: str, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
        """The NumPy array of this name; with `shape` it is made of zeros if it is not there.

        Raises `KeyError` when it is not there and no `shape` is given, or the store was opened for
        reading; `ValueError` when it has another shape or dtype than the ones given; `TypeError`
        when the name is that of something else, and for arrays of objects. Cost: a few
        microseconds.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     grid = store.array("grid", (2, 3), "i4")
        ...     grid[0] = 7
        ...     grid.shape, int(grid[...].sum())
        ((2, 3), 21)
        """
        return Array(self, name, shape, dtype)

    def names(self) -> Names:
        """The names of all that is in it, sorted. Cost: a microsecond for each."""
        return sorted(directory.names(self))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and directory.kind_of(self, name) != 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return directory.count(self)

    def __getitem__(self, name: str) -> Any:
        """What has this name: a `Dict`, `List` or `Array`, or a lock. Raises `KeyError`."""
        kind = directory.kind_of(self, name)
        if kind == 0:
            raise KeyError(name)
        if kind == A_DICT:
            return Dict(self, name, self._codec)
        if kind == A_LIST:
            return List(self, name, self._codec)
        if kind == AN_ARRAY:
            return Array(self, name, None, None)
        return named.existing(self, name)

    def __delitem__(self, name: str) -> None:
        """Deletes what has this name, with all that is in it.

        Who reads it in a snapshot goes on. Raises `KeyError`, and `ValueError` for a lock, which
        somebody may hold. Cost: half a microsecond for each block of it.
        """
        directory.remove(self, name)

    def rename(self, old: str, new: str) -> None:
        """Gives something another name.

        Raises `KeyError` when it is not there, and `ValueError` when the new name is taken, and for
        locks, which others find by their names. Cost: a commit.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     store.dict("a")[1] = "one"
        ...     store.rename("a", "b")
        ...     store.names(), store["b"][1]
        (['b'], 'one')
        """
        directory.rename(self, old, new)

    # Locks by their names

    def lock(self, name: str, *, on_owner_death: Callable[[Lock], object] | None = None) -> Lock:
        """The `Lock` of this name, which lies in the file; made if it is not there.

        It is there for all at once, whatever becomes of a transaction, and stays: it cannot be
        deleted or renamed. Raises `TypeError` when the name is that of something else;
        `RuntimeError` when it has to be made inside a transaction of this thread: make it before.
        Cost: twenty microseconds: keep it.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     with store.lock("reports"):
        ...         store.lock("reports").locked()
        True
        """
        return named.lock(self, name, on_owner_death)

    def rwlock(
        self, name: str, *, on_owner_death: Callable[[RWLock], object] | None = None
    ) -> RWLock:
        """The `RWLock` of this name. In all else as `lock`."""
        return named.rwlock(self, name, on_owner_death)

    def semaphore(self, name: str, n: int = 1) -> Semaphore:
        """The `Semaphore` of this name, which begins with `n` permits. In all else as `lock`.

        Raises `ValueError` when it is there and began with another number.
        """
        return named.semaphore(self, name, n)

    def condition(self, name: str) -> Condition:
        """The `Condition` of this name, with an `RLock` of its own. In all else as `lock`."""
        return named.condition(self, name)

    def event(self, name: str) -> Event:
        """The `Event` of this name. In all else as `lock`."""
        return named.event(self, name)

    # Many operations as one

    def transaction(self) -> Transaction:
        """A context manager: what this thread does to the store in the block is done as one.

        Others see all of it or nothing. When the block raises, nothing of it has been done. Within
        another transaction it is a part that is undone by itself. Writers of other threads
        and processes wait meanwhile, readers do not.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     stock = store.dict("stock")
        ...     stock["apples"] = 5
        ...     try:
        ...         with store.transaction():
        ...             stock["apples"] -= 3
        ...             stock["pears"] += 3
        ...     except KeyError:
        ...         stock["apples"]
        5
        """
        return Transaction(self)

    def snapshot(self) -> Snapshot:
        """A context manager that keeps this moment, to be read for as long as you like.

        It has `dict`, `list`, `array`, `names` and `[name]` as the store has, and nothing in it
        changes. What writers replace meanwhile takes space until the block is left and the last
        view of it has gone. Cost: a microsecond.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     d = store.dict("d")
        ...     d["n"] = 1
        ...     with store.snapshot() as then:
        ...         d["n"] = 2
        ...         then["d"]["n"], d["n"]
        (1, 2)
        """
        return Snapshot(self)

    def edit(self, name: str) -> Edit:
        """A context manager: a copy of an array, to be changed and written back as one.

        Other writers wait meanwhile, so nothing of theirs is overwritten. When the block raises,
        nothing is written. Raises `KeyError` and `TypeError` as `array`.

        >>> import emmap
        >>> with emmap.Store(None) as store:
        ...     grid = store.array("grid", 4)
        ...     with store.edit("grid") as a:
        ...         a += 1
        ...         a[2] = 0
        ...     grid[...]
        array([1., 1., 0., 1.])
        """
        return self.array(name)._edit()

    # The file

    @property
    def path(self) -> str | None:
        """The path of the file, from the root on; None in memory."""
        return self._path

    @property
    def mode(self) -> str:
        """The mode that it was opened with."""
        return self._mode

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self._file is None

    def statistics(self) -> Statistics:
        """The store in numbers: its sizes, its readers, its flushes. Cost: some microseconds."""
        figures = self._opened().figures()
        oldest = figures.pop("oldest")
        transaction = figures["transaction"]
        reader = None
        if oldest is not None:
            pid, seen, since = oldest
            reader = OldestReader(
                pid=pid,
                transaction=seen,
                behind=transaction - seen,
                since=since / 1e9 if since else None,
            )
        return Statistics(
            **figures, oldest_reader=reader, unflushed=transaction - figures["last_flush"]
        )

    def check(self) -> None:
        """Walks over all of it: raises `CorruptFileError`, which says where, if it is damaged.

        Writers wait meanwhile. Cost: 0.4 microseconds for each block.
        """
        self._opened().check()

    def flush(self) -> None:
        """Makes all that is committed survive a power loss.

        Raises `OSError` when the disk fails; from then on nothing can be written until the store is
        opened anew. Cost: what the disk takes.
        """
        self._to_write().flush()

    def close(self) -> None:
        """Flushes what was written, and lets go of the file. Closing again does nothing.

        Later use raises `ClosedError`. Snapshots and views that are still held go on, and keep the
        memory. Raises `OSError` when the flush fails, and is closed all the same; `RuntimeError`
        inside a transaction of this thread, and is not.
        """
        file = self._file
        if file is None:
            return
        if file.is_writing():
            raise RuntimeError("close() in the middle of a transaction: leave its block first")
        try:
            if self.writable:
                file.flush()
        finally:
            self._let_go()

    def __enter__(self) -> Store:
        self._opened()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Store cannot be pickled: open it in the other process, by its path"
            + ("" if self.path is None else f": emmap.Store({self.path!r})")
        )

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else repr(self.path)
        return f"<emmap.Store {where}, {'closed' if self.closed else f'mode {self.mode!r}'}>"

    def _codec_for(self, kind: Any) -> Codec:
        return self._codec if kind is None else Codec.for_type(kind)
