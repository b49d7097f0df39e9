"""The C core by itself: its test programs, built plainly and under the sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "c"
CORE = Path(__file__).parents[2] / "src" / "emmap" / "mapping"
PROGRAMS = ["lost", "fault", "signals", "threads", "system", "growth", "length", "failing"]
ARENA = ["arena", "arena_damage"]

# Lets `failing` stand between the core and the kernel.
WRAPPED = ["-Wl,--wrap=mmap", "-Wl,--wrap=mremap", "-Wl,--wrap=mprotect"]

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
    command: list[str], *, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    pytest.skip("no C compiler is installed")


@pytest.fixture(scope="module", params=BUILDS)
def core(
    request: pytest.FixtureRequest, compiler: str, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """The command that links a program with the core, which is compiled once for each build."""
    folder = tmp_path_factory.mktemp(request.param)
    command = [compiler, *FLAGS, *BUILDS[request.param], f"-I{CORE}"]
    empty = folder / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    trial = [*command, str(empty), "-o", str(folder / "empty")]
    if run(trial).returncode or run([str(folder / "empty")]).returncode:
        pytest.skip(f"the compiler has no runtime for the {request.param} sanitizer")
    objects = []
    for source in ("lost.c", "fault.c", "length.c", "system.c", "map.c"):
        objects.append(str(folder / source.replace(".c", ".o")))
        built = run([*command, "-c", str(CORE / source), "-o", objects[-1]])
        assert built.returncode == 0, built.stdout
    return [*command, *objects]


@pytest.mark.parametrize("program", [*PROGRAMS, *ARENA])
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    if program in ("signals", *ARENA) and "-fsanitize=thread" in core:
        return  # they have one thread, and ThreadSanitizer delivers signals in a way of its own
    binary = tmp_path / program
    wrapped = WRAPPED if program == "failing" else []
    built = run([*core, *wrapped, str(HERE / f"{program}.c"), "-o", str(binary)])
    assert built.returncode == 0, built.stdout
    done = run([str(binary)], env={**os.environ, **OPTIONS})
    print(done.stdout)
    assert done.returncode == 0, done.stdout
