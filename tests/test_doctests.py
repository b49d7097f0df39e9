"""The examples in docstrings: each one runs, and each public method of a class has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import emmap

OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def docstrings() -> Iterator[tuple[str, str]]:
    """The (name, docstring) of every module of emmap, of its functions, classes and their members.

    The standard finder passes over the properties of Cython's classes.
    """
    for info in [None, *pkgutil.walk_packages(emmap.__path__, "emmap.")]:
        if info is not None and info.name == "emmap.__main__":
            continue
        module = importlib.import_module(info.name if info is not None else "emmap")
        yield module.__name__, module.__doc__ or ""
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isroutine(value) or inspect.isclass(value):
                yield f"{module.__name__}.{name}", value.__doc__ or ""
            if inspect.isclass(value):
                for member_name, member in vars(value).items():
                    if not inspect.isclass(member) and isinstance(member.__doc__, str):
                        yield f"{module.__name__}.{name}.{member_name}", member.__doc__


EXAMPLES = {name: text for name, text in docstrings() if ">>>" in text}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module = name
    while module not in sys.modules:
        module = module.rpartition(".")[0]
    names = dict(vars(sys.modules[module]))
    example = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=report.append)
    assert not report, "".join(report)


def test_examples_are_found() -> None:
    assert {"emmap", "emmap.mapping.cursor.MappedCursor.read", "emmap.mapping.opening.open"} <= set(
        EXAMPLES
    )


def test_methods_have_examples() -> None:
    lacking = {
        name
        for name in dir(emmap.MemoryMap)
        if not name.startswith("_")
        and inspect.isroutine(getattr(emmap.MemoryMap, name))
        and ">>>" not in (getattr(emmap.MemoryMap, name).__doc__ or "")
    }
    assert lacking == set()
