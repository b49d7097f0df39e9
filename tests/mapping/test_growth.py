"""Room to grow: mappings that follow their file, in every process, without moving."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emmap
from emmap import Protection
from mapping.growth_lock import waits
from mapping.peer import Peer
from mapping.proc import PAGE, mapped_in, smaps_of
from mapping.small_disk import run_on_small_disk

ROOM = 1 << 30

# In every process

FOLLOW = """
import emmap, os, sys
sys.path.insert(0, sys.argv[1])
from mapping.growth_lock import waits
from mapping.peer import Peer

if not os.path.exists("file"):  # as it does in the lower layer of two
    open("file", "wb").write(b"x" * 100)
with Peer() as other:
    for mode in "r", "r+":
        m = emmap.open("file", mode, reserve=1 << 40)
        assert m[:100] == b"x" * 100 or mode == "r+"
        other("m = emmap.open('file', 'r+', reserve=1 << 40)")
        view, address, length = memoryview(m), m.address, len(m)
        for size in (length + 1, 5000, 1 << 20, 3 << 20):
            size = max(size, length + 10)
            other(f"m.grow({size}); m[{size - 1}] = {size % 251}; m[0] = {size % 199}")
            assert m[size - 1] == size % 251, (mode, size)
            assert len(m) == size
            assert view[0] == m[0] == size % 199
        assert (m.address, len(view)) == (address, length)
        size = len(m) + 5000
        if mode == "r+":
            m.grow(size)
            m[size - 1] = 9
            assert other("(len(m), m[-1])") == (size, 9)
"""


@pytest.mark.parametrize(
    "filesystem", ["tmpfs", "ext4", "overlay", "overlay over another filesystem"]
)
def test_growth_is_seen_by_all(filesystem: str, tmp_path: Path) -> None:
    run_on_small_disk(FOLLOW, tmp_path, "64M", filesystem)


def test_growth_makes_no_mapping_and_moves_nothing(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m, emmap.open(path, reserve=ROOM) as reader:
        view = memoryview(reader)
        before = (m.address, reader.address, mapped_in(path))
        m.grow(10_000_000)
        m[9_999_999] = 3
        assert reader[9_999_999] == 3
        assert (m.address, reader.address, mapped_in(path)) == before
        view.release()


def test_every_way_to_look_follows(path: Path) -> None:
    path.write_bytes(b"0123456789")
    looks: dict[str, tuple[Callable[[emmap.MemoryMap], object], object]] = {
        "len": (lambda m: len(m), 20000),
        "negative index": (lambda m: m[-1], ord("!")),
        "index": (lambda m: m[19999], ord("!")),
        "slice": (lambda m: m[19990:20000], b"\0" * 9 + b"!"),
        "slice to the end": (lambda m: m[19990:], b"\0" * 9 + b"!"),
        "slice with steps": (lambda m: m[::-9999], b"!\x001"),
        "view": (lambda m: memoryview(m)[19999], ord("!")),
        "array": (lambda m: int(m.array()[-1]), ord("!")),
        "find": (lambda m: m.find(b"!"), 19999),
        "rfind": (lambda m: m.rfind(b"!"), 19999),
        "in": (lambda m: b"!" in m, True),
        "read": (lambda m: m.read()[-1:], b"!"),
        "readline": (lambda m: len(m.readline()), 20000),
        "seek": (lambda m: (m.seek(-1, os.SEEK_END), m.read_byte())[1], ord("!")),
        "flush": (lambda m: m.flush(19990, 10), None),
        "advise": (lambda m: m.advise(emmap.Advice.NORMAL, 19990, 10), None),
        "move": (lambda m: m.move(0, 19999, 1), None),
        "write": (lambda m: (m.seek(19998), m.write(b"?"), m[19998])[2], ord("?")),
        "set": (lambda m: (m.__setitem__(-2, 5), m[19998])[1], 5),
        "set slice": (lambda m: (m.__setitem__(slice(-2, None), b"??"), m[19998])[1], ord("?")),
    }
    for name, (look, expected) in looks.items():
        path.write_bytes(b"0123456789")
        with (
            emmap.open(path, "r+", reserve=ROOM) as m,
            emmap.open(path, "r+", reserve=ROOM) as other,
        ):
            other.grow(20000)
            other[19999] = ord("!")
            assert look(m) == expected, name


def test_a_byte_past_what_is_known_is_out_of_range(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m:
        with pytest.raises(IndexError):
            m[len(m)]
        with pytest.raises(IndexError):
            m[len(m)] = 1
        assert m[len(m) :] == b""


def test_offset_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    with (
        emmap.open(path, "x+", reserve=ROOM) as m,
        emmap.open(path, reserve=ROOM) as reader,
    ):
        assert len(m) == len(reader) == 0
        assert m[:] == bytes(memoryview(reader)) == b""
        m.grow(10000)
        m[:] = bytes(range(250)) * 40
        with emmap.open(path, offset=5001, reserve=ROOM) as part:
            assert (len(part), part[0], part.capacity) == (4999, m[5001], ROOM)
            m.grow(20000)
            m[19999] = 7
            assert (len(part), part[-1]) == (14999, 7)
        assert reader[19999] == 7


def test_growth_of_others_stays(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m, emmap.open(path, "r+") as fixed:
        m.grow(50000)
        fixed.grow(20000)
        assert (len(fixed), path.stat().st_size) == (20000, 50000)
        m.grow(10)
        assert (len(m), path.stat().st_size) == (50000, 50000)


def test_growth_by_plain_writing_is_seen(path: Path) -> None:
    with emmap.open(path, reserve=ROOM) as m, path.open("ab") as file:
        file.write(b"appended")
        file.flush()
        assert m[-8:] == b"appended"


# Two that grow one file

RACE = """
import emmap, os, signal, sys, threading

