"""`count` and `count_each`: right for every text, window, worker and kind of target."""

from __future__ import annotations

import os
import pickle
import shutil
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap.text import counting, kernels
from text.samples import TEXTS, counts, generated, gnu

ALL = tuple(counting.COUNTS)
EXPECTED = {name: counts(text) for name, text in TEXTS.items()}


def found(counts: emmap.Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in ALL}


@pytest.mark.parametrize("name", TEXTS)
def test_windows(name: str, path: Path, window: int) -> None:
    text, expected = TEXTS[name], EXPECTED[name]
    if len(text) // window > 3000:  # it would take long, and show no more
        text = text[: 1000 * window]
        expected = counts(text)
    path.write_bytes(text)
    for target in (path, text):
        assert found(emmap.count(target, what=ALL)) == expected


def test_workers(path: Path, workers: int | Executor | None, small_windows: int) -> None:
    path.write_bytes(TEXTS["more"])
    with emmap.open(path) as m:
        for target in (path, str(path), m):
            assert found(emmap.count(target, what=ALL, workers=workers)) == EXPECTED["more"]


@pytest.mark.parametrize("instruction_set", kernels.instruction_sets())
def test_instruction_sets(instruction_set: str, path: Path, small_windows: int) -> None:
    path.write_bytes(TEXTS["more"])
    before = kernels.use_instruction_set(instruction_set)
    try:
        assert found(emmap.count(path, what=ALL, workers=2)) == EXPECTED["more"]
    finally:
        kernels.use_instruction_set(before)


def test_as_wc_does(path: Path, small_windows: int) -> None:
    if b"GNU coreutils) 9.1\n" not in gnu("wc", "--version") or not shutil.which("wc"):
        pytest.skip("wc is not that of coreutils 9.1")
    for seed in range(3, 8):
        path.write_bytes(generated(seed, 10_000))
        printed = gnu("wc", "-l", "-w", "-c", "-L", path).split()[:4]
        characters = gnu("wc", "-m", path, locale="C.UTF-8").split()[0]
        counted = emmap.count(path, what=ALL, workers=2)
        assert counted.characters == int(characters)
        names = ("lines", "words", "bytes", "longest_line")
        assert [getattr(counted, name) for name in names] == [int(n) for n in printed]


