"""Builds and runs the C programs that step through an operation: step.h tells how to write one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from c_core import PACKAGE, build_core, run

HERE = Path(__file__).parent
HARNESS = [str(HERE / "step.c"), str(HERE / "victim.c")]
SKIPPED = 77

# Without it the first call of each library function would take a thousand steps.
LINKED_AT_ONCE = "-Wl,-z,now"

# What every program needs that steps through a primitive of src/emmap/locks.
LOCKS = [
    *(f"mapping/{name}.c" for name in ("length", "lost", "system")),
    *(f"locks/{name}.c" for name in ("alive", "life", "place", "wait", "lock")),
]


def link(program: str, core: list[str], folder: Path, *, options: Sequence[str] = ()) -> Path:
    """The binary of c/PROGRAM.c, linked with the harness and a core (of `build_core`)."""
    binary = folder / program
    options = [LINKED_AT_ONCE, f"-I{PACKAGE / 'mapping'}", *options]
    built = run([*core, *options, str(HERE / "c" / f"{program}.c"), *HARNESS, "-o", str(binary)])
    assert built.returncode == 0, built.stdout
    return binary


def build(
    program: str, folder: Path, sources: Sequence[str] = (), *, options: Sequence[str] = ()
) -> Path:
    """The same with these sources of src/emmap, compiled for it."""
    return link(program, build_core("plain", folder, list(sources)), folder, options=options)


def step(binary: Path) -> subprocess.CompletedProcess[str]:
    """Step through the operations of a program. Their files lie beside it, and so does an image
    that could not be recovered.
    """
    done = run([str(binary), str(binary.parent)], timeout=600)
    print(done.stdout)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.splitlines()[-1])
    return done


def check(binary: Path) -> None:
    """Step through the operations of a program: each must survive all deaths."""
    done = step(binary)
    assert done.returncode == 0, done.stdout
