"""A linked list and a binary tree in a file, with offsets in the place of pointers.

Run:  python linked_list.py

One process builds them; another one, which has the file at another address, finds them again.
"""

import ctypes
import multiprocessing

import emmap

FILE = "nodes.bin"


class Node(ctypes.Structure):
    """A number and three offsets, 0 for none. The root holds both beginnings: `next`, `right`."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("number", "next", "left", "right"))


def add(arena: emmap.Arena, number: int) -> None:
    """Put a number at the head of the list, and at its place in the tree."""
    offset = arena.allocate(ctypes.sizeof(Node))
    new, place = (arena.mapping.struct(Node, at) for at in (offset, arena.root))
    new.number, new.next, place.next = number, place.next, offset
    side = "right"
    while below := getattr(place, side):
        place = arena.mapping.struct(Node, below)
        side = "left" if number < place.number else "right"
    setattr(place, side, offset)


def in_order(mapping: emmap.MemoryMap, offset: int) -> list[int]:
    """The numbers of the tree below a node."""
    here = mapping.struct(Node, offset)
    left, right = (in_order(mapping, at) if at else [] for at in (here.left, here.right))
    return [*left, here.number, *right]


def find(taken: int) -> None:
    """What the other process does: it maps the file where the first one has not."""
    mapping = next(m for m in (emmap.open(FILE), emmap.open(FILE)) if m.address != taken)
    here = root = mapping.struct(Node, emmap.Arena(mapping).root)
    while here.next:
        here = mapping.struct(Node, here.next)
        print(here.number, end=" -> ")
    print("end\nthe tree:", *in_order(mapping, root.right))


if __name__ == "__main__":
    arena = emmap.Arena(emmap.open(FILE, "w+", size=10_000))
    arena.root = arena.allocate(ctypes.sizeof(Node))
    for number in (5, 2, 8, 1, 9):
        add(arena, number)
    multiprocessing.get_context("spawn").Process(target=find, args=(arena.mapping.address,)).start()
