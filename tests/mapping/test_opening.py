"""`emmap.open` and `emmap.anonymous`: modes, ranges, files that cannot be mapped, addresses."""

import errno
import os
import pickle
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import emmap
from mapping.small_disk import run_on_small_disk

PAGE = emmap.PAGESIZE


# Modes


def test_read(path: Path) -> None:
    with emmap.open(path) as m:
        assert (len(m), m.mode, m.name, m[255]) == (16384, "r", str(path), 255)
        with pytest.raises(emmap.ProtectionError, match="readonly"):
            m[0] = 1
        with pytest.raises(TypeError):
            m[0:2] = b"ab"
        with pytest.raises(TypeError):
            m.write(b"ab")
        assert memoryview(m).readonly


def test_shared_write_reaches_the_file_and_others_at_once(path: Path) -> None:
    with emmap.open(path, "r+") as m, emmap.open(path) as other:
        m[5000:5005] = b"hello"
        assert other[5000:5005] == b"hello"
        assert path.read_bytes()[5000:5005] == b"hello"
        child = subprocess.run(
            [
                sys.executable,
                "-c",
                "import emmap, sys; print(emmap.open(sys.argv[1])[5000:5005])",
                path,
            ],
            capture_output=True,
            text=True,
        )
        assert child.stdout == "b'hello'\n", child.stderr


def test_private_write_never_reaches_the_file(path: Path) -> None:
    before = path.read_bytes()
    path.chmod(0o444)
    with emmap.open(path, "c") as m:
        m[0:5] = b"hello"
        m.flush()
        assert m[0:5] == b"hello"
        m.resize(20000)
        assert m[0:5] == b"hello"
        assert m[16000:16384] == before[16000:]
        assert m[16384:] == bytes(20000 - 16384)
    assert path.read_bytes() == before


def test_create_or_keep(path: Path, tmp_path: Path) -> None:
    with emmap.open(path, "a+", size=100) as m:
        assert len(m) == 16384
    new = tmp_path / "new"
    with emmap.open(new, "a+", size=100) as m:
        m[:5] = b"hello"
    assert new.read_bytes() == b"hello" + bytes(95)
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_create_or_empty(path: Path) -> None:
    with emmap.open(path, "w+", size=10) as m:
        assert m[:] == bytes(10)
    with emmap.open(path, "w+") as m:
        assert len(m) == 0
    assert path.stat().st_size == 0


def test_create_new(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        emmap.open(path, "x+", size=10)
    assert path.stat().st_size == 16384
    with emmap.open(tmp_path / "new", "x+", size=10) as m:
        assert len(m) == 10


def test_failed_creation_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="offset"):
        emmap.open(tmp_path / "new", "x+", size=10, offset=20)
    assert not (tmp_path / "new").exists()
    for mode in ("r+", "a+", "w+"):
        with pytest.raises(ValueError, match="length"):
            emmap.open(path, mode, size=20000, length=30000)
    assert path.stat().st_size == 16384
    for mode in ("a+", "w+", "x+"):
        with pytest.raises(OSError, match="grow"):
            emmap.open(tmp_path / "new", mode, size=1 << 62)
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mode", ["", "w", "rb", "a", "+", "x", "R"])
def test_unknown_mode(path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="mode is one of"):
        emmap.open(path, mode)


@pytest.mark.parametrize("mode", ["r", "c"])
def test_size_needs_a_mode_that_writes(path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="size="):
        emmap.open(path, mode, size=100_000)


# What to map


def test_kinds_of_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        with path.open("rb") as f:
            for kind in (path, str(path), os.fsencode(path), descriptor, f):
                with emmap.open(kind) as m:
                    assert (m[10], m.name) == (10, str(path))
        with emmap.open(descriptor, "r+") as m:
            m[0] = 7
        os.fstat(descriptor)  # it stays open
        with pytest.raises(ValueError, match="path"):
            emmap.open(descriptor, "x+")
    finally:
        os.close(descriptor)


def test_any_offset_and_length(path: Path) -> None:
    whole = path.read_bytes()
    for offset in (0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 77, 16383, 16384):
        for length in (0, 1, PAGE, PAGE + 1, None):
            if length is not None and offset + length > len(whole):
                continue
            with emmap.open(path, offset=offset, length=length) as m:
                end = None if length is None else offset + length
                assert (m[:], m.offset, len(m)) == (
                    whole[offset:end],
                    offset,
                    len(whole[offset:end]),
                )


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, None), (0, -1), (16385, None), (0, 16385), (16384, 1), (10, 16380)]
)
def test_range_outside_the_file(path: Path, offset: int, length: int | None) -> None:
    with pytest.raises(ValueError, match=r"offset|length"):
        emmap.open(path, offset=offset, length=length)


