"""Map: a file, or memory, as bytes that can be shared, protected, flushed, and never crash you."""

from emmap.mapping.memorymap import MemoryMap
from emmap.mapping.opening import anonymous, open

__all__ = ["MemoryMap", "anonymous", "open"]
