"""The semaphore and the lock for readers and writers survive a death after any instruction."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.stepping import LOCKS, build, check


@pytest.mark.parametrize("primitive", ["semaphore", "rwlock"])
def test_primitive(primitive: str, tmp_path: Path) -> None:
    sources = [*LOCKS, "locks/cells.c", f"locks/{primitive}.c"]
    check(build(f"{primitive}_step", tmp_path, sources))