def test_zero_tail_never_reaches_the_file(path: Path) -> None:
    with path.open("r+b") as f:
        f.truncate(100)
    with emmap.open(path, "r+") as m:
        m[99] = 255
        with pytest.raises(IndexError):
            m[100] = 1
        m.flush()
    assert path.stat().st_size == 100


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    for mode in ("r", "r+", "c"):
        with emmap.open(path, mode) as m:
            assert (len(m), m[:], m.find(b"x"), m.find(b""), bytes(m)) == (0, b"", -1, 0, b"")
            m.flush()
            m.protect(emmap.Protection.READ)
            m.advise(emmap.Advice.WILLNEED)
            m.populate()
            m.pin()
            m.unpin()
            m.evict()
            with pytest.raises(IndexError):
                m[0]
            assert memoryview(m).readonly is (mode == "r")


def test_far_and_sparse(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    far = (1 << 42) + 12345
    with path.open("wb") as f:
        f.truncate(far + 10)
    with emmap.open(path, "r+", offset=far) as m:
        m[0:4] = b"here"
    with emmap.open(path) as m:
        assert (len(m), m[far : far + 5]) == (far + 10, b"here\0")


# What cannot be mapped


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for mode in ("r", "r+", "a+", "w+", "c"):
        with pytest.raises(OSError, match="pipe") as caught:
            emmap.open(tmp_path / "pipe", mode, size=10 if "+" in mode else None)
        assert caught.value.errno == errno.ENODEV
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="pipe"):
            emmap.open(reading)
    finally:
        os.close(reading)
        os.close(writing)


def test_folder(tmp_path: Path) -> None:
    for mode in ("r", "r+", "c"):
        with pytest.raises(IsADirectoryError) as caught:
            emmap.open(tmp_path, mode)
        assert caught.value.filename == str(tmp_path)


def test_missing_and_closed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        emmap.open(tmp_path / "missing", "r+")
    with pytest.raises(OSError, match=r"\[Errno 9\]"):
        emmap.open(12345)


