"""Where `emmap.MemoryMap` succeeds and the standard `mmap.mmap` raises: these places and no others.

An empty file, an unaligned flush, resizing a private mapping, close with exported views; and an
offset need not be a multiple of the page size.
"""
# ruff: noqa: PT011 (programs catch the builtin class, whatever the message)

import ctypes
import gc
import mmap
from pathlib import Path
from typing import Any

import pytest

import emmap

PAGE = mmap.PAGESIZE
CONTENT = bytes(i % 251 for i in range(3 * PAGE + 9))
PRIVATE: list[dict[str, Any]] = [{"access": mmap.ACCESS_COPY}, {"flags": mmap.MAP_PRIVATE}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


def standard(path: Path, length: int = 0, **options: Any) -> mmap.mmap:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), length, **options)


def ours(path: Path, length: int = 0, **options: Any) -> Any:
    with open(path, "r+b") as file:
        return emmap.MemoryMap(file.fileno(), length, **options)


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


# An empty file


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").touch()
    return tmp_path / "empty"


ACCESSES = [mmap.ACCESS_DEFAULT, mmap.ACCESS_READ, mmap.ACCESS_WRITE, mmap.ACCESS_COPY]


@pytest.mark.parametrize("access", ACCESSES)
def test_an_empty_file_is_an_empty_mapping(empty: Path, access: int) -> None:
    with pytest.raises(ValueError):
        standard(empty, access=access)
    with ours(empty, access=access) as mapping:
        assert len(mapping) == mapping.size() == mapping.tell() == 0
        assert not mapping
        assert mapping[:] == mapping[::-1] == mapping.read() == mapping.readline() == b""
        assert bytes(mapping) == memoryview(mapping).tobytes() == b""
        assert mapping.find(b"x") == mapping.rfind(b"x") == -1
        assert mapping.find(b"") == mapping.rfind(b"") == 0
        assert list(mapping) == list(reversed(mapping)) == []
        assert b"x" not in mapping
        mapping.seek(0, 2)
        mapping.flush()
        for index in (0, -1):
            with pytest.raises(IndexError):
                mapping[index]
        for call in (mapping.read_byte, lambda: mapping.seek(1)):
            with pytest.raises(ValueError):
                call()
    assert mapping.closed
    assert empty.read_bytes() == b""


@pytest.mark.parametrize("access", [mmap.ACCESS_DEFAULT, mmap.ACCESS_WRITE, mmap.ACCESS_COPY])
def test_an_empty_mapping_has_no_room(empty: Path, access: int) -> None:
    with ours(empty, access=access) as mapping:
        assert mapping.write(b"") == 0
        mapping[:] = b""
        mapping.move(0, 0, 0)
        with pytest.raises(ValueError):
            mapping.write(b"x")
        with pytest.raises(ValueError):
            mapping.write_byte(1)
        with pytest.raises(IndexError):
            mapping[:] = b"x"
        with pytest.raises(IndexError):
            mapping[0] = 1
        with pytest.raises(ValueError):
            mapping.move(0, 0, 1)
    assert empty.read_bytes() == b""


def test_an_empty_mapping_grows(empty: Path) -> None:
    with ours(empty) as mapping:
        mapping.resize(2 * PAGE + 1)
        mapping[:3] = b"new"
        assert mapping.size() == len(mapping) == 2 * PAGE + 1
    assert empty.read_bytes() == b"new".ljust(2 * PAGE + 1, b"\0")


# Flush


RANGES = [(5, 10), (1, 1), (PAGE - 1, 2), (PAGE + 3, 0), (3 * PAGE + 8, 1), (1, 3 * PAGE + 8)]


@pytest.mark.parametrize("access", [mmap.ACCESS_DEFAULT, mmap.ACCESS_WRITE])
@pytest.mark.parametrize(("offset", "length"), RANGES)
def test_an_unaligned_range_is_flushed(path: Path, offset: int, length: int, access: int) -> None:
    with standard(path, access=access) as mapping, pytest.raises(OSError):
        mapping.flush(offset, length)
    with ours(path, access=access) as subject:
        subject[offset : offset + length] = bytes(length)
        assert subject.flush(offset, length) is None
        for beyond in (1, PAGE, 2**62):
            with pytest.raises(ValueError):
                subject.flush(offset, len(CONTENT) - offset + beyond)
    assert path.read_bytes() == CONTENT[:offset] + bytes(length) + CONTENT[offset + length :]


@pytest.mark.parametrize("offset", [1, PAGE, 2 * PAGE + 5])
def test_a_flush_without_a_length_goes_to_the_end(path: Path, offset: int) -> None:
    with standard(path) as mapping, pytest.raises(ValueError):
        mapping.flush(offset)
    with ours(path) as subject:
        subject[-1] = 7
        subject.flush(offset)
    assert path.read_bytes() == CONTENT[:-1] + b"\7"


# Resizing a private mapping


