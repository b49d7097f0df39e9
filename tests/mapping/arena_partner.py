"""Another process that works on an arena, and has it mapped at another address.

    python arena_partner.py FILE ADDRESS

ADDRESS is where the first process has it. Each line on standard input is one request as JSON,
[name, arguments...], and is answered by one line. `watch` reads the root's block until its first
byte is 0, and answers with the values that its second byte had.
"""

import json
import sys
from typing import Any

import emmap


def watch(arena: emmap.Arena) -> list[int]:
    """Looks, without a lock, at a block that another process has while it allocates and frees."""
    seen = set()
    while (look := bytes(arena.view(arena.root)))[0]:
        seen.add(look[1])
    return sorted(seen)


def answer(arena: emmap.Arena, name: str, *arguments: int) -> Any:
    if name == "allocate":
        offset = arena.allocate(arguments[0])
        view = arena.view(offset)
        assert view == bytes(arguments[0])
        view[:] = bytes([arguments[1]]) * arguments[0]
        return offset
    if name == "view":
        return list(arena.view(*arguments))
    if name == "set_root":
        arena.root = arguments[0]
        return None
    if name == "watch":
        return watch(arena)
    return getattr(arena, name)(*arguments)


def main() -> None:
    path, address = sys.argv[1], int(sys.argv[2])
    mapping = emmap.open(path, "r+", reserve=1 << 30)
    before = mapping
    if mapping.address == address:
        mapping = emmap.open(path, "r+", reserve=1 << 30)
    assert mapping.address != address
    arena = emmap.Arena(mapping)
    for line in sys.stdin:
        print(json.dumps(answer(arena, *json.loads(line))), flush=True)
    before.close()


if __name__ == "__main__":
    main()
