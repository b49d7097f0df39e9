"""Files that are no stores, and damaged stores: an exception or data, never a crash or a hang."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import emmap

HERE = Path(__file__).parent
FUZZ = HERE.parents[1] / "fuzz" / "run.py"
HARNESSES = ("random", "libfuzzer") if shutil.which("clang") else ("random",)  # the best one last

# Where things lie: src/emmap/store/format.h.
PAGE, META, LIVE, SPACE, PINS, BLOCKS = 4096, 4096, 64 << 10, 68 << 10, 128 << 10, 256 << 10
INTERESTING = sorted(
    {
        edge + more
        for edge in (0, 128, META, 2 * META, LIVE, SPACE, SPACE + 8192, PINS, BLOCKS, BLOCKS + PAGE)
        for more in (-PAGE, -1, 0, 1, 8, 16, 64, PAGE)
        if edge + more >= 0
    }
)


def run(*command: str | Path, timeout: float = 600) -> str:
    """Runs a program that must end well, and gives what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def fuzz(kind: str, folder: Path, *limit: str) -> None:
    if kind == "random" and not (shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")):
        pytest.skip("no C compiler is installed")
    printed = run(FUZZ, kind, "--folder", folder, *limit)
    done = re.search(r"(\d+) inputs|Done (\d+) runs", printed)
    assert done, printed[-2000:]
    print(done[0])
    assert int(done[1] or done[2]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", HARNESSES[-1:])
def test_core_with_damaged_stores_for_a_minute(kind: str, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, "--seconds", "60")


def damage_stores(rounds: int) -> None:
    counts = json.loads(run(HERE / "hostile.py", str(rounds)).splitlines()[-1])
    print(counts)
    # Most damage leaves much to be read, and some is found.
    assert counts["opened"] > rounds / 4
    assert counts["done"] > 10 * rounds
    assert counts["CorruptFileError"] > rounds / 10


def test_damaged_stores() -> None:
    damage_stores(100)


@pytest.mark.slow
def test_damaged_stores_for_a_minute() -> None:
    damage_stores(600)


# Stores of the wrong length


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with something of each kind."""
    path = tmp_path / "store"
    with emmap.Store(path, "x") as store:
        fill(store)
    return path


def fill(store: emmap.Store) -> None:
    store.dict("words").update({f"key {i}": "x" * i for i in range(200)})
    store.list("all").extend(range(1000))
    store.array("grid", shape=(100,), dtype="f8")


def read(store: emmap.Store) -> None:
    assert store.dict("words") == {f"key {i}": "x" * i for i in range(200)}
    assert store.list("all") == list(range(1000))
    assert store.array("grid").shape == (100,)


REFUSED = (emmap.CorruptFileError, emmap.PageLostError)


def cut_short(image: bytes) -> list[int]:
    """Interesting lengths, all shorter than the image."""
    return [n for n in [*INTERESTING, len(image) // 2, len(image) - 1] if 0 < n < len(image)]


@pytest.mark.parametrize("place", ["in place", "copied"])
def test_cut_short(place: str, path: Path, tmp_path: Path) -> None:
    """Refused, but where nothing that counts has gone. It is at no earlier flush, either."""
    image = path.read_bytes()
    for n in cut_short(image):
        for mode in ("r", "r+", "a"):
            if place == "copied":
                path = tmp_path / f"{n} {mode}"
            path.write_bytes(image[:n])
            with (
                pytest.raises(REFUSED, match=re.escape(str(path)))
                if n <= BLOCKS
                else contextlib.suppress(*REFUSED),
                emmap.Store(path, mode) as store,
            ):
                read(store)
            if place == "copied":
                path.unlink()


@pytest.mark.parametrize("n", INTERESTING)
def test_cut_short_while_open(n: int, path: Path) -> None:
    """Pages are lost: everything raises, nothing crashes, and others may close it all the same."""
    store = emmap.Store(path)
    words, everything = store.dict("words"), store.list("all")
    os.truncate(path, n)
    told = 0
    for action in (
        lambda: read(store),
        lambda: words.__setitem__("new", 1),
        lambda: everything.append(1),
        store.check,
        store.flush,
        store.snapshot,
        store.close,
    ):
        try:
            action()
        except (*REFUSED, OSError):
            told += 1
    assert told or n > BLOCKS


def test_grown(path: Path) -> None:
    """What is behind the end of a store is nobody's."""
    for more in (1, 15, PAGE, 1 << 20):
        with path.open("ab") as file:
            file.write(b"\xff" * more)
        with emmap.Store(path) as store:
            read(store)
            store.dict("words")["new"] = more
            store.check()
            del store.dict("words")["new"]


# What is no store


def text(path: Path) -> None:
    path.write_text("not a store\n" * 100_000)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))


