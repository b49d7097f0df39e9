"""The seventh step: a file that another process makes longer, under a living view."""

from __future__ import annotations

import os
import subprocess
import sys

import emmap
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report, amount

RESERVED = 1 << 36
MORE = 1 << 20

# What the other process does. It gets the path, and how many bytes to add.
OTHER = """
import emmap, sys
with emmap.open(sys.argv[1], "r+", reserve=1 << 36) as m:
    size = len(m)
    m.grow(size + int(sys.argv[2]))
    m[size : size + 5] = b"added"
"""


def run(place: Place) -> Report:
    """Map a file with room to grow, and let another process make it longer."""
    path = place.copy("copy")
    with emmap.open(path, reserve=RESERVED) as mapping, memoryview(mapping) as view:
        size, address = len(mapping), mapping.address
        capacity = mapping.capacity
        command = [sys.executable, "-P", "-c", OTHER, path, str(MORE)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise OSError(f"the other process failed: {done.stderr.strip().splitlines()[-1]}")
        return Report(
            "Let another process make the file longer",
            f"m = emmap.open('copy', reserve={RESERVED})\n"
            "view = memoryview(m)\n"
            "# the other process: m.grow(...); m[...] = b'added'\n"
            f"len(m), m.address, m[{size} : {size + 5}]",
            [
                ("length", f"{size:,}", f"{len(mapping):,}"),
                ("address", hex(address), hex(mapping.address)),
                (f"bytes from {size} on", "there are none", repr(mapping[size : size + 5])),
                ("the old view", f"{len(view):,} bytes", "still valid"),
                ("size of the file", f"{size:,}", f"{os.path.getsize(path):,}"),
            ],
            f"We reserved {amount(capacity)} of addresses, which cost no memory. So the new bytes "
            "came to lie right behind the old ones, in every process that has the file open, and "
            "nothing had to be moved or mapped again.",
            header=("", "before", "after"),
        )
