"""The sixth step: a file truncated under a living mapping, and survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import emmap
from emmap.cli.tour.place import Place
from emmap.cli.tour.report import Report

SHOWN = 20

# What the standard module makes of it. The limit keeps the system from storing a core dump.
STANDARD = """
import mmap, os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))
with open(sys.argv[1], "r+b") as file:
    mapping = mmap.mmap(file.fileno(), 0)
os.truncate(sys.argv[1], 0)
mapping[0]
"""


def run(place: Place) -> Report:
    """Lose the pages of a mapping, catch the error, and repair the mapping."""
    path = place.copy("copy")
    with open(path, "rb") as file:
        data = file.read()
    with emmap.open(path) as mapping:
        rows = [("at first", repr(mapping[:SHOWN]))]
        os.truncate(path, 0)
        try:
            answer = repr(mapping[0])
        except emmap.PageLostError as error:
            answer = f"PageLostError: {error.strerror}"
        rows.append(("truncated", answer))
        with open(path, "wb") as file:
            file.write(data)
        mapping.repair()
        rows.append(("grown, repaired", repr(mapping[:SHOWN])))
    rows.append(("the standard mmap", fate_of_standard(place)))
    return Report(
        "Truncate the file under a living mapping",
        "m = emmap.open('copy')\n"
        "os.truncate('copy', 0)\n"
        "m[0]\n"
        "open('copy', 'wb').write(data)\n"
        f"m.repair(); m[:{SHOWN}]",
        rows,
        "When a file shrinks, the pages behind its new end are lost, and the kernel sends SIGBUS "
        "to whoever touches them. emmap catches it and raises an exception; once the file has "
        "grown again, repair() brings the pages back.",
    )


def fate_of_standard(place: Place) -> str:
    """Do the same with the standard module, in a process that may die of it."""
    command = [sys.executable, "-I", "-S", "-c", STANDARD, place.copy("standard")]
    code = subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode
    if code >= 0:
        return f"ended with exit code {code}"
    return f"killed by {signal.Signals(-code).name} (in a process of its own)"