def one_byte(path: Path) -> None:
    path.write_bytes(b"\n")


def only_the_header(path: Path) -> None:
    emmap.Store(path, "x").close()
    path.write_bytes(path.read_bytes()[:128])


def database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(1 << 20))


def ones(path: Path) -> None:
    path.write_bytes(b"\xff" * (1 << 20))


def patched(at: int, bytes_: bytes) -> Callable[[Path], None]:
    """A store with other bytes in its header."""

    def make(path: Path) -> None:
        emmap.Store(path, "x").close()
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes_)

    return make


NO_STORES: dict[str, tuple[Callable[[Path], None], str]] = {
    "text": (text, "something else"),
    "zeros": (zeros, "something else"),
    "one byte": (one_byte, "too short"),
    "header only": (only_the_header, "too short"),
    "database": (database, "something else"),
    "ones": (ones, "something else"),
    "version": (patched(8, b"\x63"), "version"),
    "byte order": (patched(12, b"\x01\x02\x03\x04"), "byte order"),
    "magic": (patched(0, b"\x0b"), "something else"),
    "hash key": (patched(16, b"12345678"), "damaged"),
}


@pytest.mark.parametrize("name", NO_STORES)
@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_no_store(name: str, mode: str, tmp_path: Path) -> None:
    make, words = NO_STORES[name]
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes()
    with pytest.raises(emmap.CorruptFileError, match=words) as raised:
        emmap.Store(path, mode)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", NO_STORES)
def test_no_store_is_replaced_when_asked_for(name: str, tmp_path: Path) -> None:
    NO_STORES[name][0](tmp_path / "file")
    with emmap.Store(tmp_path / "file", "w") as store:
        fill(store)
        read(store)
        store.check()


def test_empty_file(tmp_path: Path) -> None:
    """It is no store yet, and only "w" makes it one."""
    path = tmp_path / "file"
    path.touch()
    for mode in ("r", "r+", "a"):
        with pytest.raises(emmap.CorruptFileError, match="empty"):
            emmap.Store(path, mode)
    with pytest.raises(FileExistsError):
        emmap.Store(path, "x")
    assert path.stat().st_size == 0
    emmap.Store(path, "w").close()
    emmap.Store(path, "r").close()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


SPECIAL: dict[str, Callable[[Path], None]] = {
    "FIFO": fifo,
    "directory": Path.mkdir,
    "socket": unix_socket,
    "null device": lambda path: path.symlink_to("/dev/null"),
    "zero device": lambda path: path.symlink_to("/dev/zero"),
    "proc": lambda path: path.symlink_to("/proc/self/status"),
    "loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("mode", ["r", "r+", "a", "w", "x"])
def test_no_regular_file(name: str, mode: str, tmp_path: Path) -> None:
    """It is refused at once: nobody waits at the other end of a FIFO."""
    path = tmp_path / "file"
    SPECIAL[name](path)
    old = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(20)
    try:
        with pytest.raises((OSError, ValueError)):
            emmap.Store(path, mode)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def test_symbolic_links(path: Path, tmp_path: Path) -> None:
    """A link leads to its store, in whichever mode; one that leads nowhere makes none elsewhere."""
    link = tmp_path / "link"
    link.symlink_to(path)
    for mode in ("r", "r+", "a"):
        with emmap.Store(link, mode) as store:
            read(store)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for mode in ("r", "r+", "a", "w"):
        with pytest.raises(FileNotFoundError):
            emmap.Store(dangling, mode)
    with pytest.raises(FileExistsError):
        emmap.Store(dangling, "x")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", ["name", "name.tmp", ".name", "~name"])
def test_planted_links_are_not_followed(place: str, tmp_path: Path) -> None:
    """What others have planted beside a new store stays as it was."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    if place != "name":
        (tmp_path / place).symlink_to(victim)
    emmap.Store(tmp_path / "name", "x").close()
    emmap.Store(tmp_path / "name", "w").close()
    assert victim.read_text() == "mine"
