"""The same call on a plain dict or list and on ours: they must agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codec.samples import same

Call = Callable[[Any], Any]

# What these say is told to the caller as it is; other messages name other types.
SAYS_THE_SAME = (KeyError, IndexError)


def outcome(call: Call, subject: Any) -> Any:
    """What the call returns, or the exception that it raises."""
    try:
        return call(subject)
    except Exception as error:
        return error


def agree(call: Call, plain: Any, ours: Any) -> Any:
    """Makes the call with both: they return or raise the same, and hold the same afterwards.

    But where the plain one raises, ours is as it was before. Gives what the plain one returned.
    """
    before = ours.copy()
    expected, found = outcome(call, plain), outcome(call, ours)
    if isinstance(expected, Exception):
        assert type(found) is type(expected), f"expected {expected!r}, got {found!r}"
        if isinstance(expected, SAYS_THE_SAME):
            assert found.args == expected.args
        assert alike(before, ours.copy()), "an error has changed something"
        return expected
    if expected is plain:
        assert found is ours
    else:
        assert alike(expected, found), f"expected {expected!r:.300}, got {found!r:.300}"
    assert alike(plain, ours.copy()), f"expected {plain!r:.300}, got {ours!r:.300}"
    return expected


def alike(expected: Any, found: Any) -> bool:
    """Equal and of the same types; pairs of a dict in any order."""
    if type(expected) is type(found) is dict:
        return len(expected) == len(found) and all(
            key in found and same(value, found[key]) for key, value in expected.items()
        )
    return bool(same(expected, found))


def in_any_order(found: Any) -> list[Any]:
    return sorted(found, key=repr)
