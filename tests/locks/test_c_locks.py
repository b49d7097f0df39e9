"""The C core of the locks by itself, built plainly and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, build_core, run_program

HERE = Path(__file__).parent / "c"
SOURCES = [
    *(f"mapping/{name}.c" for name in ("lost", "fault", "length", "system")),
    *(f"locks/{name}.c" for name in ("life", "alive", "place", "wait", "lock", "ranges")),
]
# What each program stands before: `forking` forks in the middle, `lock` counts.
PROGRAMS = {
    "lock": ["-Wl,--wrap=emmap_wake"],
    "forking": ["-Wl,--wrap=madvise"],
    "ranges": [],
}


@pytest.fixture(scope="module", params=BUILDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    run_program(HERE / f"{program}.c", core, tmp_path, *PROGRAMS[program])