@pytest.mark.parametrize("size", [1, 9, PAGE, 2 * PAGE + 1, 3 * PAGE, len(CONTENT), 9 * PAGE + 1])
@pytest.mark.parametrize("options", PRIVATE, ids=["access", "flags"])
def test_a_private_mapping_is_resized(path: Path, options: dict[str, Any], size: int) -> None:
    with standard(path, access=mmap.ACCESS_COPY) as mapping, pytest.raises(TypeError):
        mapping.resize(size)
    with ours(path, **options) as subject:
        subject[:] = expected = CONTENT[::-1]
        subject.resize(size)
        assert len(subject) == size
        assert subject[:] == expected[:size].ljust(size, b"\0")
        subject[-1] = 7
        assert subject[-1] == 7
        subject.resize(size + PAGE)
        assert subject[:size] == expected[: size - 1].ljust(size - 1, b"\0") + b"\7"
        assert path.read_bytes() == CONTENT
    assert path.read_bytes() == CONTENT


def test_a_private_mapping_of_a_file_opened_for_reading_is_resized(path: Path) -> None:
    with open(path, "rb") as file:
        mapping = emmap.MemoryMap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapping.resize(5 * PAGE)
    mapping[4 * PAGE] = 1
    assert mapping[: len(CONTENT)] == CONTENT
    mapping.close()
    assert path.read_bytes() == CONTENT


# Close with exported views


@pytest.mark.parametrize("access", ACCESSES)
def test_close_with_exported_views(path: Path, access: int) -> None:
    mapping = standard(path, access=access)
    view = memoryview(mapping)
    with pytest.raises(BufferError):
        mapping.close()
    view.release()
    mapping.close()

    subject = ours(path, access=access)
    view = memoryview(subject)
    part = view[PAGE : PAGE + 9]
    subject.close()
    assert subject.closed
    subject.close()
    with pytest.raises(ValueError):
        subject[0]
    with pytest.raises(ValueError):
        memoryview(subject)
    assert bytes(view) == CONTENT
    assert bytes(part) == CONTENT[PAGE : PAGE + 9]
    assert is_mapped(path)
    if access != mmap.ACCESS_READ:
        part[0:3] = b"new"
    view.release()
    assert is_mapped(path)
    part.release()
    assert not is_mapped(path)
    reaches_the_file = access in (mmap.ACCESS_DEFAULT, mmap.ACCESS_WRITE)
    assert path.read_bytes()[PAGE : PAGE + 3] == (
        b"new" if reaches_the_file else CONTENT[PAGE : PAGE + 3]
    )


def test_leaving_the_block_with_exported_views(path: Path) -> None:
    with pytest.raises(BufferError), standard(path) as mapping:
        view = memoryview(mapping)
    view.release()
    mapping.close()

    with ours(path) as subject:
        letters = (ctypes.c_char * 9).from_buffer(subject, 5)
    assert subject.closed
    ctypes.memmove(letters, b"late", 4)
    assert path.read_bytes()[5:9] == b"late"
    assert is_mapped(path)
    del letters
    gc.collect()
    assert not is_mapped(path)


def test_resizing_under_views_never_moves_them(path: Path) -> None:
    """The standard refuses it; we resize in place, or refuse it too."""
    with ours(path) as subject:
        view = memoryview(subject)[:9]
        for size in (1, PAGE, 2 * PAGE, 8 * PAGE, len(CONTENT)):
            before = len(subject)
            try:
                subject.resize(size)
            except BufferError:
                assert len(subject) == before
            else:
                assert len(subject) == size
            view[0] = size % 256
            assert subject[0] == size % 256
        view.release()
        subject.resize(9 * PAGE)
        assert len(subject) == 9 * PAGE


# Any offset

OFFSETS = [1, 5, PAGE - 1, PAGE + 1, 2 * PAGE + 250, 3 * PAGE + 8]


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("access", ACCESSES)
def test_any_offset(path: Path, offset: int, access: int) -> None:
    with pytest.raises(OSError):
        standard(path, 1, access=access, offset=offset)
    expected = bytearray(CONTENT[offset:])
    with ours(path, access=access, offset=offset) as whole:
        assert whole[:] == whole.read() == expected
        assert whole.tell() == len(whole) == len(expected)
        assert whole.size() == len(CONTENT)
        assert whole.find(expected[-1:], len(whole) - 1) == len(whole) - 1
        assert bytes(whole) == bytes(memoryview(whole)) == expected
        whole.flush()
        if access != mmap.ACCESS_READ:
            whole[0] = expected[0] = 255
            whole[-1] = expected[-1] = 254
            assert whole[:] == expected
    if access in (mmap.ACCESS_READ, mmap.ACCESS_COPY):
        expected[:] = CONTENT[offset:]
    assert path.read_bytes() == CONTENT[:offset] + expected
    with ours(path, 1, access=access, offset=offset) as part:
        assert part[:] == expected[:1]
        with pytest.raises(IndexError):
            part[1]
    with pytest.raises(ValueError):
        ours(path, len(expected) + 1, access=access, offset=offset)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, 2 * PAGE + 1, 5 * PAGE])
def test_resizing_from_any_offset(path: Path, offset: int, size: int) -> None:
    with ours(path, offset=offset) as mapping:
        mapping.resize(size)
        expected = CONTENT[offset : offset + size].ljust(size, b"\0")
        assert mapping[:] == expected
        assert mapping.size() == offset + size
        mapping[-1] = 7
        mapping.flush()
    assert path.read_bytes() == CONTENT[:offset] + expected[:-1] + b"\7"


def test_the_offset_may_not_lie_beyond_the_end(path: Path) -> None:
    for offset in (len(CONTENT), len(CONTENT) + 1, 2**50 + 3):
        for length in (0, 1):
            with pytest.raises(ValueError):
                ours(path, length, offset=offset)
