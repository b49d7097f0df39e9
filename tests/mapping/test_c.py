"""The C core by itself: its test programs, built plainly and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, build_core, run_program

HERE = Path(__file__).parent / "c"
SOURCES = [f"mapping/{name}.c" for name in ("lost", "fault", "length", "system", "map")]
PROGRAMS = ["lost", "fault", "signals", "threads", "system", "growth", "length", "failing"]
ARENA = ["arena", "arena_damage"]

# Lets `failing` stand between the core and the kernel.
WRAPPED = ["-Wl,--wrap=mmap", "-Wl,--wrap=mremap", "-Wl,--wrap=mprotect"]


@pytest.fixture(scope="module", params=BUILDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", [*PROGRAMS, *ARENA])
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    if program in ("signals", *ARENA) and "-fsanitize=thread" in core:
        return  # they have one thread, and ThreadSanitizer delivers signals in a way of its own
    if program == "arena_damage" and "-fsanitize=address,undefined" not in core:
        return  # what it looks for is an access that the sanitizer sees
    wrapped = WRAPPED if program == "failing" else []
    run_program(HERE / f"{program}.c", core, tmp_path, *wrapped)
