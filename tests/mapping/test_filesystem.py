"""Network filesystems: what is told of them, and reading where mapping is slow or impossible."""

import errno
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import emmap
from emmap.mapping import filesystem
from emmap.mapping.filesystem import NETWORK
from emmap.mapping.memorymap import MemoryMap
from emmap.mapping.statfs import file_system
from mapping.fuse import CONTENT, SIZE, run_on_fuse
from mapping.small_disk import run_on_small_disk

TMPFS = 0x01021994
WARN = emmap.NetworkFilesystemWarning


def kind_of(path: Path) -> int:
    with path.open("rb") as file:
        return file_system(file.fileno(), None)[1]


@pytest.fixture(autouse=True)
def nobody_was_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_warned", set())


@pytest.fixture
def remote(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file on a filesystem that counts as a network's."""
    monkeypatch.setitem(NETWORK, kind_of(path), "a test network")
    return path


@pytest.fixture
def unmappable(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file on a filesystem that cannot map."""
    place = MemoryMap._place

    def refuse(self: MemoryMap, backing: object, fd: int, *rest: object) -> None:
        if os.readlink(f"/proc/self/fd/{fd}") == os.fspath(path):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        place(self, backing, fd, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryMap, "_place", refuse)
    return path


# The kernel's own


def test_fuse(tmp_path: Path) -> None:
    """A file that is mapped and one that cannot be, on a real filesystem of another program."""
    script = """if True:
        import emmap, warnings
        from emmap.mapping import filesystem

        for name in ("mapped", "direct"):
            filesystem._warned.clear()
            with warnings.catch_warnings(record=True) as told, emmap.open(name) as m:
                again = emmap.open(name, offset=5, length=6)
                bytes_alike = [m[:] == open(name, "rb").read(), again[:] == m[5:11]]
            print(name, bytes_alike, [w.category.__name__ for w in told])
            print(str(told[0].message).partition(" lies on ")[2][:34], told[0].filename)
            with warnings.catch_warnings(record=True) as told:
                windows = [(w.offset, w[:]) for w in emmap.windows(name, 4_000_000, 1000)]
            print([at for at, _ in windows], told)
    """
    expected = [
        "mapped [True, True] ['NetworkFilesystemWarning']",
        "FUSE. Whoever touches a page that  <string>",
        "[0, 3999000, 7998000] []",
        "direct [True, True] ['NetworkFilesystemWarning']",
        "a filesystem that cannot map files <string>",
        "[0, 3999000, 7998000] []",
    ]
    *lines, largest = run_on_fuse(script, tmp_path).splitlines()
    assert lines == expected
    assert int(largest) == 1 << 20


def test_fuse_shows_the_bytes(tmp_path: Path) -> None:
    script = """if True:
        import emmap, hashlib, warnings

        warnings.simplefilter("ignore")
        for name in ("mapped", "direct"):
            digest = hashlib.sha256()
            for window in emmap.windows(name, 777_777):
                digest.update(window)
            print(digest.hexdigest(), hashlib.sha256(emmap.open(name)).hexdigest())
    """
    digest = hashlib.sha256(CONTENT[:SIZE]).hexdigest()
    assert run_on_fuse(script, tmp_path).splitlines()[:2] == [f"{digest} {digest}"] * 2


def test_local_filesystems_do_not_warn(tmp_path: Path) -> None:
    script = """if True:
        import emmap, warnings

        warnings.simplefilter("error")
        emmap.open("file", "x+", size=10).close()
        emmap.open("file").close()
        emmap.anonymous(10, shared=True).close()
    """
    for size, kind in (("1M", "tmpfs"), ("4M", "ext4")):
        folder = tmp_path / kind
        folder.mkdir()
        run_on_small_disk(script, folder, size, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (Path(__file__), Path("/dev/zero"), Path("/proc/self/maps")):
            emmap.open(path, length=0).close()


def test_the_types_are_those_of_the_kernel() -> None:
    """linux/magic.h knows these; the others stand in the filesystems' own sources."""
    header = Path("/usr/include/linux/magic.h")
    if not header.exists():
        pytest.skip("linux/magic.h is not installed")
    magic = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if words[:1] == ["#define"] and len(words) > 2 and words[2].startswith("0x"):
            magic[words[1]] = int(words[2], 16)
    for name, expected in {
        "NFS_SUPER_MAGIC": "NFS",
        "SMB_SUPER_MAGIC": "SMB",
        "CIFS_SUPER_MAGIC": "CIFS",
        "SMB2_SUPER_MAGIC": "SMB2",
        "NCP_SUPER_MAGIC": "NCP",
        "V9FS_MAGIC": "9p",
        "FUSE_SUPER_MAGIC": "FUSE",
        "AFS_SUPER_MAGIC": "AFS",
        "AFS_FS_MAGIC": "AFS",
        "CODA_SUPER_MAGIC": "Coda",
        "CEPH_SUPER_MAGIC": "Ceph",
        "OCFS2_SUPER_MAGIC": "OCFS2",
    }.items():
        assert NETWORK.get(magic.get(name, -1), expected) == expected, name
    local = ("EXT4", "TMPFS", "BTRFS", "XFS", "OVERLAYFS", "RAMFS", "F2FS", "SQUASHFS", "PROC")
    for name in local:
        assert magic.get(f"{name}_SUPER_MAGIC", magic.get(f"{name}_MAGIC")) not in NETWORK, name


# The warning


def test_it_warns_once_for_each_filesystem(remote: Path) -> None:
    with pytest.warns(WARN, match="lies on a test network") as told:
        emmap.open(remote).close()
    assert str(remote) in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in ("r", "r+", "c"):
            emmap.open(remote, mode).close()


def test_it_warns_of_a_second_filesystem(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"emmap-test-{os.getpid()}"
    monkeypatch.setitem(NETWORK, TMPFS, "another network")
    with pytest.warns(WARN, match=str(remote)):
        emmap.open(remote).close()
    with pytest.warns(WARN, match=name), emmap.named(name, size=1) as m:
        os.unlink(m.name or "")


def test_it_warns_of_the_standard_constructor_too(remote: Path) -> None:
    with remote.open("rb") as file, pytest.warns(WARN):
        emmap.MemoryMap(file.fileno(), 0, access=emmap.ACCESS_READ).close()


def test_it_points_to_the_callers_line(remote: Path) -> None:
    with pytest.warns(WARN) as told:
        emmap.open(remote).close()
    assert told[0].filename == __file__


def test_as_an_error_it_comes_each_time(remote: Path, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(WARN):
                emmap.open(remote)
        with pytest.raises(WARN):
            emmap.open(tmp_path / "new", "x+", size=10)
    assert not (tmp_path / "new").exists()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_it_comes_in_each_process(path: Path) -> None:
    script = """if True:
        import emmap, sys
        from emmap.mapping.filesystem import NETWORK
        from emmap.mapping.statfs import file_system

        with open(sys.argv[1]) as file:
            NETWORK[file_system(file.fileno(), None)[1]] = "a test network"
        emmap.open(sys.argv[1])
        emmap.open(sys.argv[1])
    """
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("<string>:8: NetworkFilesystemWarning") == 1
    assert done.stderr.count("NetworkFilesystemWarning") == 1


# Reading where it cannot map


def test_a_file_that_cannot_be_mapped_is_read(unmappable: Path) -> None:
    data = unmappable.read_bytes()
    with pytest.warns(WARN, match="a copy as of now") as told:
        m = emmap.open(unmappable, offset=5001, length=7000)
    assert len(told) == 1
    with m:
        assert (m[:], m.offset, m.name, m.mode) == (data[5001:12001], 5001, str(unmappable), "r")
        with pytest.raises(emmap.ProtectionError):
            m[0] = 1
        with pytest.raises(PermissionError):
            m.protect(emmap.Protection.READ | emmap.Protection.WRITE)
        with pytest.raises(emmap.ProtectionError):
            m.resize(10)
        unmappable.write_bytes(b"")
        assert m[:] == data[5001:12001]
        assert not m.lost


def test_only_reading_can_be_had_of_it(unmappable: Path) -> None:
    for mode in ("r+", "c", "a+"):
        with pytest.raises(OSError, match="No such device"):
            emmap.open(unmappable, mode)
    with pytest.raises(OSError, match="No such device"):
        emmap.open(unmappable, "w+", size=100)
    assert unmappable.stat().st_size == 0


def test_windows_of_a_file_that_cannot_be_mapped(unmappable: Path) -> None:
    data = unmappable.read_bytes()
    with pytest.warns(WARN, match="a copy as of now") as told:
        found = [window[:] for window in emmap.windows(unmappable, 5000)]
    assert (len(told), b"".join(found)) == (1, data)


def test_a_file_with_fewer_bytes_than_it_says(
    unmappable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: 0)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.warns(WARN), pytest.raises(emmap.PageLostError, match="ends at 6") as raised:
        emmap.open(unmappable, offset=6)
    assert (raised.value.offset, raised.value.filename) == (6, str(unmappable))
    assert set(os.listdir("/proc/self/fd")) <= before


def test_short_reads_are_continued(unmappable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: preadv(fd, [buffers[0][:999]], at))
    data = unmappable.read_bytes()
    with pytest.warns(WARN), emmap.open(unmappable) as m:
        assert m[:] == data


def test_windows_on_a_network_read_and_do_not_warn(
    remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    preadv = os.preadv

    def note(fd: int, buffers: list[memoryview], offset: int) -> int:
        asked.append((offset, len(buffers[0])))
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", note)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(emmap.windows(remote, 10000))
    assert asked == [(0, 10000), (10000, 6384)]
    with pytest.warns(WARN):
        list(emmap.windows(remote, 10000, mode="c"))
    assert len(asked) == 2
