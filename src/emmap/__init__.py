"""emmap: memory-mapped files as a first-class tool.

**Map** a file into memory, **share** it between processes, **keep** Python data in it, **see**
what the kernel does with its pages. Rooms are loaded when a name of theirs is first used.

>>> import emmap, tempfile
>>> with tempfile.NamedTemporaryFile() as f, emmap.open(f.name, "r+", size=5) as m:
...     m[:] = b"hello"
...     m.find(b"l")
2
"""

from emmap.errors import (
    AddressSpaceError,
    ClosedError,
    CorruptFileError,
    Error,
    InUseError,
    NetworkFilesystemWarning,
    OwnerDiedWarning,
    PageLostError,
    ProtectionError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from emmap.arrays import MappedArray, empty, load, save, share
    from emmap.locks.atomic import Atomic
    from emmap.locks.barrier import Barrier
    from emmap.locks.condition import Condition
    from emmap.locks.event import Event
    from emmap.locks.lock import Lock
    from emmap.locks.rangelock import RangeLock
    from emmap.locks.rlock import RLock
    from emmap.locks.rwlock import RWLock
    from emmap.locks.semaphore import Semaphore
    from emmap.mapping import MemoryMap, anonymous, named, open, windows
    from emmap.mapping.arena import Arena
    from emmap.mapping.constants import *  # noqa: F403
    from emmap.mapping.flags import Advice, Protection
    from emmap.store.array import Array
    from emmap.store.dict import Dict
    from emmap.store.list import List
    from emmap.store.snapshot import Snapshot
    from emmap.store.statistics import Statistics
    from emmap.store.store import Store
    from emmap.store.transaction import Transaction
    from emmap.text.counting import Counts, count, count_each
    from emmap.text.lines import Lines, lines
    from emmap.text.searching import Hit, grep
    from emmap.text.splitting import split
    from emmap.text.translating import translate

__version__ = "0.1.0"

# The public API, on one screen: the room that each name comes from.
_ROOMS = {
    # Map
    "open": "mapping",
    "named": "mapping",
    "anonymous": "mapping",
    "windows": "mapping",
    "MemoryMap": "mapping",
    "Protection": "mapping.flags",
    "Advice": "mapping.flags",
    "Arena": "mapping.arena",
    "empty": "arrays",
    "load": "arrays",
    "save": "arrays",
    "share": "arrays",
    "MappedArray": "arrays",
    # Share
    "Atomic": "locks.atomic",
    "Lock": "locks.lock",
    "RLock": "locks.rlock",
    "RWLock": "locks.rwlock",
    "Semaphore": "locks.semaphore",
    "Event": "locks.event",
    "Condition": "locks.condition",
    "Barrier": "locks.barrier",
    "RangeLock": "locks.rangelock",
    # Keep
    "Store": "store.store",
    "Dict": "store.dict",
    "List": "store.list",
    "Array": "store.array",
    "Transaction": "store.transaction",
    "Snapshot": "store.snapshot",
    "Statistics": "store.statistics",
    # Scans of texts of any size
    "count": "text.counting",
    "count_each": "text.counting",
    "Counts": "text.counting",
    "grep": "text.searching",
    "Hit": "text.searching",
    "lines": "text.lines",
    "Lines": "text.lines",
    "split": "text.splitting",
    "translate": "text.translating",
}
# The constants of the standard mmap module, under the same names.
_CONSTANTS = ("ACCESS_", "MAP_", "PROT_", "MADV_", "MS_", "PAGESIZE", "ALLOCATIONGRANULARITY")

__all__ = [
    "AddressSpaceError",
    "Advice",
    "Arena",
    "Array",
    "Atomic",
    "Barrier",
    "ClosedError",
    "Condition",
    "CorruptFileError",
    "Counts",
    "Dict",
    "Error",
    "Event",
    "Hit",
    "InUseError",
    "Lines",
    "List",
    "Lock",
    "MappedArray",
    "MemoryMap",
    "NetworkFilesystemWarning",
    "OwnerDiedWarning",
    "PageLostError",
    "Protection",
    "ProtectionError",
    "RLock",
    "RWLock",
    "RangeLock",
    "Semaphore",
    "Snapshot",
    "Statistics",
    "Store",
    "Transaction",
    "anonymous",
    "count",
    "count_each",
    "empty",
    "grep",
    "lines",
    "load",
    "named",
    "open",
    "save",
    "share",
    "split",
    "translate",
    "windows",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _ROOMS:
        value = getattr(import_module(f"emmap.{_ROOMS[name]}"), name)
    elif name.startswith(_CONSTANTS):
        value = getattr(import_module("emmap.mapping.constants"), name)
    else:
        raise AttributeError(f"module 'emmap' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
