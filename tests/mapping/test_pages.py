"""Pages: protection, flush, advice, populate, pin, evict, resize; and views that outlive a
mapping."""

import ctypes
import errno
import mmap
import os
import re
import resource
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import emmap
from emmap import Advice, Protection

PAGE = emmap.PAGESIZE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)  # four pages
    return path


def mapped_in(path: Path) -> int:
    """How many kernel mappings of a file this process has."""
    with open("/proc/self/maps") as maps:
        return sum(str(path) in line for line in maps)


def smaps_of(address: int) -> dict[str, str]:
    """What the kernel says of the mapping at an address."""
    found: dict[str, str] = {}
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            head, _, rest = line.partition(":" if line.split()[0].endswith(":") else " ")
            if "-" in head and not head.startswith("VmFlags"):
                start, end = (int(n, 16) for n in head.split("-"))
                inside = start <= address < end
                if inside:
                    found["rights"] = rest.split()[0]
            elif inside:
                found[head] = rest.strip()
    return found


# Protection


def test_protected_range_answers_with_an_exception(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        m.protect(Protection.READ, PAGE, 10)  # the whole second page
        m[0] = m[2 * PAGE] = 1
        m.write(bytes(PAGE))
        for write in (
            lambda: m.__setitem__(PAGE, 1),
            lambda: m.__setitem__(2 * PAGE - 1, 1),
            lambda: m.__setitem__(slice(0, PAGE + 1), bytes(PAGE + 1)),
            lambda: m.__setitem__(slice(0, 4 * PAGE, PAGE - 1), b"12345"),
            lambda: m.write(b"x"),
            lambda: m.write_byte(1),
            lambda: m.move(2 * PAGE - 1, 0, 2),
        ):
            with pytest.raises(emmap.ProtectionError):
                write()
        assert m[PAGE : 2 * PAGE] == bytes(range(256)) * 16
        assert m.tell() == PAGE
        m.move(0, PAGE, 5)
        assert memoryview(m).readonly
        m.protect(Protection.READ | Protection.WRITE)
        m[PAGE] = 9
        assert not memoryview(m).readonly


def test_unreadable_range(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        m.protect(Protection.NONE, 2 * PAGE)
        assert m[2 * PAGE - 1] == 255
        for read in (
            lambda: m[2 * PAGE],
            lambda: m[:],
            lambda: m[:: PAGE - 1],
            lambda: m.find(b"absent"),
            lambda: m.rfind(b"absent"),
            lambda: m.move(0, 2 * PAGE, 1),
            lambda: memoryview(m),
            lambda: m.populate(),
            m.read,
        ):
            with pytest.raises(emmap.ProtectionError):
                read()
        m.seek(2 * PAGE)
        for read in (m.read_byte, m.readline):
            with pytest.raises(emmap.ProtectionError):
                read()
        assert m.find(b"\1", 0, PAGE) == 1


def test_protection_of_pages_beside_each_other(path: Path) -> None:
    """Against a list of bytes: protections of random ranges, and what each page then allows."""
    import random

    chance = random.Random(7)
    kinds = [Protection.NONE, Protection.READ, Protection.READ | Protection.WRITE]
    with emmap.open(path, "r+", offset=100) as m:
        page_of = [(offset + 100) // PAGE for offset in range(len(m))]
        oracle = [kinds[2]] * 4
        for _ in range(200):
            start = chance.randrange(len(m))
            length = chance.randrange(1, len(m) - start + 1)
            kind = chance.choice(kinds)
            m.protect(kind, start, length)
            for page in range(page_of[start], page_of[start + length - 1] + 1):
                oracle[page] = kind
            for page in range(4):
                offset = max(page * PAGE - 100, 0)
                assert allowed(lambda at=offset: m[at]) is (oracle[page] != Protection.NONE)  # type: ignore[misc]
                assert allowed(lambda at=offset: m.__setitem__(at, 1)) is bool(  # type: ignore[misc]
                    oracle[page] & Protection.WRITE
                )


def allowed(call: Callable[[], object]) -> bool:
    try:
        call()
    except emmap.ProtectionError:
        return False
    return True


def test_no_right_is_pulled_from_under_a_view(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        with memoryview(m) as view:
            with pytest.raises(BufferError):
                m.protect(Protection.READ)
            view[0] = 5
            m.protect(Protection.READ | Protection.WRITE | Protection.EXEC)
        m.protect(Protection.READ)
        with memoryview(m) as view:
            with pytest.raises(BufferError):
                m.protect(Protection.NONE)
            m.protect(Protection.READ | Protection.WRITE)
            assert view[0] == 5
            assert view.readonly


def test_protection_that_cannot_be(path: Path) -> None:
    with emmap.open(path) as m:
        with pytest.raises(PermissionError):
            m.protect(Protection.READ | Protection.WRITE)
        with pytest.raises(ValueError, match="protection"):
            m.protect(8)
        with pytest.raises(ValueError, match="range"):
            m.protect(Protection.READ, 0, 20000)
        assert m[3] == 3


def test_execute() -> None:
    """Machine code written to a page, made executable, and called."""
    codes = {"x86_64": b"\xb8\x2a\0\0\0\xc3", "aarch64": b"\x40\x05\x80\x52\xc0\x03\x5f\xd6"}
    code = codes.get(os.uname().machine)
    if code is None:
        pytest.skip(f"no machine code at hand for {os.uname().machine}")
    with emmap.anonymous(len(code)) as m:
        m[:] = code
        m.protect(Protection.READ | Protection.EXEC)
        assert ctypes.CFUNCTYPE(ctypes.c_int)(m.address)() == 42


# Flush


def system_calls(script: str, wanted: str, *args: str) -> str:
    """The calls of one kind that a script makes after it has printed "start" to descriptor 2."""
    strace = subprocess.run(
        ["strace", "-f", "-s64", f"-etrace={wanted},write", sys.executable, "-c", script, *args],
        capture_output=True,
        text=True,
    )
    if strace.returncode != 0 or "ptrace" in strace.stderr.splitlines()[0]:
        pytest.skip("strace may not trace here")
    return strace.stderr.partition('"start"')[2]


def test_flush_any_range(path: Path) -> None:
    script = """
import emmap, os, sys
m = emmap.open(sys.argv[1], "r+")
os.write(2, b"start")
m.flush(5000, 5); m.flush(1, 1, wait=False); m.flush(invalidate=True); m.flush(4096, 0)
m.flush(flags=emmap.MS_ASYNC | emmap.MS_INVALIDATE)
"""
    if not any(os.access(f"{folder}/strace", os.X_OK) for folder in os.get_exec_path()):
        pytest.skip("strace is not installed")
    calls = system_calls(script, "msync,sync_file_range", str(path))
    found = [
        line.split("(")[0].split()[-1] + " " + line.split(", ", 1)[1].split(")")[0]
        for line in calls.splitlines()
        if "sync" in line
    ]
    assert found == [
        "msync 4096, MS_SYNC",
        "msync 4096, MS_ASYNC",
        "sync_file_range 0, 4096, SYNC_FILE_RANGE_WRITE",
        "msync 16384, MS_SYNC|MS_INVALIDATE",
        "msync 16384, MS_ASYNC|MS_INVALIDATE",
        "sync_file_range 0, 16384, SYNC_FILE_RANGE_WRITE",
    ]


def test_flush_outside(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        for offset, length in ((-1, 1), (0, 16385), (16384, 1), (0, -1)):
            with pytest.raises(ValueError, match="range"):
                m.flush(offset, length)


# Advice, loading and dropping


def test_advice(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        for advice in Advice:
            if advice in (Advice.REMOVE, Advice.DONTFORK):
                continue
            refused = None
            try:
                m.advise(advice, 10, 5000)
            except OSError as error:  # not for file mappings, or not on this kernel
                refused = error.errno
            assert refused in (None, errno.EINVAL, errno.EPERM), advice
        assert m[:] == bytes(range(256)) * 64
        with pytest.raises(ValueError, match="advice"):
            m.advise(102)  # MADV_GUARD_INSTALL: pages that answer with SIGSEGV
        m.advise(Advice.DONTDUMP)
        assert "dd" in smaps_of(m.address)["VmFlags"].split()


def test_destructive_advice_spares_what_it_only_touches() -> None:
    with emmap.anonymous(4 * PAGE) as m:
        m[:] = b"x" * 4 * PAGE
        m.advise(Advice.DONTNEED, PAGE - 10, PAGE + 20)  # the second page lies in it whole
        assert m[:] == b"x" * PAGE + bytes(PAGE) + b"x" * 2 * PAGE
        m.advise(Advice.DONTNEED, 10, PAGE)
        assert m[:PAGE] == b"x" * PAGE


def test_punched_hole(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        try:
            m.advise(Advice.REMOVE, PAGE, 2 * PAGE)
        except OSError as error:
            pytest.skip(f"the filesystem punches no holes: {error}")
        assert m[PAGE : 3 * PAGE] == bytes(2 * PAGE)
        assert m[3 * PAGE] == 0 == m[0]
        assert m[3 * PAGE + 1] == 1


def test_huge_pages_are_advised() -> None:
    with emmap.anonymous(8 << 20) as m:
        try:
            m.advise(Advice.HUGEPAGE)
        except OSError as error:
            pytest.skip(f"a kernel without transparent huge pages: {error}")
        assert "hg" in smaps_of(m.address)["VmFlags"].split()


@pytest.fixture
def huge_page() -> Iterator[int]:
    """The size of a huge page, of which a few are set aside."""
    setting = Path("/proc/sys/vm/nr_hugepages")
    before = setting.read_text() if setting.exists() else "0"
    if int(before) < 8:
        try:
            setting.write_text("8")
        except OSError as error:
            pytest.skip(f"huge pages: none are set aside, and no right to do so ({error})")
    sizes = re.findall(r"Hugepagesize: +(\d+) kB", Path("/proc/meminfo").read_text())
    if int(setting.read_text()) < 8:
        pytest.skip("huge pages: the kernel has none to set aside")
    yield int(sizes[0]) << 10
    if int(before) < 8:
        setting.write_text(before)


def test_huge_pages(huge_page: int) -> None:
    flags = emmap.MAP_PRIVATE | emmap.MAP_HUGETLB
    with emmap.MemoryMap(-1, huge_page + 5, flags=flags) as m:
        m[huge_page] = 5
        assert int(smaps_of(m.address)["Size"].split()[0]) << 10 == 2 * huge_page
        m.resize(3 * huge_page)
        assert (m[huge_page], m[3 * huge_page - 1]) == (5, 0)
        address = m.address
    assert smaps_of(address) == {}


def test_huge_pages_of_a_file(huge_page: int) -> None:
    fd = os.memfd_create("huge", os.MFD_HUGETLB)
    try:
        os.ftruncate(fd, 2 * huge_page)
        with emmap.open(fd, "r+", offset=7) as m:
            m[0] = 1
            m[2 * huge_page - 8] = 1
            os.ftruncate(fd, huge_page)
            assert m[0] == 1
            for _ in range(2):
                with pytest.raises(emmap.PageLostError) as caught:
                    m[huge_page + 5]
                assert caught.value.offset == huge_page + 12
    finally:
        os.close(fd)


def resident(m: emmap.MemoryMap) -> int:
    """The bytes of a mapping that this process has in memory."""
    return int(smaps_of(m.address)["Rss"].split()[0]) * 1024


def test_populate_and_evict(path: Path) -> None:
    with path.open("wb") as f:
        f.write(b"x" * (64 * PAGE))
        os.fsync(f.fileno())
    with emmap.open(path, "r+") as m:
        m.populate(PAGE, 10 * PAGE)
        assert resident(m) >= 10 * PAGE
        m[5] = 7
        m.evict()
        assert resident(m) == 0
        assert m[5] == 7
        m.populate(write=True)
        assert resident(m) == 64 * PAGE
        assert m[:] == b"xxxxx\7" + b"x" * (64 * PAGE - 6)
    with emmap.open(path, "c") as m:
        m[5] = 8
        m.evict()
        assert m[4:7] == b"x\10x"
    with emmap.open(path) as m:
        m.populate()
        m.evict()
        assert resident(m) == 0


def test_populate_takes_no_write_for_granted(path: Path) -> None:
    with emmap.open(path) as m, pytest.raises(emmap.ProtectionError):
        m.populate(write=True)


def test_populate_tells_of_lost_pages(path: Path) -> None:
    with emmap.open(path, "r+") as m:
        os.truncate(path, PAGE)
        m.populate(0, PAGE)
        with pytest.raises(emmap.PageLostError) as caught:
            m.populate()
        assert caught.value.offset == PAGE


def test_lost_pages_are_told_whatever_the_call(path: Path) -> None:
    calls: list[Callable[[emmap.MemoryMap], None]] = [
        lambda m: m.populate(0, 2 * PAGE),
        lambda m: m.pin(),
        lambda m: m.advise(Advice.POPULATE_READ),
        lambda m: m.madvise(emmap.MADV_POPULATE_WRITE),
    ]
    for call in calls:
        path.write_bytes(b"x" * 4 * PAGE)
        with emmap.open(path, "r+") as m:
            os.truncate(path, PAGE)
            with pytest.raises(emmap.PageLostError) as caught:
                call(m)
            assert caught.value.offset == PAGE


def test_pin(path: Path) -> None:
    with emmap.open(path) as m:
        m.pin(PAGE + 5, 10)
        assert "lo" in smaps_of(m.address + PAGE)["VmFlags"].split()
        m.unpin()
        assert "lo" not in smaps_of(m.address + PAGE)["VmFlags"].split()


def test_pin_past_the_limit() -> None:
    script = """
import emmap, os, resource
m = emmap.anonymous(1 << 20)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096))
if os.geteuid() == 0: os.setuid(65534)
try: m.pin()
except OSError as error: print(error.errno, "ulimit -l" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() in (["12", "True"], ["1", "True"])


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


def blocked_behind(m: emmap.MemoryMap) -> emmap.MemoryMap:
    """A mapping right behind another one, so that this cannot grow where it is."""
    end = m.address + -(-len(m) // PAGE) * PAGE
    try:
        return emmap.anonymous(PAGE, address=end)
    except ValueError:
        return emmap.anonymous(0)  # something is there already


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


def test_copies_give_the_gil_away() -> None:
    """Another thread runs on while large ranges are read, searched and moved."""
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0)  # gives the GIL back

    previous = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # nobody else is made to give it away
    thread = threading.Thread(target=tick)
    try:
        with emmap.anonymous(1 << 24) as m:
            m.populate(write=True)
            thread.start()
            ran_on = []
            for call in (lambda: m[:], lambda: m.find(b"x", 0), lambda: m.move(0, 9, 1 << 23)):
                before = ticks
                # On a busy machine the other thread may not get a processor at once.
                ran_on.append(any((call(), ticks > before)[1] for _ in range(500)))
    finally:
        done.set()
        sys.setswitchinterval(previous)
        thread.join()
    assert all(ran_on), ran_on


def test_close_in_another_thread() -> None:
    """A mapping is closed while a copy without the GIL reads it: the copy is whole."""
    for _ in range(50):
        m = emmap.anonymous(1 << 22)
        m[:] = b"x" * (1 << 22)
        started = threading.Event()
        results: list[bytes] = []

        def read(
            m: emmap.MemoryMap = m,
            results: list[bytes] = results,
            started: threading.Event = started,
        ) -> None:
            started.set()
            try:
                results.append(m[:])
            except emmap.ClosedError:
                results.append(b"x" * (1 << 22))

        thread = threading.Thread(target=read)
        thread.start()
        started.wait()
        m.close()
        thread.join()
        assert results == [b"x" * (1 << 22)]


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
