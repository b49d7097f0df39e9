"""What the comparisons with the standard `mmap.mmap` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def outcome(call: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return call(argument)
    except Exception as error:
        return error


def same(expected: Any, found: Any) -> bool:
    """Whether code that lives with the outcome `expected` lives with `found`."""
    if isinstance(expected, OSError) and getattr(found, "errno", None) != expected.errno:
        return False
    if isinstance(expected, Exception):
        return isinstance(found, type(expected))
    return type(found) is type(expected) and bool(found == expected)


@pytest.fixture(scope="session")
def agree() -> Callable[..., Any]:
    """A function that makes one call with the standard's argument and with ours, and compares.

    The results must be equal and of one type; or both raise, and whatever catches the standard's
    exception catches ours. It returns what the standard's call returned or raised.
    """

    def agree(call: Callable[[Any], Any], standard: Any, subject: Any, about: str = "") -> Any:
        expected, found = outcome(call, standard), outcome(call, subject)
        assert same(expected, found), f"{about}: expected {expected!r:.300}, got {found!r:.300}"
        return expected

    return agree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four pages."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)
    return path