def test_kinds_of_targets(path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    text = TEXTS["generated"] + bytes(-len(TEXTS["generated"]) % 4)
    path.write_bytes(text)
    expected = emmap.count(text)
    with emmap.open(path) as m:
        square = m.array("u1", (len(m) // 4, 4))
        kinds: list[Any] = [
            m,
            memoryview(m),
            square,
            bytearray(text),
            numpy.frombuffer(text, "<i4"),
        ]
        for target in kinds:
            assert emmap.count(target) == expected
        assert emmap.count(memoryview(m)[5:100]) == emmap.count(text[5:100])
        with pytest.raises(ValueError, match="side by side"):
            emmap.count(square[:, 1])  # type: ignore[arg-type]
        del square, kinds, target
    assert emmap.count(numpy.empty((0, 3))).bytes == 0
    for wrong in (5, None, ["a"], path.open):
        with pytest.raises(TypeError, match="path, a MemoryMap"):
            emmap.count(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="closed"):
        emmap.count(m)


def test_what() -> None:
    text = b"one two\nthree"
    assert repr(emmap.count(text)) == "Counts(lines=1, words=3, bytes=13)"
    assert repr(emmap.count(text, what="longest_line")) == "Counts(bytes=13, longest_line=7)"
    assert repr(emmap.count(text, what=())) == "Counts(bytes=13)"
    with pytest.raises(ValueError, match=r"one of lines, words.*not 'letters'"):
        emmap.count(text, what="letters")
    with pytest.raises(ValueError, match="letters"):
        emmap.count_each([], what=["lines", "letters"])


def test_counts() -> None:
    text, other = b"one two\nthree", b"a longer line\n"
    one, two = emmap.count(text, what=ALL), emmap.count(other, what=ALL)
    assert found(one + two) == {
        "lines": 2,
        "words": 6,
        "characters": 27,
        "bytes": 27,
        "longest_line": 13,
    }
    assert sum([one, two, one]) == one + two + one
    assert one == emmap.count(text, what=ALL)
    assert hash(one) == hash(emmap.count(text, what=ALL))
    assert one not in (two, 0, emmap.count(text))
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError, match=r"characters was not counted: .*what='characters'"):
        _ = emmap.count(text).characters
    with pytest.raises(AttributeError, match="no attribute 'letters'"):
        _ = one.letters
    with pytest.raises(AttributeError):
        one.lines = 5
    with pytest.raises(AttributeError):
        del one.lines
    with pytest.raises(ValueError, match="no total"):
        _ = one + emmap.count(text)
    with pytest.raises(TypeError):
        _ = one + 5  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = 5 + one


def test_progress(path: Path, workers: int | Executor | None, small_windows: int) -> None:
    path.write_bytes(TEXTS["more"])
    done: list[int] = []
    emmap.count(path, workers=workers, progress=done.append)
    size = len(TEXTS["more"])
    assert done == [*range(4096, size, 4096), size]


# Many files


def test_each(tmp_path: Path, workers: int | Executor | None, small_windows: int) -> None:
    paths = []
    for i in range(100):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(generated(i, 7000 if i % 20 == 7 else i))
    expected = [emmap.count(path.read_bytes(), what=ALL) for path in paths]
    done: list[int] = []
    each = emmap.count_each(iter(paths), what=ALL, workers=workers, progress=done.append)
    assert list(each) == expected
    assert done == sorted(done)
    assert done[-1] == sum(counts.bytes for counts in expected)
    assert list(emmap.count_each([], workers=workers)) == []


def test_each_raises_in_its_turn(tmp_path: Path, workers: int | Executor | None) -> None:
    paths = [tmp_path / str(i) for i in range(5)]
    for path in paths:
        path.write_bytes(b"one\n")
    paths[3].unlink()
    each = emmap.count_each(paths, workers=workers)
    assert [next(each).lines for _ in range(3)] == [1, 1, 1]
    with pytest.raises(FileNotFoundError, match=str(paths[3])):
        next(each)
    assert list(each) == []


# Files that change, and what is no file


@pytest.mark.parametrize("kind", ["path", "mapping", "view", "processes"])
def test_truncated(
    kind: str, path: Path, small_windows: int, request: pytest.FixtureRequest
) -> None:
    path.write_bytes(b"one\n" * 10_000)
    workers = request.getfixturevalue("processes") if kind == "processes" else None
    with emmap.open(path) as m, memoryview(m) as view:
        target: Any = {"mapping": m, "view": view}.get(kind, path)

        def truncate(done: int) -> None:
            os.truncate(path, 8192)

        with pytest.raises(emmap.PageLostError) as caught:
            emmap.count(target, workers=workers, progress=truncate)
        assert caught.value.offset >= 8192
        assert caught.value.filename == str(path)


def test_truncated_inside_a_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one\n" * 50_000)
    real = kernels.count

    def truncate_and_count(*arguments: Any) -> kernels.Tally:
        os.truncate(path, 196_700)  # what follows in its page reads as zeros, without a signal
        return real(*arguments)

    monkeypatch.setattr(kernels, "count", truncate_and_count)
    with pytest.raises(emmap.PageLostError) as caught:
        emmap.count(path)
    assert caught.value.offset == 196_700


def test_grows(path: Path, small_windows: int) -> None:
    path.write_bytes(b"one\n" * 10_000)

    def grow(done: int) -> None:
        with path.open("ab") as file:
            file.write(b"more\n")

    assert emmap.count(path, progress=grow).lines == 10_000
    assert emmap.count(path).lines > 10_000


def test_removed(path: Path, small_windows: int) -> None:
    path.write_bytes(b"one\n" * 10_000)
    assert emmap.count(path, progress=lambda _: path.unlink(missing_ok=True)).lines == 10_000


def test_replaced(path: Path, small_windows: int, processes: ProcessPoolExecutor) -> None:
    def replace(done: int) -> None:
        path.with_name("other").write_bytes(b"two\n" * 100_000)
        path.with_name("other").rename(path)

    path.write_bytes(b"one\n" * 100_000)
    with emmap.open(path) as m:
        with pytest.raises(OSError, match="another file has taken the name"):
            emmap.count(path, workers=processes, progress=replace)
        with pytest.raises(OSError, match="another file has taken"):
            emmap.count(m, workers=processes)
        assert emmap.count(m).lines == 100_000


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        emmap.count(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        emmap.count(tmp_path)
    with pytest.raises(FileNotFoundError):
        emmap.count(tmp_path / "none")
    with pytest.raises(OSError, match="how long"):
        emmap.count("/proc/self/status")
    with pytest.raises(OSError, match="how long"):
        emmap.count("/dev/zero")
    assert emmap.count("/dev/null").bytes == 0


# What other processes can be given


def test_shared_memory_in_processes(processes: ProcessPoolExecutor, small_windows: int) -> None:
    with emmap.anonymous(len(TEXTS["more"]), shared=True) as m:
        m[:] = TEXTS["more"]
        assert found(emmap.count(m, what=ALL, workers=processes)) == EXPECTED["more"]


def test_refused_by_processes(path: Path, processes: ProcessPoolExecutor) -> None:
    path.write_bytes(b"one\n")
    with emmap.open(path, "c") as copy, emmap.anonymous(5) as private:
        copy[0] = 10
        with pytest.raises(TypeError, match="private memory"):
            emmap.count(copy, workers=processes)
        with pytest.raises(TypeError, match="private memory"):
            emmap.count(private, workers=processes)
        with pytest.raises(TypeError, match="cannot scan an object of bytes"):
            emmap.count(b"one\n", workers=processes)
        assert emmap.count(copy, workers=2).lines == 2
    assert emmap.count(path, workers=processes).lines == 1  # and they live on


@pytest.mark.slow
def test_five_gibibytes(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"one two\n")
        file.seek(5 << 30)
        file.write(b"three\nfour")
    counted = emmap.count(path, what=ALL, workers=2)
    assert found(counted) == {
        "lines": 2,
        "words": 4,
        "characters": (5 << 30) + 10,
        "bytes": (5 << 30) + 10,
        "longest_line": 7,
    }
