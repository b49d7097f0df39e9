"""Map: a file, or memory, as bytes that can be shared, protected, flushed, and never crash you."""

from emmap.mapping.memorymap import MemoryMap
from emmap.mapping.opening import anonymous, named, open
from emmap.mapping.windows import windows

__all__ = ["MemoryMap", "anonymous", "named", "open", "windows"]
