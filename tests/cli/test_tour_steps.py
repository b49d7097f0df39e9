"""The steps of the tour, and what they are made of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import emmap
from emmap.cli.tour import (
    anonymous,
    first_byte,
    growth,
    keeping,
    locks,
    measure,
    scan,
    sharing,
    truncation,
    words,
    writes,
)
from emmap.cli.tour.place import COPY_SIZE, OWN_SIZE, TEXT, Place, own_text
from emmap.cli.tour.report import Report, amount, duration

Rows = dict[str, list[str]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file of some words, and a folder."""
    file = tmp_path / "file"
    file.write_bytes(b"some words in a file of their own\n" * 5000)
    folder = tmp_path / "folder"
    folder.mkdir()
    return Place(os.fspath(file), os.fspath(folder))


def rows(report: Report) -> Rows:
    """Return what was measured, by its name."""
    return {name: values for name, *values in report.measured}


def test_first_byte(place: Place) -> None:
    report = first_byte.run(place)
    assert report.calls == f"m = emmap.open({place.file!r})\nm[30]"
    assert rows(report)["byte at offset 30"] == ["'o'"]


def test_words_are_the_same_both_ways(place: Place) -> None:
    report = words.run(place)
    assert rows(report)["words"] == ["40,000", "40,000"]
    by_mmap, by_read = rows(report)["read system calls"]
    assert (by_mmap, by_read) in {("0", "3"), ("not countable here", "not countable here")}


def test_words_of_a_file_larger_than_the_limit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "LIMIT", words.PIECE)
    report = words.run(place)
    expected = len(Path(place.file).read_bytes()[: words.PIECE].split())
    assert rows(report)["words"] == [f"{expected:,}"] * 2
    assert report.header[0] == "in the first 64 KiB"
    assert report.calls.startswith(f"m = emmap.open({place.file!r}, length=65536)\n")


@pytest.mark.parametrize("text", [b"", b" ", b"a", b" a", b"a ", b"ab cd", b"a  bc d\n e", b"abcd"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_count_joins_words_across_pieces(text: bytes, size: int) -> None:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert words.count(pieces) == len(text.split())


def test_scan(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    report = scan.run(place)
    for who in ("on one core", "on 2 cores", "by wc"):
        assert rows(report)[f"words, {who}"][0] == "40,000"
    assert rows(report)["'SIGBUS'"][0] == "not found"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(scan, "WORD", b"own words")
    Path(place.file).write_bytes(b"a\nb\nmy own words\n")
    report = scan.run(place)
    assert "words, by wc" not in rows(report)
    assert rows(report)["'own words'"][0] == "line 3"


def test_scan_of_a_large_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "LIMIT", 34 * 2000)
    monkeypatch.setattr(scan, "LIMIT_OF_WC", 34 * 1000)
    report = scan.run(place)
    assert report.header[0] == "in the first 66.4 KiB"
    assert rows(report)["words, on 2 cores"][0] == "16,000"
    assert rows(report)["words of the first 33.2 KiB, by wc"][0] == "8,000"


def test_writes(place: Place) -> None:
    report = rows(writes.run(place))
    first = repr(b"some words in a file")
    assert report["at first"] == [first, first]
    assert report["private write"] == [repr(b"PRIVATErds in a file"), first]
    assert report["shared write"] == [repr(b"SHAREDords in a file")] * 2


def test_writes_to_a_single_byte(place: Place) -> None:
    Path(place.file).write_bytes(b"x")
    report = rows(writes.run(place))
    assert report["private write"] == ["b'P'", "b'x'"]
    assert report["shared write"] == ["b'S'", "b'S'"]


def test_anonymous(place: Place) -> None:
    report = rows(anonymous.run(place))
    before, mapped, touched = (int(row[0].split()[0].replace(",", "")) for row in report.values())
    assert mapped - before < 1024
    assert 4 <= touched - before < 1024


def test_truncation(place: Place) -> None:
    report = rows(truncation.run(place))
    first = repr(b"some words in a file")
    assert report["at first"] == report["grown, repaired"] == [first]
    assert report["truncated"][0].startswith("PageLostError: ")
    assert place.folder not in report["truncated"][0]
    assert report["the standard mmap"] == ["killed by SIGBUS (in a process of its own)"]


@pytest.mark.parametrize("data", [b"", b"x", b"some words" * 5000])
def test_growth(place: Place, data: bytes) -> None:
    Path(place.file).write_bytes(data)
    size = min(len(data), COPY_SIZE) or len(TEXT)
    report = rows(growth.run(place))
    assert report["length"] == [f"{size:,}", f"{size + growth.MORE:,}"]
    assert report["size of the file"] == report["length"]
    assert report["address"][0] == report["address"][1]
    assert report[f"bytes from {size} on"] == ["there are none", "b'added'"]
    assert Path(place.file).read_bytes() == data


def test_growth_where_the_other_process_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "OTHER", "raise SystemError('no')")
    with pytest.raises(OSError, match="the other process failed: SystemError: no"):
        growth.run(place)


def test_sharing(place: Place) -> None:
    report = rows(sharing.run(place))
    mapped, read = (float(text.split()[0]) for text in report["memory of all together"])
    size = sharing.SIZE >> 20
    assert 0.9 * size < mapped < 1.5 * size
    assert read > 3.5 * size
    assert os.listdir(place.folder) == []


def test_sharing_with_a_process_that_dies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "WORKER", "input(); import os; os._exit(1)")
    with pytest.raises(OSError, match="has died"):
        sharing.run(place)


