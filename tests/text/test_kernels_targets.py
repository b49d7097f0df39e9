"""What the kernels scan: mappings and views, closed, protected, truncated, and in threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import emmap
from emmap.text import kernels
from emmap.text.kernels import CHARACTERS, LINES, LONGEST, WORDS, Needle, count

ALL = LINES | WORDS | CHARACTERS | LONGEST
LARGE = 100_000  # scans of this many bytes release the GIL
PAGE = emmap.PAGESIZE

SCANS: list[Callable[..., object]] = [
    lambda target, *bounds: count(target, ALL, *bounds),
    lambda target, *bounds: Needle(b"nowhere").find(target, *bounds),
    lambda target, *bounds: Needle(b"nowhere", ignore_case=True).count(target, *bounds),
    lambda target, *bounds: kernels.line_starts(target, 1, 1, *bounds),
    lambda target, *bounds: kernels.line_start(target, 10**9, *bounds),
    lambda target, *bounds: kernels.last_newline(target, *bounds),
    lambda target, *bounds: kernels.translate(target, bytes(range(1, 256)) + b"\0", *bounds),
]
NAMES = ["count", "find", "find count", "line_starts", "line_start", "last_newline", "translate"]
each_scan = pytest.mark.parametrize("scan", SCANS, ids=NAMES)


@each_scan
@pytest.mark.parametrize("bounds", [(-1,), (11,), (0, 11), (5, 4), (0, -1)])
def test_range_that_leaves_the_target(
    scan: Callable[..., object], bounds: tuple[int, ...], tmp_path: Path
) -> None:
    with emmap.anonymous(10) as m:
        for target in (bytearray(10), m):
            with pytest.raises(ValueError, match="leaves the target of 10 bytes"):
                scan(target, *bounds)
            scan(target, 10)


@each_scan
@pytest.mark.parametrize("wrong", ["text", 5, None])
def test_target_without_bytes(scan: Callable[..., object], wrong: object) -> None:
    with pytest.raises(TypeError):
        scan(wrong)


@each_scan
def test_closed_mapping(scan: Callable[..., object]) -> None:
    m = emmap.anonymous(10)
    m.close()
    with pytest.raises(emmap.ClosedError):
        scan(m)


@each_scan
def test_protected_range(scan: Callable[..., object]) -> None:
    with emmap.anonymous(3 * PAGE) as m:
        m.protect(emmap.Protection.NONE, PAGE, PAGE)
        with pytest.raises(emmap.ProtectionError):
            scan(m)
        scan(m, 0, PAGE)
        scan(m, 2 * PAGE)


def test_read_only_targets_are_not_translated(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    table = bytes(range(256)).upper()
    with pytest.raises(BufferError):
        kernels.translate(b"abc", table)
    with emmap.open(path) as m, pytest.raises(emmap.ProtectionError):
        kernels.translate(m, table)
    assert path.read_bytes() == b"abc"


def test_a_character_cut_by_a_protected_page_is_none() -> None:
    with emmap.anonymous(2 * PAGE) as m:
        m[PAGE - 1 : PAGE + 1] = "é".encode()
        assert count(m, CHARACTERS, 0, PAGE).characters == PAGE
        m.protect(emmap.Protection.NONE, PAGE, PAGE)
        assert count(m, CHARACTERS, 0, PAGE).characters == PAGE - 1


@each_scan
@pytest.mark.parametrize("size", [4 * PAGE, LARGE // PAGE * PAGE])
@pytest.mark.parametrize("as_target", ["mapping", "view", "slice", "array"])
def test_lost_page(scan: Callable[..., object], size: int, as_target: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    m = emmap.open(path, "r+")
    target: object = m
    if as_target == "view":
        target = memoryview(m)
    elif as_target == "slice":
        target = memoryview(m)[PAGE // 2 :][: -PAGE // 2]
    elif as_target == "array":
        numpy = pytest.importorskip("numpy")
        target = numpy.frombuffer(m, "u1")[PAGE:]
    scan(target)
    os.truncate(path, size // 2)
    with pytest.raises(emmap.PageLostError) as caught:
        scan(target)
    assert caught.value.filename == str(path)
    with pytest.raises(emmap.PageLostError):
        scan(target)
    scan(target, 0, PAGE // 4)
    m.close()


def test_found_before_the_lost_page(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"needle\n" + b"x" * LARGE)
    with emmap.open(path) as m:
        os.truncate(path, PAGE)
        assert Needle(b"needle").find(m, 0, PAGE) == 0
        assert kernels.line_start(m, 1, 0, PAGE) == 7
        with pytest.raises(emmap.PageLostError):
            count(m, LINES)
        assert Needle(b"needle").find(m) == 0
        assert kernels.line_start(m, 1) == 7
        with pytest.raises(emmap.PageLostError):
            Needle(b"needle").find(m, 1)
        with pytest.raises(emmap.PageLostError):
            kernels.line_start(m, 2)


def test_zeros_of_a_lost_page_are_not_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * LARGE)
    with emmap.open(path) as m:
        os.truncate(path, PAGE)
        for _ in range(2):
            with pytest.raises(emmap.PageLostError):
                Needle(b"\0\0").find(m)
        with pytest.raises(emmap.PageLostError):
            Needle(b"\0\0").count(m)


@each_scan
def test_large_scans_release_the_gil(scan: Callable[..., object]) -> None:
    data = bytearray(LARGE)
    go, seen = threading.Lock(), threading.Event()

    def answer() -> None:
        with go:
            seen.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # nobody is made to give the GIL away
    go.acquire()
    thread = threading.Thread(target=answer)
    try:
        thread.start()
        go.release()
        for _ in range(20_000):  # it may take a while until the other thread has a processor
            scan(data)
            if seen.is_set():
                break
        answered = seen.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert answered


@each_scan
@pytest.mark.parametrize("what", ["close", "protect"])
def test_mapping_stays_while_it_is_scanned(scan: Callable[..., object], what: str) -> None:
    # Pages that went, or could no longer be written, would be a SIGSEGV.
    def scan_it(m: emmap.MemoryMap, begun: threading.Event) -> None:
        begun.set()
        with suppress(emmap.ClosedError, emmap.ProtectionError):
            scan(m)

    for _ in range(8):
        m, begun = emmap.anonymous(16 << 20), threading.Event()
        thread = threading.Thread(target=scan_it, args=(m, begun))
        thread.start()
        begun.wait()
        if what == "close":
            m.close()
        else:
            with suppress(emmap.InUseError):
                m.protect(emmap.Protection.READ)
        thread.join()
