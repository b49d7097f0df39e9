"""Every script of `examples/` runs, in a folder of its own, and says what it should."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

# What each script prints, as a regular expression.
OUTPUT = {
    "atomic_grid_numpy": r"the last of them: 400; in order: True; each one whole\n",
    "count_words": r"(\d+) words in .*count_words\.py\n",
    "counter": r"4 processes counted to 100,000\n",
    "data_loader": (
        r"7840000 bytes of images pickle in under 1000: True\n156 batches of 64, mean 0\.50\n"
    ),
    "dask_count": r"here: {7}(Counts\(lines=5000000, words=30000000, bytes=140000000\))\n"
    r"by cluster: \1\n",
    "double_number": r"wrote   (\d+)\ndoubled \1 to (\d+)\n",
    "error_lines": "".join(
        rf"server\.log:{n}: request {n}: ERROR no answer\n" for n in (70_000, 140_000)
    )
    + r"around the first:\n  request 69999: INFO done\n  request 70000: ERROR no answer\n"
    r"  request 70001: INFO done\n",
    "header_numpy": r"PICT: 64 x 48, mean 31\.5\n",
    "header_struct": r"PICT: 64 x 48\nin the file: 50 49 43 54 40 00 00 00 30 00 00 00\n",
    "named_memory": r"process (\d+) has gone, and left: hello from process \1\n",
    "job_table": r"100 jobs done, sum 328,350\n",
    "linked_list": r"9 -> 1 -> 8 -> 2 -> 5 -> end\nthe tree: 1 2 5 8 9\n",
    "producer": r"3 consumers took 1000 jobs, sum 500,500\n",
    "scratch_copy": (
        r"in the scratch copy: apple fig kiwi pear plum\n"
        r"in the file:         pear fig apple kiwi plum\n"
    ),
    "shared_cache": r"4,000 requests, 20 pages made\n",
    "talk": "".join(rf"{n} squared is {n * n}, says the other process\n" for n in (2, 3, 5, 7)),
    "typed_records": (
        r"a value of type User is expected.*\n"
        r"ada: Ada Lovelace, 1815, London, \{'engines'\}\n"
        r"alan: Alan Turing, 1912, Wilmslow, \{'logic'\}\n"
    ),
    "windows": r"8 words in 256 MiB, with at most \d+ MiB resident\n",
    "zero_memory": (
        r"anonymous: 1048576 bytes, all zero: True\nwritten:   b'hello\\x00\\x00\\x00'\n"
        r"/dev/zero: 1048576 bytes, all zero: True\nwritten:   b'\\x00\\x00\\x00world'\n"
    ),
}


def run(name: str, folder: Path, *arguments: str) -> str:
    """Run an example and return what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_all_are_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(OUTPUT)


@pytest.mark.parametrize("name", sorted(OUTPUT))
def test_example(name: str, tmp_path: Path) -> None:
    if name.endswith("numpy") and importlib.util.find_spec("numpy") is None:
        pytest.skip("needs NumPy")
    if name.startswith("dask"):
        pytest.importorskip("distributed")
    source = (EXAMPLES / f"{name}.py").read_text()
    assert len(source.splitlines()) < 60
    assert f"Run:  python {name}.py" in source
    assert re.fullmatch(OUTPUT[name], run(name, tmp_path))


def test_count_words_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("three short words\n")
    assert run("count_words", tmp_path, "words.txt") == "3 words in words.txt\n"


def test_windows_keep_little_resident(tmp_path: Path) -> None:
    """Four windows would be more than the bound; a Python with emmap alone takes 12 to 20 MiB."""
    output = run("windows", tmp_path)
    assert int(output.split()[-3]) < 64
    assert list(tmp_path.iterdir()) == []


def test_double_number_doubles(tmp_path: Path) -> None:
    wrote = int(run("double_number", tmp_path, "write").split()[1])
    for times in (1, 2):
        output = run("double_number", tmp_path, "double")
        assert output == f"doubled {wrote * times} to {2 * wrote * times}\n"
