"""Builds a C core by itself, plainly and under the sanitizers, and runs its test programs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "emmap"
CHECKS = Path(__file__).parent / "mapping" / "c"  # check.h

# Optimised, as users have it. gcc warns that ThreadSanitizer knows no fences: it sees the atomic
# variables all the same, and tests/model is for the fences.
FLAGS = ["-std=c11", "-O2", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]
BUILDS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread", "-Wno-unknown-warning-option", "-Wno-tsan"],
}

# SIGBUS is for the guard, and a child that is meant to die of it must not die of a report.
OURS = "handle_sigbus=0:allow_user_segv_handler=1"
OPTIONS = {
    "ASAN_OPTIONS": f"{OURS}:detect_leaks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"{OURS}:halt_on_error=1",
}


def run(
    command: list[str], *, env: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    pytest.skip("no C compiler is installed")


def build_core(build: str, folder: Path, sources: list[str]) -> list[str]:
    """The command that links a program with the core, which is compiled once for each build.

    The sources are named from the package on: "locks/lock.c". Each one's folder is looked through
    for headers.
    """
    rooms = sorted({str((PACKAGE / source).parent) for source in sources})
    include = [f"-I{room}" for room in (*rooms, str(CHECKS))]
    command = [compiler(), *FLAGS, *BUILDS[build], *include]
    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    trial = [*command, str(empty), "-o", str(folder / "empty")]
    if run(trial).returncode or run([str(folder / "empty")]).returncode:
        pytest.skip(f"the compiler has no runtime for the {build} sanitizer")
    objects = []
    for source in sources:
        objects.append(str(folder / source.replace("/", "-").replace(".c", ".o")))
        built = run([*command, "-c", str(PACKAGE / source), "-o", objects[-1]])
        assert built.returncode == 0, built.stdout
    return [*command, *objects]


def run_program(source: Path, core: list[str], folder: Path, *options: str) -> None:
    """Links one test program with the core, and runs it: it must end well."""
    binary = folder / source.stem
    built = run([*core, *options, str(source), "-o", str(binary)])
    assert built.returncode == 0, built.stdout
    done = run([str(binary)], env={**os.environ, **OPTIONS})
    print(done.stdout)
    assert done.returncode == 0, done.stdout
