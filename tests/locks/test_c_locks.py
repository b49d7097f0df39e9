"""The C core of the locks by itself, built plainly and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, build_core, run_program

HERE = Path(__file__).parent / "c"
SOURCES = [
    *(f"mapping/{name}.c" for name in ("lost", "fault", "length", "system")),
    *(f"locks/{name}.c" for name in ("life", "alive", "place", "wait", "lock")),
]
PROGRAMS = ["lock", "forking"]

# Lets `forking` fork in the middle.
WRAPPED = ["-Wl,--wrap=madvise"]


@pytest.fixture(scope="module", params=BUILDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    wrapped = WRAPPED if program == "forking" else []
    run_program(HERE / f"{program}.c", core, tmp_path, *wrapped)
