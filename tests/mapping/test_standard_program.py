"""Programs written for the standard `mmap` run unchanged with `emmap.MemoryMap` in its place."""

import mmap
import random
import subprocess
import sys
from pathlib import Path

import pytest

import emmap

PROGRAM = Path(__file__).with_name("standard_program.py")
IN_ITS_PLACE = (
    "import emmap, mmap, runpy, sys; mmap.mmap = emmap.MemoryMap; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def write_log(path: Path) -> None:
    chance = random.Random(7)
    visitors = [f"visitor-{number}.org"[-16:] for number in range(60)]
    with open(path, "w") as file:
        for number in range(3000):
            visitor = visitors[int(chance.triangular(0, 59, 5))]
            status = chance.choice([200, 200, 200, 304, 404])
            file.write(f"{visitor} GET /page/{number} {status} {chance.randrange(9000)}\n")


def run(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_same_output_and_the_same_files(tmp_path: Path) -> None:
    log, standard, ours = tmp_path / "log", tmp_path / "standard", tmp_path / "ours"
    write_log(log)
    content = log.read_bytes()
    expected = run(PROGRAM, log, standard)
    assert "the log may not be written\n" in expected
    assert run("-c", IN_ITS_PLACE, PROGRAM, log, ours) == expected
    assert ours.read_bytes() == standard.read_bytes()
    assert len(ours.read_bytes()) > 1000
    assert log.read_bytes() == content


def test_numpy_memmap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = pytest.importorskip("numpy")
    monkeypatch.setattr(mmap, "mmap", emmap.MemoryMap)
    path = tmp_path / "array.bin"
    array = numpy.memmap(path, dtype="<i4", mode="w+", shape=(100, 50))
    assert isinstance(array._mmap, emmap.MemoryMap)
    array[:] = numpy.arange(5000).reshape(100, 50)
    array.flush()
    scratch = numpy.memmap(path, dtype="<i4", mode="c", offset=4 * 50, shape=(50,))
    scratch[:] = 0
    assert numpy.array_equal(numpy.fromfile(path, "<i4"), numpy.arange(5000))
    reading = numpy.memmap(path, dtype="<i4", mode="r", offset=4 * 1025)
    assert reading.sum() == sum(range(1025, 5000))
    with pytest.raises(ValueError, match="read-only"):
        reading[0] = 1
