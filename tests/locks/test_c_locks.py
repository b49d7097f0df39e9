"""The C core of the locks by itself, built plainly and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, build_core, run_program

HERE = Path(__file__).parent / "c"
MAPPING = ("lost", "fault", "length", "system")
LOCKS = (
    *("life", "alive", "place", "wait", "lock", "ranges"),
    *("cells", "rwlock", "semaphore", "waiters", "event", "condition", "barrier"),
)
SOURCES = [*(f"mapping/{name}.c" for name in MAPPING), *(f"locks/{name}.c" for name in LOCKS)]

# Between the core and what each program counts, or does in its place.
WAKES = "-Wl,--wrap=emmap_wake"
PROGRAMS = {
    "lock": [WAKES],
    "rwlock": [WAKES],
    "semaphore": [WAKES],
    "event": [WAKES],
    "condition": [WAKES],
    "barrier": [WAKES],
    "claim": [WAKES],
    "forking": ["-Wl,--wrap=madvise"],
    "ranges": [],
    "atomic": [WAKES],
}


@pytest.fixture(scope="module", params=BUILDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    run_program(HERE / f"{program}.c", core, tmp_path, *PROGRAMS[program])
