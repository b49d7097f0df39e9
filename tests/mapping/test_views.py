"""Views that outlive a mapping, typed views, and what is left when all are gone."""

import ctypes
import mmap
import os
import resource
import weakref
from pathlib import Path

import pytest

import emmap
from mapping.proc import blocked_behind, mapped_in

# Lifetime


def test_close_under_views(path: Path) -> None:
    m = emmap.open(path, "r+")
    view = memoryview(m)
    number = m.fileno()
    m.close()
    m.close()
    assert m.closed
    with pytest.raises(OSError, match=r"\[Errno 9\]"):
        os.fstat(number)
    view[0] = 77
    assert mapped_in(path) == 1
    assert path.read_bytes()[0] == 77
    view.release()
    assert mapped_in(path) == 0
    for call in (len, bytes, repr, lambda m: m[0], lambda m: m.find(b"x"), lambda m: m.flush()):
        if call is not repr:
            with pytest.raises((ValueError, TypeError)):
                call(m)


def test_dropped_without_close(path: Path) -> None:
    m = emmap.open(path, "r+")
    gone = weakref.ref(m)
    view = memoryview(m)[10:20]
    del m
    assert gone() is not None
    assert bytes(view) == bytes(range(10, 20))
    del view
    assert gone() is None
    assert mapped_in(path) == 0


def test_array_that_numpy_does_not_count(path: Path) -> None:
    """`ndarray(buffer=m)` keeps a pointer without an export: it must read zeros, and not crash."""
    numpy = pytest.importorskip("numpy")
    m = emmap.open(path, "r+")
    array = numpy.ndarray((16384,), "u1", buffer=m)
    array[0] = 9
    m.close()
    assert mapped_in(path) == 0
    assert not array.any()
    array[0] = 1
    m = emmap.open(path, "r+")
    array = numpy.ndarray((16384,), "u1", buffer=m)
    m.resize(10)
    assert array[10000] == 0
    with blocked_behind(m):
        m.resize(1 << 22)
    assert array.sum() >= 0


def test_ctypes_structure(path: Path) -> None:
    class Header(ctypes.LittleEndianStructure):
        _fields_ = (("first", ctypes.c_uint16), ("second", ctypes.c_uint16))

    with emmap.open(path, "r+") as m:
        header = m.struct(Header, 2)
        assert (header.first, header.second) == (0x0302, 0x0504)
        header.first = 0xFFFF
        assert path.read_bytes()[2:4] == b"\xff\xff"
        for offset in (-1, 16381, 20000):
            with pytest.raises(ValueError, match="does not fit"):
                m.struct(Header, offset)
    header.second = 0xEEEE  # still there after close
    assert path.read_bytes()[4:6] == b"\xee\xee"
    with emmap.open(path) as m:
        copy = m.struct(Header, 2)
        copy.first = 0
        assert m[2:4] == b"\xff\xff"


def test_numpy_array(path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    with emmap.open(path, "r+") as m:
        array = m.array("<u2", (4, 8), 256)
        assert array.tolist() == numpy.arange(64, dtype="u1").view("<u2").reshape(4, 8).tolist()
        array[3, 7] = 0
        assert m[256 + 62 : 256 + 64] == b"\0\0"
        assert m.array().shape == (16384,)
        assert m.array("f8", offset=16380).shape == (0,)
        assert m.array([("a", "u1"), ("b", ">u4")], 2)["b"].tolist() == [0x01020304, 0x06070809]
        for dtype, shape, offset in (
            ("u1", 16385, 0),
            ("u1", 1, 16384),
            ("u1", -1, 0),
            ("O", 1, 0),
        ):
            with pytest.raises(ValueError, match=r"fit|negative|objects"):
                m.array(dtype, shape, offset)
        with pytest.raises(ValueError, match="offset"):
            m.array("u1", 0, 16385)
    array[0, 0] = 0xBEEF
    assert path.read_bytes()[256:258] == b"\xef\xbe"
    with emmap.open(path) as m:
        assert not m.array().flags.writeable


def test_no_leak_of_memory_or_mappings(path: Path) -> None:
    def use() -> None:
        for mode in ("r", "r+", "c"):
            with emmap.open(path, mode) as m:
                view = memoryview(m)
                m.find(b"nothing")
                assert m[1:5000]
            del view

    use()
    with open("/proc/self/maps") as maps:
        before = sum(1 for _ in maps)
    descriptors = len(os.listdir("/proc/self/fd"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3000):
        use()
    with open("/proc/self/maps") as maps:
        assert sum(1 for _ in maps) <= before + 2
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + 4096  # KiB


def test_real_mmap_still_works_beside_it(path: Path) -> None:
    with path.open("r+b") as f, mmap.mmap(f.fileno(), 0) as standard, emmap.open(path, "r+") as m:
        standard[0] = 200
        assert m[0] == 200
