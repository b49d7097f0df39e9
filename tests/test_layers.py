"""Imports go downward only: what each file of the package may import, by the room it stands in."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import emmap

PACKAGE = Path(__file__).parent.parent / "src" / "emmap"

# From the bottom up. Rooms of one layer never import one another.
LAYERS = (
    {"errors"},
    {"codec", "mapping"},
    {"arrays", "locks", "text", "observe"},
    {"queue", "store"},
    {"__init__"},
    {"cli"},
    {"__main__"},
)
ROOMS = {room: height for height, layer in enumerate(LAYERS) for room in layer}

# Cython is not for `ast`. Names on further lines are not read: those of the module tell the room.
CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+(?P<module>[\w.]+)\s+c?import\b|c?import\b)[ (]*(?P<names>[\w., *]*)",
    re.MULTILINE,
)


def room_of(module: str) -> str:
    """The room that a dotted name of ours lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def cython_imports(source: str) -> list[tuple[str | None, str]]:
    """Each (module, name) that Cython source imports; module None for a plain import."""
    return [
        (found["module"], name.partition(" as ")[0].strip())
        for found in CYTHON_IMPORT.finditer(source)
        for name in found["names"].rstrip(", ").split(",")
    ]


def python_imports(source: str) -> list[tuple[str | None, str]]:
    """The same for Python."""
    found: list[tuple[str | None, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(None, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return found


def modules_imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, by their full names."""
    read = python_imports if path.suffix in (".py", ".pyi") else cython_imports
    modules = set()
    for module, name in read(path.read_text(encoding="utf-8")):
        assert module is None or not module.startswith("."), f"{path}: write the full name"
        if module == "emmap" and name in ROOMS:
            modules.add(f"emmap.{name}")
        else:
            modules.add(module or name)
    return {module for module in modules if module.split(".")[0] == "emmap"}


def sources() -> list[Path]:
    """Every file whose imports count."""
    return [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyi", ".pyx", ".pxd")]


def test_every_room_has_its_layer() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].partition(".")[0] for path in sources()}
    assert rooms <= set(ROOMS)


def test_imports_go_downward() -> None:
    upward = []
    for path in sources():
        room = path.relative_to(PACKAGE).parts[0].partition(".")[0]
        for module in modules_imported(path):
            target = room_of(module)
            if target != room and ROOMS.get(target, len(LAYERS)) >= ROOMS[room]:
                upward.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert upward == []


def test_commands_use_public_names_only() -> None:
    public = {*emmap.__all__, "__version__"}
    wrong = []
    for path in (PACKAGE / "cli").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        wrong += [
            f"{path.relative_to(PACKAGE)} imports {module}"
            for module in modules_imported(path)
            if room_of(module) not in ("__init__", "cli")
        ]
        names = [name for module, name in python_imports(source) if module == "emmap"]
        names += [
            node.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "emmap"
        ]
        wrong += [
            f"{path.relative_to(PACKAGE)} uses emmap.{name}"
            for name in names
            if name not in public | {"cli"} and not is_constant(name)
        ]
    assert wrong == []


def is_constant(name: str) -> bool:
    """Is it one of the public constants, as PAGESIZE is?"""
    return name.isupper() and hasattr(emmap, name)


def test_cython_imports() -> None:
    assert cython_imports("from a.b cimport (c,\n  d)\n") == [("a.b", "c")]
    assert cython_imports("from a cimport (\n  c,\n  d)\n") == [("a", "")]
    assert cython_imports("cimport a\nimport b as c, d.e\n") == [
        (None, "a"),
        (None, "b"),
        (None, "d.e"),
    ]
    assert cython_imports("def f():\n    from a import *\n    important(1)\n") == [("a", "*")]


def test_python_imports() -> None:
    source = "import a.b\nif x:\n    from c import d, e\nfrom . import f\n"
    assert python_imports(source) == [(None, "a.b"), (".", "f"), ("c", "d"), ("c", "e")]