victim = os.fork()
if victim == 0:
    # Always too much for the disk, which takes a part first: what is taken back must be ours alone.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    m = emmap.open("file", "a+", reserve=1 << 40)
    while True:
        try:
            m.grow(1 << 30)
        except OSError:
            pass
m = emmap.open("file", "a+", reserve=1 << 40)
while os.stat("file").st_blocks == 0 and os.stat("file").st_size == 0:
    pass
try:
    done = 0
    for size in range(100, 300000, 100):
        try:
            m.grow(size)
        except OSError:
            continue
        m[size - 100 : size] = size.to_bytes(100, "little")
        done += 1
        assert os.stat("file").st_size >= size
        assert m[size - 100 : size] == size.to_bytes(100, "little")
    assert done > 100, done
finally:
    os.kill(victim, signal.SIGKILL)
"""


def test_a_failed_growth_cuts_off_nothing_of_others(tmp_path: Path) -> None:
    run_on_small_disk(RACE, tmp_path, "16M", "ext4")


def test_a_killed_grower_stops_nobody(path: Path) -> None:
    with Peer() as other:
        other(f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})")
        other("from mapping.growth_lock import GrowthLock")
        other(f"lock = GrowthLock({str(path)!r})")
        with emmap.open(path, "r+", reserve=ROOM) as m:
            assert interrupted_growth(path)
            other.kill()
            m.grow(100_000)
            assert len(m) == path.stat().st_size == 100_000


def interrupted_growth(path: Path) -> bool:
    """Waits for the growth byte in a process that gets Ctrl-C then: is that a KeyboardInterrupt?"""
    script = """
        import emmap, sys
        m = emmap.open(sys.argv[1], "r+", reserve=1 << 30)
        before = len(m)
        print("now", flush=True)
        try:
            m.grow(before + 1)
        except KeyboardInterrupt:
            print(len(m) == before)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        while not waits(child.pid):
            pass
        child.send_signal(signal.SIGINT)
        return child.stdout.readline() == "True\n"


