"""`resize` of every kind of mapping, and the file behind it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import emmap
from emmap import Protection
from mapping.proc import PAGE, blocked_behind, smaps_of

# Size


def test_resize_shared(path: Path) -> None:
    before = path.read_bytes()
    with emmap.open(path, "r+") as m:
        for size in (16384, 20000, 100, 101, 1 << 20, 5000, 0, 0, 7, PAGE, PAGE + 1):
            m.resize(size)
            assert (len(m), path.stat().st_size, m.size()) == (size, size, size)
            if size:
                m[size - 1] = 200
        with pytest.raises(ValueError, match="size"):
            m.resize(-1)
    assert path.read_bytes()[:6] != before[:6]


def test_growth_takes_space_on_the_disk(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        m.resize(1 << 20)
        assert path.stat().st_blocks * 512 >= 1 << 20


def test_resize_with_an_offset(path: Path) -> None:
    with emmap.open(path, "r+", offset=PAGE + 10, length=100) as m:
        m.resize(50000)
        m[49999] = 1
        assert path.stat().st_size == PAGE + 10 + 50000
        assert m[0] == 10


def test_resize_anonymous() -> None:
    for shared in (False, True):
        with emmap.anonymous(100, shared=shared) as m:
            m[99] = 9
            for size in (10000, 1 << 22, 100, 5000):
                m.resize(size)
                assert (len(m), m[99], m[size - 1]) == (size, 9, 9 if size == 100 else 0)


def test_resize_keeps_protection(path: Path) -> None:
    with emmap.open(path, "r+") as m, blocked_behind(m):
        m.protect(Protection.READ, PAGE, 1)
        m.resize(1 << 20)
        m[0] = m[2 * PAGE] = m[(1 << 20) - 1] = 1
        with pytest.raises(emmap.ProtectionError):
            m[PAGE] = 1
        assert smaps_of(m.address + PAGE)["rights"] == "r--s"
        m.resize(PAGE + 10)
        with pytest.raises(emmap.ProtectionError):
            m[PAGE] = 1


def test_protection_ends_with_its_pages(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        m.protect(Protection.NONE, PAGE, 1)
        m.resize(0)
        m.resize(3 * PAGE)
        m[PAGE] = 1
        assert m[PAGE] == 1


def test_private_pages_move_whole(path: Path) -> None:
    """Private changes survive a move, also when protection has split the pages."""
    before = path.read_bytes()
    for split in (False, True):
        with emmap.open(path, "c") as m, blocked_behind(m):
            m[5000] = 1
            if split:
                m.protect(Protection.READ, PAGE, 1)
            m.resize(1 << 20)
            assert m[5000] == 1
            assert m[6000:16384] == before[6000:]
            assert m[16384:] == bytes((1 << 20) - 16384)
            m[(1 << 20) - 1] = 1
            m.resize(5001)
            assert m[4999:] == before[4999:5000] + b"\1"
    assert path.read_bytes() == before


def test_resize_under_views(path: Path) -> None:
    with emmap.open(path, "r+") as m, memoryview(m) as view:
        address = m.address
        try:
            m.resize(20000)
        except emmap.InUseError:
            assert len(m) == path.stat().st_size == 16384
        else:
            assert (len(m), m.address) == (20000, address)
        assert len(view) == 16384
        with pytest.raises(BufferError):
            m.resize(10)
    with emmap.open(path, "r+", length=PAGE) as m, blocked_behind(m), memoryview(m):
        with pytest.raises(BufferError):
            m.resize(PAGE * 100)
        assert path.stat().st_size >= 16384
        m.resize(PAGE)


def test_resize_needs_the_right(path: Path) -> None:
    with emmap.open(path) as m, pytest.raises(TypeError):
        m.resize(10)
    assert path.stat().st_size == 16384


def test_resize_finds_its_file_again(path: Path, tmp_path: Path) -> None:
    """Without a kept descriptor the name is used, and only for the same file."""
    with path.open("r+b") as f:
        m = emmap.MemoryMap(f.fileno(), 0)
        m.close()
        with emmap.open(path, "c") as m:
            os.rename(path, tmp_path / "elsewhere")
            with pytest.raises(FileNotFoundError):
                m.resize(20000)
            path.write_bytes(b"another")
            with pytest.raises(OSError, match="another file"):
                m.resize(20000)
            assert len(m) == 16384
    assert path.read_bytes() == b"another"


def test_descriptor_closed_by_somebody_else(path: Path, tmp_path: Path) -> None:
    """Its number may mean another file by now, which must not be truncated or closed."""
    m = emmap.open(path, "r+")
    number = m.fileno()
    os.close(number)
    with (tmp_path / "victim").open("w+b") as victim:
        os.dup2(victim.fileno(), number)
        victim.write(b"precious")
        victim.flush()
        with pytest.raises(OSError, match="behind the mapping"):
            m.resize(1)
        m.close()
        os.fstat(number)
        assert (tmp_path / "victim").read_bytes() == b"precious"
    os.close(number)


def test_fileno(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        assert os.fstat(m.fileno()).st_ino == path.stat().st_ino
        assert not os.get_inheritable(m.fileno())
    with pytest.raises(ValueError, match="closed"):
        m.fileno()
    with emmap.open(path) as m, pytest.raises(ValueError, match="descriptor"):
        m.fileno()


def test_values_that_change_the_mapping(path: Path) -> None:
    """An argument's `__index__` is Python code, and may take away what was just looked at."""

    class Number:
        def __init__(self, change: Callable[[], None]) -> None:
            self.change = change

        def __index__(self) -> int:
            self.change()
            return 7

    changes: list[tuple[Callable[[], None], type[Exception]]] = [
        (lambda: m.resize(10), IndexError),
        (lambda: m.protect(Protection.READ), emmap.ProtectionError),
        (lambda: m.close(), emmap.ClosedError),
    ]
    for change, refusal in changes:
        path.write_bytes(bytes(9000))
        with emmap.open(path, "r+") as m, pytest.raises(refusal):
            m[8000] = Number(change)
        assert 7 not in path.read_bytes()
