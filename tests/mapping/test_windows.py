"""`emmap.windows`: the bytes that slices give, in bounded memory, whatever happens to the file."""

import gc
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emmap
from emmap.mapping.filesystem import NETWORK
from emmap.mapping.statfs import file_system
from mapping.proc import PAGE, mapped_in, smaps_of

GIB = 1 << 30
TMPFS = 0x01021994
DATA = bytes(range(256)) * 64


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["mapped", "read"])
def either_way(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of four pages, on its own filesystem and on one that counts as a network's."""
    if request.param == "read":
        with path.open("rb") as file:
            monkeypatch.setitem(NETWORK, file_system(file.fileno(), None)[1], "a test network")
    return path


# What they show


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_windows_are_slices(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "slices"
    content = DATA[: data.draw(st.integers(0, len(DATA)), "file")]
    path.write_bytes(content)
    size = data.draw(st.integers(1, 20000), "size")
    size = max(size, len(content) // 50)
    overlap = data.draw(st.integers(0, min(size - 1, size * 4 // 5)), "overlap")
    offset = data.draw(st.integers(0, len(content)), "offset")
    length = data.draw(st.none() | st.integers(0, len(content) - offset), "length")
    end = len(content) if length is None else offset + length
    advice = data.draw(
        st.sampled_from([emmap.Advice.NORMAL, emmap.Advice.SEQUENTIAL, emmap.Advice.RANDOM])
    )
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans(), "read"):
            with path.open("rb") as file:
                patch.setitem(NETWORK, file_system(file.fileno(), None)[1], "a test network")
        walk = emmap.windows(path, size, overlap, advice=advice, offset=offset, length=length)
        found = [(window.offset, window[:]) for window in walk]
    starts = range(offset, max(end - overlap, offset + 1), size - overlap) if end > offset else ()
    assert found == [(at, content[at : min(at + size, end)]) for at in starts]


def test_a_window_is_a_mapping_of_the_file(either_way: Path) -> None:
    for window in emmap.windows(either_way, PAGE + 5):
        assert (window.name, window.mode) == (str(either_way), "r")
        with pytest.raises(emmap.ProtectionError):
            window[0] = 1
        with pytest.raises(PermissionError):
            window.protect(emmap.Protection.READ | emmap.Protection.WRITE)


def test_what_is_inside_a_border_is_whole_in_one_window(path: Path) -> None:
    path.write_bytes(b"x" * 98 + b"word" + b"x" * 98)
    assert [w.find(b"word") for w in emmap.windows(path, 100, 3)] == [-1, 1, -1]


def test_an_empty_file_has_no_windows(path: Path) -> None:
    path.write_bytes(b"")
    assert list(emmap.windows(path, 10)) == []
    assert list(emmap.windows("/dev/zero", 10, length=0, mode="c")) == []


def test_change_in_place(path: Path) -> None:
    path.write_bytes(b"some words" * 1000)
    for window in emmap.windows(path, 3000, mode="r+"):
        window[:] = window[:].upper()
    assert path.read_bytes() == b"SOME WORDS" * 1000


def test_private_changes(path: Path) -> None:
    for window in emmap.windows(path, 3000, mode="c"):
        window[:] = bytes(len(window))
    assert path.read_bytes() == DATA


def test_descriptors_and_files_can_be_walked(path: Path) -> None:
    with path.open("rb") as file:
        walks = emmap.windows(file, 10000), emmap.windows(file.fileno(), 10000)
    for walk in walks:  # which have descriptors of their own
        assert b"".join(window[:] for window in walk) == DATA


def test_a_device_without_an_end() -> None:
    assert [w[:] for w in emmap.windows("/dev/zero", 6, length=10)] == [bytes(6), bytes(4)]


# Bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "size is a positive"),
        ({"size": -1}, ValueError, "size is a positive"),
        ({"overlap": -1}, ValueError, "overlap"),
        ({"overlap": 10}, ValueError, "overlap"),
        ({"mode": "a+"}, ValueError, "mode is one of r, r\\+, c"),
        ({"advice": emmap.Advice.DONTNEED}, ValueError, "advice is"),
        ({"offset": -1}, ValueError, "offset is a number"),
        ({"length": -1}, ValueError, "length is a number"),
        ({"offset": 16385}, ValueError, "offset is greater"),
        ({"length": 16385}, ValueError, "length is greater"),
        ({"path": "/nowhere/at/all"}, FileNotFoundError, "No such file"),
        ({"path": "/proc/self"}, IsADirectoryError, "folder"),
        ({"path": "/dev/zero"}, OSError, "no end"),
    ],
)
def test_bad_input_raises_at_the_call(
    path: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    before = descriptors()
    given_arguments: dict[str, object] = {"path": path, "size": 10, **arguments}
    with pytest.raises(error, match=message):
        emmap.windows(**given_arguments)  # type: ignore[arg-type]
    assert descriptors() == before


def test_pipes_and_sockets_are_refused() -> None:
    reader, writer = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for file in (reader, writer, ours):
            with pytest.raises(OSError, match="read it instead"):
                emmap.windows(file, 10)
    os.close(reader)
    os.close(writer)


# What stays open, and what is kept


def test_a_window_closes_when_the_next_is_asked_for(path: Path) -> None:
    walk = emmap.windows(path, 10000)
    first = next(walk)
    second = next(walk)
    assert (first.closed, second.closed) == (True, False)
    with pytest.raises(StopIteration):
        next(walk)
    with pytest.raises(StopIteration):
        next(walk)
    assert second.closed
    assert mapped_in(path) == 0


def test_the_file_closes_with_the_walk(either_way: Path) -> None:
    before = descriptors()
    walk = emmap.windows(either_way, 10000)
    for _ in walk:
        assert descriptors() == before + 1
    assert descriptors() == before  # by its end
    for _ in emmap.windows(either_way, 100):
        break
    gc.collect()
    assert descriptors() == before  # dropped
    with pytest.raises(StopIteration):
        fail_within(emmap.windows(either_way, 100))
    assert descriptors() == before  # left by an exception
    emmap.windows(either_way, 100)
    assert descriptors() == before  # never begun
    walk = emmap.windows(either_way, 100)
    window = next(walk)
    walk.close()
    walk.close()
    assert (descriptors(), window.closed, list(walk)) == (before, True, [])


def fail_within(walk: Iterable[emmap.MemoryMap]) -> None:
    for _ in walk:
        next(iter(()))


def test_a_view_outlives_its_window(either_way: Path) -> None:
    views = [memoryview(window) for window in emmap.windows(either_way, 5000, 1000)]
    assert b"".join([*(view[:4000] for view in views[:-1]), views[-1]]) == DATA


def test_resident_memory_is_bounded(tmp_path: Path) -> None:
    assert walk_sparse(tmp_path, 2 * GIB) < 20 << 20


@pytest.mark.slow
def test_resident_memory_of_20_gb_is_bounded(tmp_path: Path) -> None:
    assert walk_sparse(tmp_path, 20_000_000_000) < 200 << 20


def walk_sparse(folder: Path, size: int) -> int:
    """By how much the peak of resident memory rises when each page of a sparse file is touched."""
    script = """if True:
        import emmap, sys, tempfile

        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

        size, touched = int(sys.argv[1]), 0
        with tempfile.TemporaryFile(dir=".") as file:
            file.truncate(size)
            before = peak()
            for window in emmap.windows(file, 8 << 20):
                touched += len(window[:: emmap.PAGESIZE])
        assert touched == -(-size // emmap.PAGESIZE), touched
        print((peak() - before) * 1024)
    """
    # On tmpfs a hole that is read takes memory.
    descriptor = os.open(folder, os.O_RDONLY)
    _, kind = file_system(descriptor, None)
    os.close(descriptor)
    folder = Path("/var/tmp") if kind == TMPFS else folder
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(size)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_address_space_is_bounded(either_way: Path) -> None:
    """Two windows fit into what is left, and a view of each is taken."""
    script = """if True:
        import emmap, resource, sys
        from emmap.mapping.filesystem import NETWORK
        from emmap.mapping.statfs import file_system

        if sys.argv[2] == "read":
            with open(sys.argv[1]) as file:
                NETWORK[file_system(file.fileno(), None)[1]] = "a test network"
        list(emmap.windows(sys.argv[1], 1 << 20, length=1))
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * emmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + (25 << 20), resource.RLIM_INFINITY))
        count = 0
        for window in emmap.windows(sys.argv[1], 10 << 20):
            with memoryview(window) as view:
                count += len(view)
        print(count)
    """
    os.truncate(either_way, 200 << 20)
    way = "read" if "a test network" in NETWORK.values() else "map"
    done = subprocess.run(
        [sys.executable, "-c", script, either_way, way], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"{200 << 20}\n"), done.stderr


# A file that changes meanwhile


def test_truncation_during_a_walk(either_way: Path) -> None:
    before = descriptors()
    walk = emmap.windows(either_way, 5000)
    assert next(walk)[:] == DATA[:5000]
    os.truncate(either_way, 7000)
    with pytest.raises(emmap.PageLostError, match="truncated") as raised:
        next(walk)
    assert (raised.value.offset, raised.value.filename) == (7000, str(either_way))
    assert list(walk) == []
    assert descriptors() == before


def test_truncation_of_the_window_in_use(path: Path) -> None:
    walk = emmap.windows(path, 2 * PAGE)
    window = next(walk)
    os.truncate(path, 0)
    with pytest.raises(emmap.PageLostError):
        _ = window[0]
    with pytest.raises(emmap.PageLostError):
        next(walk)


def test_a_loss_that_only_a_view_met_is_told_by_the_next(path: Path) -> None:
    walk = emmap.windows(path, 2 * PAGE)
    with memoryview(next(walk)) as view:
        os.truncate(path, 0)
        assert view[PAGE] == 0
    os.truncate(path, 16384)
    with pytest.raises(emmap.PageLostError):
        next(walk)
    assert list(walk) == []


def test_growth_during_a_walk_is_not_seen(either_way: Path) -> None:
    walk = emmap.windows(either_way, 5000)
    found = [next(walk)[:]]
    with either_way.open("ab") as file:
        file.write(bytes(100_000))
    found += [window[:] for window in walk]
    assert b"".join(found) == DATA


def test_a_descriptor_closed_behind_the_walk(path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    walk = emmap.windows(path, 5000)
    next(walk)
    (ours,) = {
        name
        for name in set(os.listdir("/proc/self/fd")) - before
        if os.path.exists(f"/proc/self/fd/{name}")
    }
    os.close(int(ours))
    with pytest.raises(OSError, match="closed behind"):
        next(walk)


@pytest.mark.parametrize(("advice", "flag"), [("NORMAL", None), ("RANDOM", "rr")])
def test_the_advice_reaches_the_kernel(path: Path, advice: str, flag: str | None) -> None:
    assert advice_on(emmap.windows(path, 10000, advice=emmap.Advice[advice])) == [flag] * 2
    assert advice_on(emmap.windows(path, 10000)) == ["sr"] * 2


def advice_on(walk: Iterable[emmap.MemoryMap]) -> list[str | None]:
    """What the kernel notes of each window: sequential, random, or nothing."""
    noted = [smaps_of(window.address)["VmFlags"].split() for window in walk]
    return [next((flag for flag in flags if flag in ("sr", "rr")), None) for flags in noted]