def test_keeping(place: Place) -> None:
    report = rows(keeping.run(place))
    assert report["turns counted"] == [f"{keeping.PROCESSES * keeping.TURNS:,}"]
    assert report["keys in the dict"] == ["turns"]
    assert os.listdir(place.folder) == []


def test_keeping_with_a_process_that_dies(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "WORKER", "import os; os._exit(1)")
    with pytest.raises(OSError, match="has died"):
        keeping.run(place)


def test_place_copies_the_beginning(place: Place) -> None:
    data = Path(place.file).read_bytes()
    copy = Path(place.copy("copy"))
    assert copy.parent == Path(place.folder)
    assert copy.read_bytes() == data[:COPY_SIZE]
    assert not place.own
    Path(place.file).write_bytes(b"")
    assert Path(place.copy("copy")).read_bytes() == TEXT


def test_own_text(tmp_path: Path) -> None:
    place = Place(own_text(os.fspath(tmp_path)), os.fspath(tmp_path))
    assert place.own
    assert place.literal == "'text.txt'"
    assert OWN_SIZE - len(TEXT) < os.path.getsize(place.file) <= OWN_SIZE
    assert TEXT[30:31] == b"e"


def test_a_name_is_shown_as_python_writes_it(tmp_path: Path) -> None:
    assert Place("caf\u00e9 'x'", os.fspath(tmp_path)).literal == ascii("caf\u00e9 'x'")


def test_meter_counts_reads(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    with open(file, "rb", buffering=0) as source, measure.Meter() as meter:
        for _ in range(10):
            source.read(10)
    assert meter.reads in (10, None)
    assert meter.seconds > 0
    assert meter.minor >= 0
    assert meter.major >= 0


def test_meter_where_reads_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "reads", lambda: None)
    with measure.Meter() as meter:
        pass
    assert meter.reads is None
    assert meter.reads_in_words() == "not countable here"


def test_meter_sees_memory_become_resident() -> None:
    # Mapped, because a bytearray may get memory that was resident before.
    with emmap.anonymous(8 << 20) as memory:
        with measure.Meter() as meter:
            memory.populate(write=True)
        assert measure.most_resident() >= measure.resident() > len(memory)
    assert meter.resident > 7 << 20
    assert meter.minor > 0


def test_resident_on_an_older_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, name: bytes) -> int | None:
        raise FileNotFoundError(path)

    exact = measure.resident()
    monkeypatch.setattr(measure, "field", refuse)
    assert abs(measure.resident() - exact) < 16 << 20
    assert measure.reads() is None


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (4096, "4 KiB"),
        (-4096, "-4 KiB"),
        (16_777_206, "16 MiB"),
        (3 << 29, "1.5 GiB"),
        (5000 << 40, "5,000 TiB"),
    ],
)
def test_amount(size: int, words: str) -> None:
    assert amount(size) == words


def test_duration() -> None:
    assert duration(1.254) == "1.25 s"
    assert duration(0.0125) == "12.5 ms"
    assert duration(0.0000031) == "3.1 us"


def test_the_count_goes_on_when_one_dies(place: Place) -> None:
    report = locks.run(place)
    assert rows(report)["counted"] == ["40,000"]
    assert rows(report)["told of the death"] == ["1 of the living"]
    assert os.listdir(place.folder) == []
