"""What the kernel says of this process's memory, and mappings made in its way."""

from pathlib import Path

import emmap

PAGE = emmap.PAGESIZE


def mapped_in(path: Path) -> int:
    """How many kernel mappings of a file this process has."""
    with open("/proc/self/maps") as maps:
        return sum(str(path) in line for line in maps)


def smaps_of(address: int) -> dict[str, str]:
    """What the kernel says of the mapping at an address."""
    found: dict[str, str] = {}
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            head, _, rest = line.partition(":" if line.split()[0].endswith(":") else " ")
            if "-" in head and not head.startswith("VmFlags"):
                start, end = (int(n, 16) for n in head.split("-"))
                inside = start <= address < end
                if inside:
                    found["rights"] = rest.split()[0]
            elif inside:
                found[head] = rest.strip()
    return found


def blocked_behind(m: emmap.MemoryMap) -> emmap.MemoryMap:
    """A mapping right behind another one, so that this cannot grow where it is."""
    end = m.address + -(-len(m) // PAGE) * PAGE
    try:
        return emmap.anonymous(PAGE, address=end)
    except ValueError:
        return emmap.anonymous(0)  # something is there already
