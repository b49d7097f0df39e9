"""`lines`: a sequence, whatever the file; its index is used only while it is true."""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emmap
from emmap.text import kernels, lineindex, lines
from text.samples import TEXTS


def expected(text: bytes) -> list[bytes]:
    return text.removesuffix(b"\n").split(b"\n") if text else []


@pytest.fixture(params=[7, 1000, 1 << 16])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The newlines are counted in blocks of this size, some blocks at once."""
    monkeypatch.setattr(lineindex, "BLOCK", request.param)
    monkeypatch.setattr(lineindex, "WINDOW", 4 * request.param)
    monkeypatch.setattr(lines, "WINDOW", request.param)
    assert isinstance(request.param, int)
    return request.param


@pytest.mark.parametrize("name", TEXTS)
def test_sequence(name: str, path: Path, block: int) -> None:
    text = TEXTS[name] if len(TEXTS[name]) // block < 3000 else TEXTS[name][: 300 * block]
    path.write_bytes(text)
    plain = expected(text)
    assert list(emmap.lines(path)) == plain
    with emmap.lines(path) as found:
        assert isinstance(found, Sequence)
        some = range(0, len(plain), 1 + len(plain) // 50)
        assert [found[i] for i in some] == [plain[i] for i in some]
        assert len(found) == len(plain)
        assert [found[-1 - i] for i in some] == [plain[-1 - i] for i in some]
        for beyond in (len(plain), -len(plain) - 1, 10**30, -(10**30)):
            with pytest.raises(IndexError, match=f"there is no line {beyond}"):
                _ = found[beyond]
        assert list(reversed(found[:20])) == plain[:20][::-1]
    with pytest.raises(IndexError):
        _ = emmap.lines(path)[len(plain)]
    assert [emmap.lines(path)[-1] for _ in plain[:1]] == plain[-1:]


slices = st.builds(
    slice,
    st.none() | st.integers(-12, 12),
    st.none() | st.integers(-12, 12),
    st.none() | st.integers(-3, 3).filter(bool),
)


@given(first=slices, second=slices)
def test_slices(first: slice, second: slice, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "ten"
    if not path.exists():
        path.write_bytes(b"\n".join(b"%d" % i for i in range(10)))
    with emmap.lines(path) as found:
        plain = expected(path.read_bytes())
        part = found[first][second]
        assert isinstance(part, emmap.Lines)
        assert list(part) == plain[first][second]
        assert len(part) == len(plain[first][second])
        assert [part[i] for i in range(len(part))] == plain[first][second]
        assert (b"5" in part) == (b"5" in plain[first][second])


def test_no_more_is_counted_than_needed(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"one\ntwo\n")
        file.truncate(1 << 40)  # to count all of it would take minutes
    with emmap.lines(path) as found:
        assert found[1] == b"two"
        assert list(islice(found, 2)) == [b"one", b"two"]


def test_what_is_appended_is_not_seen(path: Path) -> None:
    path.write_bytes(b"one\ntwo")
    found = emmap.lines(path)
    with path.open("ab") as file:
        file.write(b" and more\nthree\n")
    assert list(found) == [b"one", b"two"]
    assert (len(found), found[-1]) == (2, b"two")
    assert list(emmap.lines(path)) == [b"one", b"two and more", b"three"]


def test_truncated(path: Path) -> None:
    path.write_bytes(b"one\n" * 100_000)
    found, counted = emmap.lines(path), emmap.lines(path)
    assert len(counted) == 100_000
    os.truncate(path, 100_000)
    for read in (lambda: len(found), lambda: list(found), lambda: counted[90_000]):
        with pytest.raises(emmap.PageLostError):
            read()
    assert counted[5] == b"one"


def test_truncated_while_it_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one\n" * 100_000)
    real = kernels.count

    def truncate_and_count(*arguments: Any) -> kernels.Tally:
        os.truncate(path, 399_000)  # what follows in its page reads as zeros, without a signal
        return real(*arguments)

    monkeypatch.setattr(kernels, "count", truncate_and_count)
    found = emmap.lines(path)
    with pytest.raises(emmap.PageLostError):
        len(found)
    monkeypatch.undo()
    path.write_bytes(b"one\n" * 100_000)
    assert len(found) == 100_000  # nothing is left of what was counted in between


def test_changed_in_place(path: Path) -> None:
    path.write_bytes(b"one\n" * 5)
    found = emmap.lines(path)
    assert len(found) == 5
    path.write_bytes(b"two " * 5)
    with pytest.raises(OSError, match="changed after its lines were counted"):
        _ = found[3]


def test_closed(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")
    with emmap.lines(path) as found:
        part = found[1:]
        assert repr(found) == f"<Lines of {str(path)!r}: range(0, 2)>"
    for ask in (lambda: found[0], lambda: part[0], lambda: list(found), lambda: list(part)):
        with pytest.raises(emmap.ClosedError, match="the lines were closed"):
            ask()
    found.close()


# The index that is kept


@pytest.fixture
def log(path: Path) -> Path:
    """A file of three blocks that has not been changed for a while."""
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(15_000)))
    settle(path)
    return path


def settle(path: Path, seconds: int = 1_000_000_000) -> None:
    os.utime(path, (seconds, seconds))


def newlines_kept(path: Path, index: Path | None = None) -> int:
    """How many counts are taken from the index, before any is made."""
    kept = lineindex.LineIndex(path, str(index or f"{path}.lines"))
    try:
        return len(kept._newlines)
    finally:
        kept.close()


def is_used(path: Path, index: Path | None = None) -> bool:
    """Is the index used? Whether or not, all must be right, and it is written if need be."""
    used = newlines_kept(path, index) > 0
    plain = expected(path.read_bytes())
    with emmap.lines(path, index=index or True) as found:
        assert found[len(plain) - 1] == plain[-1]
        assert len(found) == len(plain)
    return used


def test_index_is_kept(log: Path, tmp_path: Path) -> None:
    assert not is_used(log)
    assert is_used(log)
    assert sorted(tmp_path.iterdir()) == [log, tmp_path / "text.lines"]
    assert not is_used(log, tmp_path / "other")
    assert is_used(log, tmp_path / "other")
    with emmap.lines(log, index=False) as found:
        assert len(found) == 15_000


def test_an_old_index_is_not_used(log: Path) -> None:
    def change_time() -> None:
        settle(log, 1_000_000_001)

    def change_size() -> None:
        os.truncate(log, log.stat().st_size - 1)
        settle(log, 1_000_000_001)

    def change_inode() -> None:
        new = log.with_name("new")
        new.write_bytes(log.read_bytes().replace(b"\n", b" ", 1))
        new.rename(log)
        settle(log, 1_000_000_001)

    for change in (change_time, change_size, change_inode):
        is_used(log)
        assert is_used(log)
        change()
        assert not is_used(log)


def test_a_damaged_index_is_not_used(log: Path) -> None:
    index = log.with_name("text.lines")
    assert not is_used(log)
    good = index.read_bytes()
    for place in range(len(good)):
        for bit in (1, 128):
            bad = bytearray(good)
            bad[place] ^= bit
            index.write_bytes(bad)
            assert newlines_kept(log) == 0, place
    for bad_size in (*range(len(good)), len(good) + 1, 1 << 40):
        index.write_bytes(good[:bad_size])
        os.truncate(index, bad_size)
        assert newlines_kept(log) == 0
    index.write_bytes(bad)
    assert not is_used(log)
    assert is_used(log)


def test_what_is_no_index_file(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = log.with_name("text.lines")
    os.mkfifo(index)
    assert not is_used(log)
    assert stat.S_ISREG(index.stat().st_mode)
    index.unlink()
    index.symlink_to(index)
    assert not is_used(log)
    assert is_used(log)
    index.unlink()
    index.mkdir()
    with pytest.raises(IsADirectoryError):
        is_used(log)
    assert sorted(log.parent.iterdir()) == [log, index]


def test_the_index_of_a_stranger_is_not_used(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_used(log)
    assert is_used(log)
    inode = log.with_name("text.lines").stat().st_ino
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        status = real(fd)
        if status.st_ino != inode:
            return status
        return os.stat_result([*status[:4], 4321, *status[5:]])

    monkeypatch.setattr(os, "fstat", fstat)
    assert newlines_kept(log) == 0


def test_nothing_is_kept_of_a_file_that_changes(log: Path) -> None:
    index = log.with_name("text.lines")
    os.utime(log)
    assert not is_used(log)
    assert not index.exists()
    settle(log)
    with emmap.lines(log, index=True) as found:
        settle(log, 1_000_000_001)
        assert len(found) == 15_000
    assert not index.exists()


def test_an_index_that_cannot_be_kept(log: Path) -> None:
    with emmap.lines(log, index=log.parent / "none" / "index") as found:
        with pytest.raises(FileNotFoundError):
            len(found)
        assert len(found) == 15_000


def test_a_file_that_is_no_index_is_not_replaced(log: Path) -> None:
    text = log.read_bytes()
    other = log.with_name("other")
    other.write_bytes(b"precious")
    link = log.with_name("link")
    link.symlink_to(log)
    for index in (log, other, link):
        with pytest.raises(ValueError, match="something else"):
            emmap.lines(log, index=index)
    assert (log.read_bytes(), other.read_bytes()) == (text, b"precious")


def test_counts_that_nobody_counted_are_not_used(log: Path) -> None:
    log.write_bytes(b"line\n" * 60_000)
    settle(log, 1_000_000_000)
    assert not is_used(log)
    kept = lineindex.LineIndex(log, None)
    path = log.with_name("text.lines")
    blocks = kept._blocks
    for nonsense in ([5, 30000, 29000, 2**64 - 1, 60000], [30000, 5, 7, 40000, 60000]):
        counts = struct.pack(f"={blocks}Q", *nonsense[:blocks])
        path.write_bytes(kept._header(counts) + counts)
        assert newlines_kept(log) == 0


def test_lines_closed_by_somebody_else_give_no_other_file(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "another"
    other.write_bytes(b"WRONG\n" * 60_000)
    text = emmap.lines(log)
    text[3]
    opened: list[int] = []

    def interfere(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") == "pread" and not opened:
            text.close()
            opened.append(os.open(other, os.O_RDONLY))

    sys.setprofile(interfere)
    try:
        assert text[3] != b"WRONG"
    except emmap.ClosedError:
        pass
    finally:
        sys.setprofile(None)
    assert opened
    os.close(opened[0])
    with pytest.raises(emmap.ClosedError):
        text[3]


def test_progress_is_told(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineindex, "WINDOW", lineindex.BLOCK)
    log.write_bytes(b"line\n" * 60_000)
    done: list[int] = []
    with emmap.lines(log, progress=done.append) as text:
        assert len(text) == 60_000
    assert done == [*range(lineindex.BLOCK, 300_000, lineindex.BLOCK), 300_000]
