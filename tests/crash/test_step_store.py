"""The store survives the death of a writer, reader, flusher or recoverer after any instruction."""

from __future__ import annotations

from pathlib import Path

import pytest

from c_core import PACKAGE, build_core
from crash.stepping import LOCKS, check, link

PROGRAMS = ["store_dict_step", "store_list_step", "store_space_step", "store_home_step"]
SOURCES = [
    *LOCKS,
    *(f"store/{path.name}" for path in sorted((PACKAGE / "store").glob("*.c"))),
]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build_core("plain", tmp_path_factory.mktemp("core"), SOURCES)


# One in each run of the suite, and all in the slow one.
@pytest.mark.parametrize("program", PROGRAMS[:1])
def test_program(program: str, core: list[str], tmp_path: Path) -> None:
    check(link(program, core, tmp_path, options=["-DKILLS=20"]))


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_many_kills(program: str, core: list[str], tmp_path: Path) -> None:
    check(link(program, core, tmp_path, options=["-DKILLS=200"]))
