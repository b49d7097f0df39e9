"""Pages: protection, flush, advice, populate, pin, evict, resize; and views that outlive a
mapping."""

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import emmap
from emmap import Advice, Protection
from mapping.proc import PAGE, smaps_of

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
