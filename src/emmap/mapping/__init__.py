"""Map: a file, or memory, as bytes that can be shared, protected, flushed, and never crash you."""

from emmap.mapping.flags import Advice, Protection
from emmap.mapping.memorymap import MemoryMap
from emmap.mapping.opening import anonymous, open

__all__ = ["Advice", "MemoryMap", "Protection", "anonymous", "open"]
