"""How mapped arrays come to be: in memory, in new files, in the place of others, on full disks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

import emmap
from emmap.arrays.writing import pieces
from mapping.small_disk import run_on_small_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npy"


# empty


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(3, "f8"), ((2, 3), ">i2"), ((), "u1"), ((0, 4), "S3"), ((2,), [("x", "i4"), ("y", "f8", 2)])],
)
@pytest.mark.parametrize("name", [None, "a.npy", "a.raw"])
def test_empty_is_zeros(shape: Any, dtype: Any, name: str | None, tmp_path: Path) -> None:
    expected: numpy.ndarray[Any, Any] = numpy.zeros(shape, dtype)
    with emmap.empty(shape, dtype, name and tmp_path / name) as a:
        assert type(a) is emmap.MappedArray
        assert a.flags.writeable
        assert (a.dtype, a.shape) == (expected.dtype, expected.shape)
        assert a.tobytes() == expected.tobytes()
        assert a.mapping is not None
        assert a.mapping.name == (name and str(tmp_path / name))
    if name == "a.npy":
        assert numpy.load(tmp_path / name).dtype == expected.dtype
    if name == "a.raw":
        assert (tmp_path / name).read_bytes() == expected.tobytes()


def test_empty_of_subarrays_has_more_dimensions(path: Path) -> None:
    assert emmap.empty((2, 3), "(4,)i2", path).shape == (2, 3, 4)
    assert numpy.load(path).shape == (2, 3, 4)


def test_empty_replaces_a_file_and_keeps_its_permissions(path: Path) -> None:
    emmap.save(path, [1, 2, 3])
    path.chmod(0o640)
    link = path.with_name("link.npy")
    link.symlink_to(path)
    old = emmap.load(path)
    with emmap.empty(2, "i4", link) as new:
        new[:] = 7
    assert old.tolist() == [1, 2, 3]
    old.close()
    assert numpy.load(path).tolist() == [7, 7]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(path.parent)) == ["a.npy", "link.npy"]


def test_new_files_have_the_permissions_of_others(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    emmap.save(path, [1])
    assert path.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"shape": -1}, ValueError, "negative"),
        ({"shape": (2, -1)}, ValueError, "negative"),
        ({"shape": 1.5}, TypeError, "int or a tuple"),
        ({"shape": "12"}, TypeError, "int or a tuple"),
        ({"shape": 1 << 62}, ValueError, "larger"),
        ({"shape": (1,) * 65}, ValueError, "dimension"),
        ({"shape": 1, "dtype": object}, ValueError, "Python objects"),
        ({"shape": 1, "dtype": [("x", "O")]}, ValueError, "Python objects"),
        ({"shape": 1, "dtype": "S"}, ValueError, "no bytes"),
        ({"shape": 1, "reserve": -1}, ValueError, "reserve"),
    ],
)
def test_empty_refuses_and_changes_nothing(
    arguments: dict[str, Any], error: type[Exception], match: str, path: Path
) -> None:
    emmap.save(path, [1, 2, 3])
    for where in (None, path):
        with pytest.raises(error, match=match):
            emmap.empty(**arguments, path=where)
    assert numpy.load(path).tolist() == [1, 2, 3]
    assert os.listdir(path.parent) == ["a.npy"]


@pytest.mark.parametrize("target", ["folder.npy", "pipe.npy"])
def test_only_files_are_replaced(target: str, tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(FileExistsError, match="regular file"):
        emmap.save(tmp_path / target, [1])
    assert len(os.listdir(tmp_path)) == 2


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        emmap.empty(1, path=tmp_path / "nowhere" / "a.npy")


# load


def test_load_raw(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(range(20)))
    assert emmap.load(path, dtype="u1").tolist() == list(range(20))
    assert emmap.load(path, dtype=">u2", offset=3).tolist() == [
        (n << 8) + n + 1 for n in range(3, 19, 2)
    ]
    assert emmap.load(path, dtype="u1", shape=(2, 3), offset=1).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert emmap.load(path, dtype="f8").shape == (2,)
    assert emmap.load(path, dtype="u1", offset=20).shape == (0,)
    emmap.load(path, "r+", dtype="u1")[0] = 99
    emmap.load(path, "c", dtype="u1")[1] = 99
    assert path.read_bytes()[:2] == bytes([99, 1])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mode": "w"}, "mode is one of"),
        ({"shape": 3}, "give dtype="),
        ({"offset": 8}, "give dtype="),
        ({"dtype": "u1", "offset": -1}, "offset"),
        ({"dtype": "u1", "offset": 21}, "ends at byte"),
        ({"dtype": "f8", "shape": 3}, "ends at byte 24"),
        ({"dtype": "u1", "shape": (5, 5)}, "ends at byte 25"),
        ({"dtype": "u1", "shape": (-4, -5)}, "negative"),
        ({"dtype": "O"}, "Python objects"),
        ({"dtype": "V"}, "no bytes"),
        ({"mode": "c", "dtype": "u1", "reserve": 1 << 20}, "private copy"),
        ({}, "not a .npy file"),
    ],
)
def test_load_refuses(arguments: dict[str, Any], match: str, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(20))
    with pytest.raises(ValueError, match=match):
        emmap.load(path, **arguments)


def test_load_while_another_appends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows come between the mapping of the file and the reading of its header."""
    emmap.save(path, [1, 2, 3])
    more = iter([[4, 5], [6]])

    def open_and_append(*arguments: Any, **options: Any) -> emmap.MemoryMap:
        mapping = emmap.open(*arguments, **options)
        rows = next(more, None)
        if rows is not None:
            monkeypatch.undo()
            emmap.load(path, "r+").append(rows)
            monkeypatch.setattr("emmap.arrays.making.open", open_and_append)
        return mapping

    monkeypatch.setattr("emmap.arrays.making.open", open_and_append)
    assert emmap.load(path).tolist() == [1, 2, 3, 4, 5, 6]