def test_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0)
    monkeypatch.chdir(path.parent)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:  # root may read everything
                os.setuid(65534)
            emmap.open(path.name)
        except PermissionError as error:
            os._exit(0 if error.filename == path.name else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_descriptor_of_the_wrong_kind(path: Path) -> None:
    with path.open("rb") as f, pytest.raises(PermissionError):
        emmap.open(f, "r+")


def test_device_without_an_end() -> None:
    with pytest.raises(OSError, match="how many bytes"):
        emmap.open("/dev/zero")
    with emmap.open("/dev/zero", "c", length=10000) as m:
        m[9999] = 1
        assert m[9990:] == bytes(9) + b"\1"
    with emmap.open("/dev/zero", "r+", length=10) as m:
        m[9] = 1
        assert m.size() == 0
    with pytest.raises(OSError, match="map 10 bytes"):
        emmap.open("/dev/null", length=10)


def test_block_device(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"block" * 4096)
    losetup = shutil.which("losetup", path=f"{os.environ['PATH']}:/sbin:/usr/sbin")
    if losetup is None:
        pytest.skip("block device: util-linux's losetup is not installed")
    loop = subprocess.run([losetup, "--find", "--show", image], capture_output=True, text=True)
    if loop.returncode != 0:
        pytest.skip(f"block device: no right to make a loop device ({loop.stderr.strip()})")
    device = loop.stdout.strip()
    try:
        with emmap.open(device) as m:
            assert (len(m), m[5:10], m.size()) == (20480, b"block", 20480)
    finally:
        subprocess.run([losetup, "--detach", device], check=True)


def test_full_disk(tmp_path: Path) -> None:
    script = """
import emmap, errno, os
def refused(call):
    try: call()
    except OSError as error: return error.errno == errno.ENOSPC
print(refused(lambda: emmap.open("new", "x+", size=4 << 20)), os.path.exists("new"))
with emmap.open("file", "w+", size=1000) as m:
    m[:4] = b"here"
    print(refused(lambda: m.resize(4 << 20)), len(m), os.path.getsize("file"), m[:4])
    with memoryview(m):
        print(refused(lambda: m.resize(4 << 20)), len(m), os.path.getsize("file"))
    m.resize(500_000)
    print(len(m), m[:4])
"""
    out = run_on_small_disk(script, tmp_path, "1m")
    assert out.splitlines() == [
        "True False",
        "True 1000 1000 b'here'",
        "True 1000 1000",
        "500000 b'here'",
    ]


def test_full_disk_gives_back_what_it_took(tmp_path: Path) -> None:
    """ext4 gives out space piece by piece, and leaves the file longer when it runs out."""
    script = """
import emmap, errno, os
free = lambda: os.statvfs(".").f_bavail
with emmap.open("file", "w+", size=1000) as m:
    os.sync()
    before = free()
    try: m.resize(1 << 30)
    except OSError as error: print(error.errno == errno.ENOSPC, len(m), os.path.getsize("file"))
    os.sync()
    print(free() == before)
"""
    out = run_on_small_disk(script, tmp_path, "16m", "ext4")
    assert out.splitlines() == ["True 1000 1000", "True"]


# Anonymous memory


def test_anonymous() -> None:
    with emmap.anonymous(100) as m:
        assert (len(m), m.name, m.size(), m[:]) == (100, None, 100, bytes(100))
        m[99] = 1
    with emmap.anonymous(0) as m:
        assert len(m) == 0
    with pytest.raises(ValueError, match="size"):
        emmap.anonymous(-1)
    with pytest.raises(OSError, match="map") as caught:
        emmap.anonymous(1 << 60)
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.parametrize("shared", [False, True])
def test_anonymous_and_fork(*, shared: bool) -> None:
    with emmap.anonymous(100, shared=shared) as m:
        child = os.fork()
        if child == 0:
            m[50] = 7
            os._exit(0)
        os.waitpid(child, 0)
        assert m[50] == (7 if shared else 0)


def test_shared_memory_needs_no_descriptor() -> None:
    """Where no descriptor is to be had it is shared with children all the same, and cannot grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        m = emmap.MemoryMap(-1, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with m:
        m[5] = 5
        m.resize(50)
        with pytest.raises(OSError, match="fixed size"):
            m.resize(100_000)
        assert m[5] == 5


# Fixed addresses


def test_fixed_address(path: Path) -> None:
    with emmap.anonymous(64 * PAGE) as m:
        free = m.address
        with pytest.raises(ValueError, match="taken"):
            emmap.open(path, address=free)
        assert m[0] == 0
    with emmap.open(path, address=free) as m:
        assert (m.address, m[100]) == (free, 100)
    with emmap.open(path, address=free, offset=PAGE + 10) as m:
        assert (m.address, m[0]) == (free + 10, 10)
    with pytest.raises(ValueError, match="multiple"):
        emmap.open(path, address=free + 1)
    with pytest.raises(ValueError, match="address="):
        emmap.MemoryMap(-1, PAGE, flags=emmap.MAP_PRIVATE | emmap.MAP_FIXED)


def test_reserved_addresses(path: Path) -> None:
    reserved = emmap.anonymous(16 * PAGE, protection=emmap.Protection.NONE)
    base = reserved.address
    with pytest.raises(emmap.ProtectionError):
        reserved[0]
    first = emmap.open(path, "r+", address=base)
    second = emmap.anonymous(PAGE, address=base + 4 * PAGE)
    with pytest.raises(ValueError, match="another mapping"):
        emmap.open(path, address=base + 3 * PAGE)
    with pytest.raises(emmap.InUseError):
        reserved.protect(emmap.Protection.READ)
    with pytest.raises(emmap.InUseError):
        first.resize(5 * PAGE)
    os.truncate(path, PAGE)
    with pytest.raises(emmap.PageLostError):
        first[2 * PAGE]
    second[0] = 9
    reserved.close()  # the addresses go when the last mapping there has gone
    with pytest.raises(emmap.PageLostError):
        first[2 * PAGE]
    first.close()
    assert second[0] == 9
    second.close()
    with emmap.open(path, address=base) as m:
        assert m.address == base


def test_reserved_addresses_that_are_viewed() -> None:
    with emmap.anonymous(4 * PAGE, protection=emmap.Protection.NONE) as reserved:
        reserved.protect(emmap.Protection.READ)
        with memoryview(reserved), pytest.raises(ValueError, match="viewed"):
            emmap.anonymous(PAGE, address=reserved.address)


def test_flags_without_sense() -> None:
    for flags in (emmap.MAP_SHARED | emmap.MAP_PRIVATE, emmap.MAP_PRIVATE | emmap.MAP_GROWSDOWN):
        with pytest.raises(ValueError, match="MAP_"):
            emmap.MemoryMap(-1, PAGE, flags=flags)
    with pytest.raises(ValueError, match="protection"):
        emmap.MemoryMap(-1, PAGE, prot=64)
    with emmap.anonymous(1) as m, pytest.raises(ValueError, match="MS_"):
        m.flush(flags=emmap.MS_SYNC | emmap.MS_ASYNC)


# By reference


def test_pickle(path: Path) -> None:
    with emmap.open(path, "r+", offset=10, length=100) as m:
        by_reference = pickle.dumps(m)
        m[0] = 99
        with pickle.loads(by_reference) as other:
            assert (other.mode, other.offset, len(other), other[0]) == ("r+", 10, 100, 99)
            other[1] = 98
        assert m[1] == 98
    assert len(by_reference) < 300
    with emmap.open(path, "c") as m, pickle.loads(pickle.dumps(m)) as other:
        m[0] = 1
        assert (other.mode, other[0]) == ("c", 0)
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(m)
    with emmap.anonymous(10) as m, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(m)


class Named(emmap.MemoryMap):
    """A subclass, to be pickled."""


def test_pickle_of_a_subclass(path: Path) -> None:
    with (
        path.open("rb") as f,
        Named(f.fileno(), 100, access=emmap.ACCESS_READ) as m,
        pickle.loads(pickle.dumps(m)) as other,
    ):
        assert (type(other), other.mode, len(other)) == (Named, "r", 100)


def test_repr(path: Path) -> None:
    with emmap.open(path, offset=3) as m:
        assert repr(m) == (
            f"<emmap.MemoryMap closed=False, {str(path)!r}, mode='r', access=ACCESS_DEFAULT, "
            f"length=16381, pos=0, offset=3>"
        )
    assert repr(m) == "<emmap.MemoryMap closed=True>"
