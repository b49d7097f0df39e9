"""The public names: there, documented, loaded on first use, and equal to the standard's."""

from __future__ import annotations

import inspect
import json
import mmap
import subprocess
import sys
import types

import pytest

import emmap

CONSTANTS = ("ACCESS_", "MAP_", "PROT_", "MADV_", "MS_", "PAGESIZE", "ALLOCATIONGRANULARITY")
# They cost 10 to 45 ms each, which a small program would pay for nothing.
HEAVY = (
    "asyncio",
    "click",
    "dataclasses",
    "msgspec",
    "multiprocessing",
    "numpy",
    "pathlib",
    "rich",
    "typing",
)


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter loads to execute the code.

    What the start of the interpreter has loaded is forgotten first: a finder of editable installs
    uses some of them, and would hide that we do.
    """
    program = f"""
import json, sys
for name in {HEAVY}:
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        del sys.modules[module]
before = set(sys.modules)
{code}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def public_members(kind: type) -> dict[str, object]:
    """What a user of the class sees, with its inherited members."""
    return {
        name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")
    }


def test_all_names_are_there() -> None:
    assert list(emmap.__all__) == sorted(emmap.__all__)
    for name in emmap.__all__:
        assert getattr(emmap, name) is not None
    assert set(emmap.__all__) <= set(dir(emmap))


def test_star_import_gives_all_names() -> None:
    names: dict[str, object] = {}
    exec("from emmap import *", names)
    assert set(emmap.__all__) <= set(names)


def test_nothing_else_is_public() -> None:
    others = {
        name
        for name, value in vars(emmap).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    constants = {name for name in others if name.startswith(CONSTANTS)}
    assert others - constants - {"TYPE_CHECKING"} == set(emmap.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = emmap.nonsense
    with pytest.raises(AttributeError):
        _ = emmap.MAP_NONSENSE


def test_rooms_are_loaded_on_first_use() -> None:
    assert "emmap.mapping" not in loaded_by("import emmap")
    assert "emmap.mapping" in loaded_by("import emmap; emmap.MemoryMap")
    assert "emmap.cli" not in loaded_by("import emmap; emmap.MemoryMap; dir(emmap)")


@pytest.mark.parametrize(
    "code",
    [
        "import emmap",
        "import emmap\nwith emmap.anonymous(1) as m: m.protect(emmap.Protection.READ)",
        "import emmap\nemmap.Arena(emmap.anonymous(10000)).allocate(5)",
        "import emmap\nfor window in emmap.windows(emmap.__file__, 100): len(window)",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert {module.split(".")[0] for module in loaded_by(code)} & set(HEAVY) == set()


@pytest.mark.parametrize("name", sorted(emmap.__all__))
def test_name_has_a_docstring(name: str) -> None:
    assert (getattr(emmap, name).__doc__ or "").strip()


@pytest.mark.parametrize("name", sorted(public_members(emmap.MemoryMap)))
def test_member_has_a_docstring(name: str) -> None:
    assert (public_members(emmap.MemoryMap)[name].__doc__ or "").strip()


@pytest.mark.parametrize("name", sorted(n for n in vars(mmap) if n.startswith(CONSTANTS)))
def test_constant_is_the_standards(name: str) -> None:
    assert getattr(emmap, name) == getattr(mmap, name)


def test_errors_are_ours_and_the_builtin_that_fits() -> None:
    for error, builtin in (
        (emmap.ClosedError, ValueError),
        (emmap.ProtectionError, TypeError),
        (emmap.InUseError, BufferError),
        (emmap.PageLostError, OSError),
    ):
        assert issubclass(error, emmap.Error)
        assert issubclass(error, builtin)
