"""Memory with a name: two processes that share nothing else find it, and it outlives both.

Run:  python named_memory.py

The name is all that the other process is told. Nobody removes the memory by leaving; that is done
once, by `os.unlink`, when it is no longer wanted.
"""

from __future__ import annotations

import os
import subprocess
import sys

import emmap


def greet(name: str) -> None:
    """Write a greeting into the memory of this name, and leave."""
    with emmap.named(name, size=100) as memory:
        text = f"hello from process {os.getpid()}".encode()
        memory[: len(text)] = text


def main() -> None:
    """Let another process write, and read it when that one has gone."""
    name = f"emmap-example-{os.getpid()}"
    other = subprocess.Popen([sys.executable, __file__, name])
    other.wait()
    with emmap.named(name, "r") as memory:
        text = memory[: memory.find(b"\0")].decode()
        assert memory.name is not None
        os.unlink(memory.name)
    print(f"process {other.pid} has gone, and left: {text}")


if __name__ == "__main__":
    greet(sys.argv[1]) if len(sys.argv) > 1 else main()
