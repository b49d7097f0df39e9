"""Texts that are hard to scan, and what GNU's tools say of them."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

from text import oracle


def generated(seed: int, size: int) -> bytes:
    """Words, blanks, line ends of all kinds, NULs, good and bad UTF-8."""
    chance = random.Random(seed)
    tokens = [
        b"one",
        b"Two",
        b"THREE",
        b" ",
        b" ",
        b"\t",
        b"\n",
        b"\n",
        b"\r\n",
        b"\0",
        b"\f",
        b"\x7f",
    ]
    tokens += ["ä".encode(), "€".encode(), "😀".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80"]
    return b"".join(chance.choices(tokens, k=size))


TEXTS = {
    "empty": b"",
    "newline": b"\n",
    "one line": b"one line and no newline",
    "blank lines": b"\n\n\none\n\n",
    "crlf": b"one\r\ntwo one\r\n\r\nthree",
    "nuls": b"\0one\0\n\0\0\ntwo\0one",
    "bad utf-8": "ä€😀".encode()[:-1] + b"\xff\xc3\n\xe2\x82\n\xed\xa0\x80one\xf0\x9f",
    "tabs": b"\tone\t\ttwo\n   \t one\t",
    "long line": b"a one" * 60_000 + b"\nshort\n",
    "generated": generated(1, 400),
    "more": generated(2, 40_000),
}


def counts(text: bytes) -> dict[str, int]:
    """All that can be counted, the plain way."""
    return {
        "lines": text.count(b"\n"),
        "words": oracle.words(text),
        "characters": oracle.characters(text),
        "bytes": len(text),
        "longest_line": oracle.longest(text),
    }


def gnu(*command: str | bytes | Path, locale: str = "C") -> bytes:
    """What a GNU tool prints."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": locale}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert not done.stderr
    return done.stdout


def gnu_grep(path: Path, *options: str | bytes) -> list[tuple[int, int, bytes]]:
    """The (number, offset, line) of each line that grep finds."""
    found = []
    for line in gnu("grep", "-a", "-n", "-b", *options, path).split(b"\n")[:-1]:
        number, offset, text = line.split(b":", 2)
        found.append((int(number), int(offset), text))
    return found
