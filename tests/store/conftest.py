"""What the tests of the store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from mapping.peer import Peer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[emmap.Store]:
    """A new store, which is sound in the end."""
    store = emmap.Store(path)
    yield store
    if not store.closed:
        store.check()
        store.close()


@pytest.fixture
def peer(path: Path) -> Iterator[Peer]:
    """Another process, which knows the path and can run `OPEN` of company.py."""
    peer = Peer()
    peer(f"path = {str(path)!r}")
    yield peer
    peer.kill()


@pytest.fixture
def d(store: emmap.Store) -> emmap.Dict[Any, Any]:
    return store.dict("d")
