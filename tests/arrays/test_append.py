"""Arrays that grow in place: seen by others, whole after a kill, refused where they cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

import emmap

Array = numpy.ndarray[Any, Any]
PLACES = ["a.npy", "a.raw", None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npy"


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("reserve", [None, 1 << 30])
@pytest.mark.parametrize("dtype", ["f8", ">u2", [("x", "i4"), ("y", "f8")]])
def test_append(name: str | None, reserve: int | None, dtype: Any, tmp_path: Path) -> None:
    path = None if name is None else tmp_path / name
    rows: Array = numpy.zeros((1000, 3), dtype)
    rows.reshape(-1).view("u1")[:] = numpy.arange(rows.nbytes)
    a = emmap.empty((0, 3), dtype, path, reserve=reserve)
    arrays = [a]
    for stop in (1, 2, 2, 100, 1000):
        a = a.append(rows[len(a) : stop])
        arrays.append(a)
    assert [len(a) for a in arrays] == [0, 1, 2, 2, 100, 1000]
    for a in arrays:
        assert type(a) is emmap.MappedArray
        assert a.tobytes() == rows[: len(a)].tobytes()
    if path is not None:
        again = emmap.load(path) if name == "a.npy" else emmap.load(path, dtype=dtype)
        assert again.tobytes() == rows.tobytes()
    if name == "a.npy":
        assert path is not None
        assert numpy.load(path).tobytes() == rows.tobytes()


def test_nothing_moves(path: Path) -> None:
    emmap.save(path, numpy.arange(10))
    first = emmap.load(path, "r+", reserve=1 << 30)
    a = first
    for n in range(10, 3000):
        a = a.append([n])
    assert a.mapping is first.mapping
    assert a.ctypes.data == first.ctypes.data
    first[3] = 99
    assert a[3] == 99


def test_old_views_live_on_when_mapped_again(path: Path) -> None:
    emmap.save(path, numpy.arange(10))
    old = emmap.load(path, "r+")
    new = old.append(numpy.arange(10, 100_000))
    assert new.mapping is not old.mapping
    assert new.mapping is not None
    assert new.mapping.capacity >= 64 << 30
    assert new.mapping.name == str(path)
    old[5] = 99
    assert new[5] == 99
    assert new.append([1]).mapping is new.mapping
    old.close()
    assert old[5] == 99
    assert len(new.reload()) == 100_001


def test_append_to_files_of_numpy(path: Path) -> None:
    """NumPy leaves room for the digits, and not where one word holds them."""
    for rows in (0, 9, 99, 12345):
        numpy.save(path, numpy.arange(rows * 2).reshape(rows, 2))
        a = emmap.load(path, "r+").append([[7, 8]])
        a = a.append([[9, 10]])
        assert numpy.load(path).tolist() == a.tolist()
        assert a[-2:].tolist() == [[7, 8], [9, 10]]
        assert len(a) == rows + 2


def test_header_without_room(path: Path) -> None:
    text = b"{'descr': '<i8', 'fortran_order': False, 'shape': (9,), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(72))
    before = path.read_bytes()
    a = emmap.load(path, "r+")
    with pytest.raises(ValueError, match=r"no room .* emmap\.save"):
        a.append([1])
    assert path.read_bytes() == before
    emmap.save(path, a)
    assert emmap.load(path, "r+").append([1]).tolist() == [0] * 9 + [1]


def test_odd_header(path: Path) -> None:
    """A header that ends inside a word, with room for one more digit."""
    text = b"{'descr': '<i8', 'fortran_order': False, 'shape': (9,) }  \n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(72))
    assert (len(text) + 10) % 8
    a = emmap.load(path, "r+")
    for n in range(1, 91):
        a = a.append([n])
        assert len(numpy.load(path)) == 9 + n
    with pytest.raises(ValueError, match="no room"):
        a.append([1])


def test_header_that_ends_inside_a_word(path: Path) -> None:
    """The digit lies in its last bytes, and the elements in the rest of the word."""
    for name in ("x", "xy", "xyz", "wxyz", "vwxyz", "uvwxyz", "tuvwxyz", "stuvwxyz"):
        text = f"{{'descr': [('{name}', '<i8')], 'fortran_order': False, 'shape': (1,), }}\n"
        start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
        path.write_bytes(start + b"\xff" * 8)
        emmap.load(path, "r+").append([(7,)])
        assert numpy.load(path).tolist() == [(-1,), (7,)]


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([1, 2], r"shape \(2,\), and should have \(n, 2\)"),
        ([[1, 2, 3]], r"\(1, 3\), and should have \(n, 2\)"),
        ([[[1, 2]]], "should have"),
        (5, "should have"),
        ([["a", "b"]], "could not convert|invalid literal"),
    ],
)
def test_rows_of_another_shape(rows: Any, match: str, path: Path) -> None:
    a = emmap.empty((1, 2), "f8", path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=match):
        a.append(rows)
    assert path.read_bytes() == before


def test_what_cannot_grow(path: Path) -> None:
    a = emmap.empty((4, 2), "i4", path)
    fortran = emmap.share(numpy.asfortranarray(numpy.ones((2, 3))))
    others: list[Any] = [a[:], a.T, a[1:], a.reshape(-1), a.copy(), fortran]
    for array in others:
        with pytest.raises(ValueError, match="only an array as"):
            array.append([[1, 2]])
        with pytest.raises(ValueError, match="only an array as"):
            array.reload()
    with pytest.raises(ValueError, match="only an array as"):
        emmap.empty((), "i4").append([1])
    nothing = emmap.empty((3, 0), "i4")
    assert nothing.reload().shape == (3, 0)
    with pytest.raises(ValueError, match="rows without bytes"):
        nothing.append(numpy.empty((1, 0)))
    private = emmap.load(path, "c")
    with pytest.raises(emmap.ProtectionError, match="private copy"):
        private.append([[1, 2]])
    with pytest.raises(emmap.ProtectionError, match="private copy"):
        private.reload()
    emmap.save(path, numpy.asfortranarray(numpy.ones((2, 3))))
    with pytest.raises(ValueError, match="Fortran"):
        emmap.load(path, "r+").append([[1, 2, 3]])


@pytest.mark.parametrize("name", PLACES)
def test_only_the_longest_is_appended_to(name: str | None, tmp_path: Path) -> None:
    a = emmap.empty(2, "i4", name and tmp_path / name)
    b = a.append([1])
    with pytest.raises(ValueError, match="holds 3 rows by now, not 2"):
        a.append([2])
    assert a.reload().append([3]).tolist() == [0, 0, 1, 3]
    with pytest.raises(ValueError, match="holds 4 rows"):
        b.append([2])


def test_append_itself(path: Path) -> None:
    a = emmap.empty(2, "i4", path)
    a[:] = 1, 2
    a = a.append(a).append(a[::-1])
    assert a.tolist() == [1, 2, 1, 2, 2, 1]


def test_scarce_addresses(tmp_path: Path) -> None:
    """Where the file cannot be mapped again it is as it was, and what is there stays."""
    program = """
