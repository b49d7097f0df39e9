"""Where the tour takes place: the file it looks at, and a folder for what it changes."""

from __future__ import annotations

import os
from typing import NamedTuple

OWN_SIZE = 16 << 20
COPY_SIZE = 64 << 10

TEXT = b"""\
A mapped file is memory, and behaves as memory does: an index reads it, a slice copies it, \
and an assignment changes it. The kernel brings in a page when somebody first touches it, and lets \
every process that maps the same file look at the very same page. What nobody touches is \
never read, and what nobody changes is never written.
"""


class Place(NamedTuple):
    """What every step gets to work with."""

    file: str  # The file to look at. No step ever writes to it.
    folder: str  # A temporary folder, for what a step writes.

    @property
    def own(self) -> bool:
        """Whether the file is the text that the tour made itself."""
        return os.path.dirname(self.file) == self.folder

    @property
    def literal(self) -> str:
        """The name of the file as Python source, for showing a call."""
        return ascii(os.path.basename(self.file) if self.own else self.file)

    def copy(self, name: str) -> str:
        """Copy the beginning of the file (of the tour's own text if it is empty) to `name`."""
        with open(self.file, "rb") as source:
            data = source.read(COPY_SIZE) or TEXT
        path = os.path.join(self.folder, name)
        with open(path, "wb") as target:
            target.write(data)
        return path


def own_text(folder: str) -> str:
    """Write a text for those who brought no file, and return its path."""
    path = os.path.join(folder, "text.txt")
    with open(path, "wb") as target:
        target.write(TEXT * (OWN_SIZE // len(TEXT)))
    return path
