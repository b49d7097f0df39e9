"""What an installation holds: every module, stub and `py.typed`, and nothing else."""

from __future__ import annotations

import importlib.metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"


@pytest.fixture(scope="module")
def installed() -> set[str]:
    """The files that the installer put down, compiled bytecode apart."""
    files = importlib.metadata.files("emmap") or []
    if any("editable" in path.name for path in files):
        pytest.skip("editable install: its files are those of the source tree")
    return {
        path.as_posix()
        for path in files
        if path.suffix != ".pyc" and ".dist-info" not in path.parts[0]
    }


def expected() -> set[str]:
    """What the source tree says should be there: an extension module for each .pyx."""
    files = set()
    for path in (SOURCE / "emmap").rglob("*"):
        name = path.relative_to(SOURCE).as_posix()
        if path.suffix in (".py", ".pyi") or path.name == "py.typed":
            files.add(name)
        elif path.suffix == ".pyx":
            files.add(name.removesuffix(".pyx") + EXTENSION_SUFFIXES[0])
    return files


def test_installed_files(installed: set[str]) -> None:
    scripts = {name for name in installed if name.endswith("bin/emmap")}
    assert len(scripts) == 1
    assert installed - scripts == expected()


def test_every_extension_has_a_stub() -> None:
    modules = {path.with_suffix("") for path in SOURCE.rglob("*.pyx")}
    assert modules == {path.with_suffix("") for path in SOURCE.rglob("*.pyi")}


def test_metadata(installed: set[str]) -> None:
    assert installed
    metadata = importlib.metadata.metadata("emmap")
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    names = [path.name for path in importlib.metadata.files("emmap") or []]
    assert "LICENSE" in names