import resource, numpy, emmap
emmap.save("a.npy", numpy.ones(10))
a = emmap.load("a.npy", "r+")
before = open("a.npy", "rb").read()
many = numpy.ones(4 << 20)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), -1))
try:
    a.append(many)
except emmap.AddressSpaceError as error:
    print(error)
assert open("a.npy", "rb").read() == before
for n in range(5):
    a = a.append(many[:100_000])
print(a.sum(), a.mapping.capacity < 1 << 30)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("there are no addresses to map the 33554640 bytes")
    assert lines[1:] == ["500010.0 True"]


# Other processes

APPENDER = """
import sys, numpy, emmap
path, rows, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
a = emmap.load(path, "r+", dtype=None if path.endswith(".npy") else "i8")
if a.ndim == 1:
    a = emmap.load(path, "r+", dtype="i8", shape=(a.size // 64, 64))
print(flush=True)
while len(a) < rows:
    a = a.append(numpy.arange(len(a), len(a) + batch)[:, None] + numpy.zeros(64, "i8"))
    sys.stdout.write(f"{len(a)}\\n")
    sys.stdout.flush()
"""


def appender(path: Path, rows: int, batch: int) -> subprocess.Popen[bytes]:
    """A process that appends rows whose elements are all their number, and tells how many."""
    command = [sys.executable, "-c", APPENDER, str(path), str(rows), str(batch)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def rows_of(path: Path) -> emmap.MappedArray:
    if path.suffix == ".npy":
        return emmap.load(path)
    return emmap.load(path, dtype="i8", shape=(path.stat().st_size // 512, 64))


def are_complete(array: Array, start: int = 0) -> bool:
    return bool((array[start:] == numpy.arange(start, len(array))[:, None]).all())


@pytest.mark.parametrize("name", ["a.npy", "a.raw"])
@pytest.mark.parametrize("reserve", [None, 1 << 30])
def test_reload_sees_complete_rows(name: str, reserve: int | None, tmp_path: Path) -> None:
    path = tmp_path / name
    emmap.empty((0, 64), "i8", path)
    if name == "a.npy":
        a = emmap.load(path, reserve=reserve)
    else:
        a = emmap.load(path, dtype="i8", shape=(0, 64), reserve=reserve)
    lengths = set()
    with appender(path, 5000, 1) as process:  # what it tells fits into the pipe
        while process.poll() is None or len(a) < 5000:
            before, a = a, a.reload()
            assert len(a) >= len(before)
            assert are_complete(a, max(len(before) - 1, 0))
            lengths.add(len(a))
    assert process.returncode == 0
    assert len(a) == 5000
    assert are_complete(a)
    assert len(lengths) > 10


@pytest.mark.parametrize("name", ["a.npy", "a.raw"])
@pytest.mark.parametrize("batch", [1, 700])
def test_kill_between_leaves_complete_rows(name: str, batch: int, tmp_path: Path) -> None:
    path = tmp_path / name
    emmap.empty((0, 64), "i8", path)
    told = 0
    for _ in range(4):
        with appender(path, 1 << 60, batch) as process:
            assert process.stdout is not None
            for _ in range(3):
                told = int(process.stdout.readline())
            process.kill()
            rest = process.stdout.read().split(b"\n")
        assert process.returncode == -signal.SIGKILL
        told = max([told, *map(int, filter(None, rest[:-1]))])
        a = rows_of(path)
        assert told <= len(a) <= told + batch
        assert are_complete(a)
        assert name == "a.raw" or len(a) % batch == 0


@pytest.mark.parametrize("name", ["a.npy", "a.raw"])
def test_what_a_killed_append_left_is_written_over(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    a = emmap.empty((0, 64), "i8", path)
    a = a.append(numpy.ones((3, 64)))
    with path.open("ab") as file:
        file.write(b"half a row" * 10)
    a = (emmap.load(path, "r+") if name == "a.npy" else a.reload()).append(numpy.zeros((2, 64)))
    assert a.tolist() == [[1] * 64] * 3 + [[0] * 64] * 2
    assert rows_of(path).tolist() == a.tolist()


def test_reload_follows_the_file(path: Path) -> None:
    emmap.save(path, [1, 2, 3])
    a, mapped = emmap.load(path, "r+"), emmap.load(path)
    emmap.save(path, [7])
    assert a.append([4]).tolist() == [1, 2, 3, 4]
    assert a.reload().tolist() == [1, 2, 3, 4]
    with pytest.raises(OSError, match="another file"):
        mapped.reload()
    assert emmap.load(path).tolist() == [7]


def test_reload_of_a_file_that_was_damaged(path: Path) -> None:
    emmap.save(path, [1, 2, 3])
    a = emmap.load(path)
    emmap.load(path, "r+").append([4])
    content = path.read_bytes()
    for damaged in (
        content.replace(b" 4,)", b" 9,)"),
        content.replace(b"NUMPY", b"NUMPZ"),
        content.replace(b"<i8", b"<f8"),
    ):
        with path.open("r+b") as file:
            file.write(damaged)
        with pytest.raises(emmap.CorruptFileError):
            a.reload()
    with path.open("r+b") as file:
        file.write(content)
    assert a.reload().tolist() == [1, 2, 3, 4]