def test_load_of_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert emmap.load(tmp_path / "a", dtype="i4").shape == (0,)
    with pytest.raises(emmap.CorruptFileError):
        emmap.load(tmp_path / "a")


def test_load_of_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        emmap.load(tmp_path / "pipe")


# save


def test_save_raw_is_in_c_order(tmp_path: Path) -> None:
    array = numpy.asfortranarray(numpy.arange(6, dtype="<i2").reshape(2, 3))
    emmap.save(tmp_path / "a.bin", array)
    assert (tmp_path / "a.bin").read_bytes() == array.tobytes("C")


def test_save_an_array_over_its_own_file(path: Path) -> None:
    emmap.save(path, numpy.arange(10_000))
    with emmap.load(path, "r+") as a:
        a[0] = 5
        emmap.save(path, a[::-1])
        assert a[0] == 5
    assert numpy.load(path).tolist() == [*range(9999, 0, -1), 5]


def test_save_refuses_and_changes_nothing(path: Path) -> None:
    emmap.save(path, [1, 2, 3])
    with pytest.raises(ValueError, match="Python objects"):
        emmap.save(path, numpy.array([object()]))
    assert numpy.load(path).tolist() == [1, 2, 3]
    assert os.listdir(path.parent) == ["a.npy"]


def test_save_reaches_the_disk_before_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def noted(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("pwrite", "fsync", "rename"):
        noted(name)
    emmap.save(path, [1, 2, 3])
    assert calls == ["pwrite", "pwrite", "fsync", "rename"]


def test_save_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements that do not lie side by side are gathered little by little; writes may be short."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, memoryview(data)[:70], at))
    monkeypatch.setattr("emmap.arrays.writing.PIECE", 100)
    cube = numpy.arange(7 * 5 * 50, dtype="i4").reshape(7, 5, 50)
    for array in (cube[::-1], cube[:, ::2, ::-3], cube.T[:, 1:], cube[:, :, 0], cube[::2, 0, 0]):
        emmap.save(path, array)
        assert numpy.array_equal(numpy.load(path), array)
        for piece in pieces(array):
            assert piece.nbytes <= 100 or numpy.shares_memory(piece, array)


def test_readers_see_the_old_or_the_new(path: Path) -> None:
    """Another process saves as fast as it can; whoever opens the path sees one of its arrays."""
    emmap.save(path, numpy.zeros(50_000, "i8"))
    program = """
import sys, numpy, emmap
print(flush=True)
for n in range(1, 100):
    emmap.save(sys.argv[1], numpy.full(50_000, n))
"""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = set()
        while writer.poll() is None:
            a = emmap.load(path)
            assert a.shape == (50_000,)
            assert (a == a[0]).all()
            seen.add(int(a[0]))
    assert writer.returncode == 0
    assert len(seen) > 1
    assert os.listdir(path.parent) == ["a.npy"]


FULL_DISK = """
import errno, os
import numpy, emmap

emmap.save("a.npy", numpy.arange(100_000))
a = emmap.load("a.npy", "r+")
raw = emmap.empty(100_000, "u1", "b.raw")
before = [open(name, "rb").read() for name in ("a.npy", "b.raw")]
large = numpy.ones(10_000_000, "u1").view()

def refused(call):
    try:
        call()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        assert ".emmap" not in str(error), error
        assert "a.npy" in str(error) or "b.raw" in str(error), error
        assert [open(name, "rb").read() for name in ("a.npy", "b.raw")] == before
        assert set(os.listdir()) - {"lost+found"} == {"a.npy", "b.raw"}, os.listdir()
        return 1
    return 0

print(
    refused(lambda: emmap.save("a.npy", large)),
    refused(lambda: emmap.empty(10_000_000, "u1", "a.npy")),
    refused(lambda: emmap.empty(10_000_000, "u1", "b.raw")),
    refused(lambda: a.append(numpy.arange(1_250_000))),
    refused(lambda: raw.append(large)),
)
a = a.append([1, 2])
raw = raw.append(numpy.array([1, 2], "u1"))
print(len(numpy.load("a.npy")), len(emmap.load("b.raw", dtype="u1")))
"""


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4"])
def test_full_disk(filesystem: str, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    output = run_on_small_disk(FULL_DISK, folder, "8M", filesystem)
    assert output == "1 1 1 1 1\n100002 100002\n"


# share


def test_share_copies_once() -> None:
    source = numpy.asfortranarray(numpy.arange(6).reshape(2, 3))
    a = emmap.share(source)
    assert (a == source).all()
    assert a.flags.f_contiguous
    a[0, 0] = 99
    assert source[0, 0] == 0
    assert emmap.share(a) is a
    part = a[:, 1:]
    assert emmap.share(part) is part


def test_share_what_is_not_shared(path: Path) -> None:
    emmap.save(path, [1, 2, 3])
    in_file = emmap.load(path)
    assert emmap.share(in_file) is in_file
    private = emmap.load(path, "c")
    private[0] = 9
    for array in (private, in_file.copy(), [9, 2, 3], numpy.array(9)):
        shared = emmap.share(array)
        assert shared is not array
        assert shared.mapping is not None
        assert shared.mapping.mode == "r+"
        assert shared.tolist() == numpy.asarray(array).tolist()
    with pytest.raises(ValueError, match="Python objects"):
        emmap.share(numpy.array([object()]))


def test_without_numpy() -> None:
    program = """
import sys
sys.modules["numpy"] = None
import emmap
with emmap.anonymous(1): pass
try:
    emmap.load
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert "pip install 'emmap[numpy]'" in done.stdout


def test_numpy_is_loaded_on_first_use() -> None:
    program = "import emmap, sys; emmap.open; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"
