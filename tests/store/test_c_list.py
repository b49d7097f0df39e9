"""The list of the store's C core, built plainly and under the sanitizers."""

from pathlib import Path

import pytest

from c_core import BUILDS, build_core, run_program

HERE = Path(__file__).parent / "c"
MAPPING = ("lost", "fault", "length", "system")
LOCKS = ("life", "alive", "place", "wait", "lock")
STORE = (
    *("store", "pins", "queue", "dropped", "space", "commit", "directory", "trie", "cursor"),
    *("listtree", "list", "listjoin"),
)
SOURCES = [
    *(f"mapping/{name}.c" for name in MAPPING),
    *(f"locks/{name}.c" for name in LOCKS),
    *(f"store/{name}.c" for name in STORE),
]

# So that the program knows which blocks are in use, and refuses space.
BLOCKS = "-Wl,--wrap=emmap_allocate,--wrap=emmap_retire,--wrap=emmap_prepare"


# Under the sanitizers in the slow run.
KINDS = [
    build if build == "plain" else pytest.param(build, marks=pytest.mark.slow) for build in BUILDS
]


@pytest.fixture(scope="module", params=KINDS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core(request.param, tmp_path_factory.mktemp(request.param), SOURCES)


@pytest.mark.parametrize("program", ["list", "list_hostile"])
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    run_program(HERE / f"{program}.c", core, tmp_path, BLOCKS)
