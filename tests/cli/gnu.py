"""GNU's commands beside ours: the same arguments, the same answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Program = Callable[..., "subprocess.CompletedProcess[bytes]"]
Answer = tuple[int, bytes, bytes]

# What is in the files that both are given.
FILES = {
    "text": b"one line\nand another\n\n  a third one, with  blanks\t\n",
    "cut": b"no newline\nat the end",
    "empty": b"",
    "newline": b"\n",
    "latin": "h\u00e4rter, \u20ac, \U0001f600\nbad: ".encode() + b"\xff\xc3( \xe2\x82\n",
    "binary": bytes(range(256)) * 20 + b"one\0one\n",
    "tabs": b"\t\tone\t\x0cthree\rtwo\t1234567\t8\n\x08x\n",
    "large": b"".join(b"line %d of some words, one by one\n" % i for i in range(4_000)),
    "a name": b"one\n",
    "it's": b"one\n",
}


def make_files(folder: Path) -> None:
    """Write the files, and what is no file: a folder, a loop of links."""
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")


def gnu(folder: Path, *arguments: str, locale: str = "C", **options: Any) -> Answer:
    """What GNU's command answers: exit code, output, error lines."""
    done = subprocess.run(
        arguments,
        cwd=folder,
        capture_output=True,
        env={**os.environ, "LC_ALL": locale},
        timeout=120,
        check=False,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def ours(program: Program, *arguments: str, **options: Any) -> Answer:
    """What our command answers, with the error lines as GNU's begin."""
    done = program(*arguments, **options)
    return done.returncode, done.stdout, done.stderr.replace(b"emmap ", b"")
