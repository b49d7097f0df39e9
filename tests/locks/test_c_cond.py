"""The C core of Event, Condition and Barrier by itself, built plainly and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, build_core, run_program

HERE = Path(__file__).parent / "c"
CORE = ("life", "alive", "place", "wait", "lock", "waiters", "event", "condition", "barrier")
SOURCES = [
    *(f"mapping/{name}.c" for name in ("lost", "fault", "length", "system")),
    *(f"locks/{name}.c" for name in CORE),
]
PROGRAMS = ["event", "condition", "barrier"]


@pytest.fixture(scope="module", params=BUILDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    run_program(HERE / f"{program}.c", core, tmp_path, "-Wl,--wrap=emmap_wake")
