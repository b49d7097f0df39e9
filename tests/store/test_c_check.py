"""Check, recovery, flush and opening in the C core of the store, plain and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, PACKAGE, build_core, run_program

HERE = Path(__file__).parent / "c"
MAPPING = ("lost", "fault", "length", "system")
LOCKS = ("life", "alive", "place", "wait", "lock")
SOURCES = [
    *(f"mapping/{name}.c" for name in MAPPING),
    *(f"locks/{name}.c" for name in LOCKS),
    *(f"store/{path.name}" for path in sorted((PACKAGE / "store").glob("*.c"))),
]

# Filesystems that cannot be asked for space are not at hand.
PROGRAMS = {
    "check": [],
    "recovery": [],
    "home": [],
    "flush": [],
    "kernel": ["-Wl,--wrap=fallocate"],
}


# Under the sanitizers in the slow run.
KINDS = [
    build if build == "plain" else pytest.param(build, marks=pytest.mark.slow) for build in BUILDS
]


@pytest.fixture(scope="module", params=KINDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    run_program(HERE / f"{program}.c", core, tmp_path, *PROGRAMS[program])