def test_the_holder_of_a_lock_on_the_whole_file_may_grow_it(path: Path) -> None:
    script = """
        import emmap, fcntl, sys
        file = open(sys.argv[1], "r+b")
        with emmap.open(sys.argv[1], "r+", reserve=1 << 30) as m:
            fcntl.lockf(file, fcntl.LOCK_EX)
            m.grow(100_000)
            fcntl.lockf(file, fcntl.LOCK_EX)
            m.resize(50_000)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], check=True, timeout=60
    )
    assert path.stat().st_size == 50_000


# Where there is no more

FULL = """
import emmap, errno, os

open("other", "wb").write(bytes(1 << 20))
with emmap.open("data", "x+", size=1 << 20, reserve=1 << 40) as m:
    m[:] = b"k" * (1 << 20)
    view, address = memoryview(m), m.address
    for grow in (m.grow, m.resize):
        for size in (1 << 28, 1 << 30):
            try:
                grow(size)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                assert "data" in str(error)
            else:
                raise AssertionError("a small disk took it all")
            assert len(m) == os.stat("data").st_size == 1 << 20
            assert (m.address, m[:], bytes(view)) == (address, b"k" * (1 << 20), m[:])
    os.unlink("other")
    m.grow(3 << 20)
    m[(3 << 20) - 1] = 1
"""


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4", "overlay"])
def test_a_full_disk_changes_nothing(filesystem: str, tmp_path: Path) -> None:
    run_on_small_disk(FULL, tmp_path, "16M", filesystem)


SCARCE = """
import emmap, resource, sys

resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
with emmap.open(sys.argv[1], "r+", reserve=1 << 40) as m:
    assert m.capacity == 4 << 30, m.capacity
    with emmap.anonymous(10, reserve=1 << 40) as second:
        assert second.capacity == 1 << 30, second.capacity
        # Not a gigabyte is left: a mapping without room is better than none.
        with emmap.open(sys.argv[1], reserve=1 << 40) as reader:
            assert reader.capacity == len(reader) == len(m)
            view = memoryview(m)
            m.grow(len(m) + 10)
            assert len(reader) == len(m) - 10 == reader.capacity
            assert reader[:10] == m[:10]
    for grow in (m.grow, m.resize):
        try:
            grow((4 << 30) + 1)
        except emmap.AddressSpaceError as error:
            assert isinstance(error, MemoryError)
            assert "reserve=" in str(error)
        else:
            raise AssertionError("it grew past its room")
    assert m[:4] == b"\\x00\\x01\\x02\\x03"
    m.grow(1 << 20)
