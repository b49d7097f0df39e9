"""The lock word survives the death of its holder after any instruction."""

from __future__ import annotations

from pathlib import Path

from crash.stepping import LOCKS, build, check


def test_lock(tmp_path: Path) -> None:
    check(build("lock_step", tmp_path, LOCKS))