"""


def test_scarce_addresses(path: Path) -> None:
    subprocess.run([sys.executable, "-c", SCARCE, str(path)], check=True)
    assert path.stat().st_size == 1 << 20


def test_a_file_longer_than_the_room(path: Path) -> None:
    with emmap.open(path, "r+", reserve=5 * PAGE) as m, emmap.open(path, "r+") as other:
        other.resize(10 * PAGE)
        assert len(m) == m.capacity == 5 * PAGE
        with pytest.raises(emmap.AddressSpaceError, match="reserve="):
            m.grow(5 * PAGE + 1)
        assert path.stat().st_size == 10 * PAGE


def test_room_is_never_less_than_the_file(path: Path) -> None:
    with emmap.open(path, reserve=1) as m:
        assert m.capacity == len(m) == 4 * PAGE
        assert smaps_of(m.address)["Rss"] is not None


# Shorter


def test_resize_makes_shorter(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m:
        address = m.address
        m.resize(5000)
        assert (len(m), path.stat().st_size, m.address) == (5000, 5000, address)
        m.resize(9000)
        assert m[5000:] == bytes(4000)
        with memoryview(m), pytest.raises(emmap.InUseError, match="view"):
            m.resize(100)
        assert path.stat().st_size == 9000
        m.resize(0)
        assert (m[:], path.stat().st_size) == (b"", 0)
        m.resize(10)
        assert m[:] == bytes(10)


def test_anonymous_memory_becomes_shorter() -> None:
    for shared in (False, True):
        with emmap.anonymous(10 * PAGE, shared=shared, reserve=ROOM) as m:
            m[:] = b"7" * len(m)
            m.resize(PAGE + 10)
            m.resize(10 * PAGE)
            assert m[:] == b"7" * (PAGE + 10) + bytes(9 * PAGE - 10)
            m.grow(ROOM // 4 if not shared else 20 * PAGE)
            assert m[len(m) - 1] == 0
            assert m.capacity == ROOM


def test_a_file_that_others_shorten_is_lost_and_repaired(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m, emmap.open(path, "r+") as other:
        view = memoryview(m)
        other.resize(PAGE)
        assert len(m) == 4 * PAGE
        with pytest.raises(emmap.PageLostError) as told:
            m[2 * PAGE]
        assert told.value.offset == 2 * PAGE
        with pytest.raises(emmap.PageLostError):
            m.grow(8 * PAGE)
        other.resize(PAGE + 10)
        with pytest.raises(emmap.PageLostError, match="still"):
            m.repair()  # the view cannot become shorter
        view.release()
        m.repair()
        assert (len(m), m.lost) == (PAGE + 10, False)
        m.grow(8 * PAGE)
        m[8 * PAGE - 1] = 1
        assert path.read_bytes()[-1] == 1


def test_a_file_that_grows_back_is_repaired(path: Path) -> None:
    with emmap.open(path, "r+", reserve=ROOM) as m:
        with memoryview(m) as view:
            os.truncate(path, 0)
            assert view[3 * PAGE] == 0
            with path.open("r+b") as file:
                file.write(b"?" * 10 * PAGE)
            m.repair()
            assert view[3 * PAGE] == ord("?")
        assert m[:] == b"?" * 10 * PAGE


# What else is done with it


def test_pages_of_a_mapping_with_room(path: Path) -> None:
    with emmap.open(path, "r+", reserve=1 << 40) as m:
        m.populate()
        m.populate(write=True)
        m.pin()
        m.unpin()
        m[0] = 200
        m.flush()
        m.flush(wait=False)
        m.advise(emmap.Advice.DONTNEED)
        m.evict()
        assert m[0] == 200
        m.protect(Protection.READ)
        m.grow(10 * PAGE)
        with pytest.raises(emmap.ProtectionError):
            m[9 * PAGE] = 1
        assert smaps_of(m.address + 9 * PAGE)["rights"] == "r--s"
        m.protect(Protection.READ | Protection.WRITE, 9 * PAGE, PAGE)
        m[9 * PAGE] = 1


def test_memory_that_is_reserved_is_in_no_core_dump(path: Path) -> None:
    with emmap.open(path, reserve=ROOM) as m:
        assert "dd" in smaps_of(m.address)["VmFlags"].split()


def test_close_and_fork(path: Path) -> None:
    m = emmap.open(path, "r+", reserve=ROOM)
    child = os.fork()
    if child == 0:
        try:
            m.grow(100_000)
            m[99_999] = 5
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert m[99_999] == 5
    m.close()
    for call in (len, lambda m: m.grow(5), lambda m: m.capacity, lambda m: m[0]):
        with pytest.raises(emmap.ClosedError):
            call(m)


def test_a_descriptor_closed_by_somebody_else_is_noticed(path: Path, tmp_path: Path) -> None:
    m = emmap.open(path, "r+", reserve=ROOM)
    number = m.fileno()
    os.close(number)
    assert len(m) == 4 * PAGE
    (tmp_path / "other").write_bytes(bytes(1 << 20))
    with (tmp_path / "other").open("r+b") as file:
        other = os.dup2(file.fileno(), number)
    assert len(m) == 4 * PAGE
    with pytest.raises(OSError, match="closed behind"):
        m.grow(1 << 20)
    m.close()
    os.close(other)


def test_what_makes_no_sense_is_refused(path: Path) -> None:
    for arguments in (
        {"reserve": -1},
        {"reserve": ROOM, "length": 10},
        {"mode": "c", "reserve": ROOM},
        {"reserve": ROOM, "address": 1 << 40},
    ):
        with pytest.raises(ValueError, match="reserve"):
            emmap.open(path, **arguments)
    with pytest.raises(OSError, match="no end"):
        emmap.open("/dev/zero", "r+", reserve=10)
    with pytest.raises(ValueError, match="reserve"):
        emmap.anonymous(10, protection=Protection.NONE, reserve=100)
    with emmap.open(path, reserve=ROOM) as m, pytest.raises(emmap.ProtectionError):
        m.grow(1 << 20)
    assert path.stat().st_size == 4 * PAGE


def test_capacity_without_room(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        assert m.capacity == len(m)
        m.grow(10)
        assert len(m) == 4 * PAGE
        m.grow(5 * PAGE)
        assert (len(m), path.stat().st_size) == (5 * PAGE, 5 * PAGE)


# splice

KINDS = ["file", "file with room", "private", "anonymous", "anonymous with room"]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_splice_as_a_bytearray(
    kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original = data.draw(st.binary(max_size=3 * PAGE), "original")
    path = tmp_path_factory.mktemp("splice") / "file"
    path.write_bytes(original)
    if kind.startswith("anonymous"):
        m = emmap.anonymous(len(original), reserve=ROOM if "room" in kind else None)
        m[:] = original
    else:
        m = emmap.open(
            path, "c" if kind == "private" else "r+", reserve=ROOM if "room" in kind else None
        )
    expected = bytearray(original)
    bound = st.none() | st.integers(-2 * PAGE, 4 * PAGE)
    for _ in range(4):
        start, stop = data.draw(bound), data.draw(bound)
        new = data.draw(st.binary(max_size=PAGE) | st.just(b"long" * PAGE))
        first, end, _ = slice(start, stop).indices(len(expected))
        expected[first : max(first, end)] = new
        m.splice(start, stop, new)
        assert m[:] == expected
    if kind.startswith("file"):
        assert path.read_bytes() == expected
    elif kind == "private":
        assert path.read_bytes() == original
    m.close()


def test_splice_refuses_and_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with emmap.open(path, "r+", length=100) as m, pytest.raises(ValueError, match="goes on"):
        m.splice(0, 1, b"")
    with emmap.open(path) as m, pytest.raises(emmap.ProtectionError):
        m.splice(0, 1, b"ab")
    with emmap.open(path, "r+") as m:
        with pytest.raises(TypeError):
            m.splice(0, 1, "text")  # type: ignore[arg-type]
        with memoryview(m), pytest.raises(emmap.InUseError, match="view"):
            m.splice(0, 2, b"a")
    assert path.read_bytes() == before


def test_splice_takes_bytes_of_the_mapping_itself(path: Path) -> None:
    expected = bytearray(path.read_bytes())
    with emmap.open(path, "r+", reserve=ROOM) as m:
        with memoryview(m) as view:
            for start, stop in ((100, 200), (5, 5000)):
                m.splice(10, 20, view[start:stop])
                expected[10:20] = expected[start:stop]
        assert m[:] == expected


def test_splice_on_a_full_disk(tmp_path: Path) -> None:
    script = """
        import emmap, errno
        with emmap.open("file", "x+", size=1 << 20) as m:
            m[:] = bytes(range(256)) * 4096
            try:
                m.splice(0, 0, bytes(1 << 26))
            except OSError as error:
                assert error.errno == errno.ENOSPC
            assert m[:] == bytes(range(256)) * 4096
    """
    run_on_small_disk(textwrap.dedent(script), tmp_path, "16M")
