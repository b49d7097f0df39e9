"""The file of a store: who may have it, what is refused, full disks, truncation, growth, copies."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap.mapping.filesystem import NETWORK
from emmap.mapping.statfs import file_system
from locks.company import Worker
from mapping.peer import Peer
from mapping.small_disk import run_on_small_disk
from store.company import in_child, run

MB = 1 << 20
NOBODY = 65534


# What is refused


def test_errors_are_for_people(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "store"
    with pytest.raises(FileNotFoundError, match="no/store"):
        emmap.Store(missing)
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        emmap.Store(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for special in (tmp_path / "fifo", "/dev/null", "/dev/zero"):
        for mode in ("r", "r+", "a", "w"):
            with pytest.raises(OSError, match=Path(special).name):
                emmap.Store(special, mode)
    with pytest.raises(OSError, match="store"):
        emmap.Store("/proc/version/store")
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    kinds: list[Any] = [5, b"\0", 1.5, [], object(), True]
    for wrong in kinds:
        with pytest.raises((TypeError, ValueError)):
            emmap.Store(wrong)
    assert os.listdir(tmp_path) == ["fifo"]


CONTENTS = {
    "text": b"hello world\n" * 10_000,
    "short text": b"hello",
    "zeros": bytes(MB),
    "random": random.Random(1).randbytes(MB),
    "ones": b"\xff" * MB,
    "magic only": b"\nEMMAP\x1a\n",
    "magic and zeros": b"\nEMMAP\x1a\n" + bytes(MB),
    "magic and random": b"\nEMMAP\x1a\n" + random.Random(2).randbytes(MB),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_what_is_no_store_is_left_alone(path: Path, content: str, mode: str) -> None:
    path.write_bytes(CONTENTS[content])
    with pytest.raises(emmap.CorruptFileError, match="store") as told:
        emmap.Store(path, mode)
    assert told.value.filename == str(path)
    assert path.read_bytes() == CONTENTS[content]


def test_an_empty_file(path: Path) -> None:
    path.touch()
    with pytest.raises(emmap.CorruptFileError, match="mode 'w'"):
        emmap.Store(path)
    assert path.stat().st_size == 0
    with emmap.Store(path, "w") as store:
        store.check()


def test_another_version_or_byte_order_is_named(path: Path) -> None:
    emmap.Store(path).close()
    whole = path.read_bytes()
    for at, value in ((8, 2), (8, 0), (12, 0x04030201), (16, 99), (33, 5)):
        path.write_bytes(whole[:at] + value.to_bytes(4, "little") + whole[at + 4 :])
        with pytest.raises((emmap.CorruptFileError, OSError), match=r"version|byte order|store"):
            emmap.Store(path)


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], Any]) -> Any:
    """What the function returns or raises for one who has no rights."""

    def plain() -> Any:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return in_child(plain)


def test_what_one_may_not_read(public: Path) -> None:
    path = public / "store"
    emmap.Store(path).close()
    if os.getuid() != 0:
        path.chmod(0)
    for mode in ("r", "r+", "a", "w"):
        error = as_nobody(lambda mode=mode: emmap.Store(path, mode))  # type: ignore[misc]
        assert isinstance(error, PermissionError), mode
        assert str(path) in str(error)
    error = as_nobody(lambda: emmap.Store(public / "new"))
    if os.getuid() == 0:
        assert isinstance(error, PermissionError)
        assert os.listdir(public) == ["store"]


def test_what_one_may_only_read(public: Path) -> None:
    """A reader writes down what he looks at: he must be allowed to, and is told so."""
    path = public / "store"
    with emmap.Store(path) as store:
        store.dict("d")["a"] = 1
    path.chmod(0o444)
    for mode in ("r+", "a", "w"):
        error = as_nobody(lambda mode=mode: emmap.Store(path, mode))  # type: ignore[misc]
        assert isinstance(error, PermissionError), mode
    error = as_nobody(lambda: emmap.Store(path, "r"))
    assert isinstance(error, PermissionError)
    assert "right to write" in str(error)


def test_network_filesystems_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    kind = file_system(descriptor, None)[1]
    os.close(descriptor)
    emmap.Store(path).close()
    monkeypatch.setitem(NETWORK, kind, "a test network")
    for mode in ("r", "r+", "a", "w"):
        with pytest.raises(OSError, match="a test network"):
            emmap.Store(path, mode)
    for mode in ("a", "w", "x"):
        with pytest.raises(OSError, match="a test network"):
            emmap.Store(path.with_name("new"), mode)
    assert os.listdir(path.parent) == ["store"]


# Links


def test_symbolic_links(path: Path, tmp_path: Path) -> None:
    with emmap.Store(path) as store:
        store.dict("d")["a"] = 1
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to("store")
    dangling.symlink_to("nothing")
    with emmap.Store(link) as store:
        assert store.dict("d") == {"a": 1}
    with pytest.raises(FileExistsError):
        emmap.Store(link, "x")
    with pytest.raises(FileExistsError):
        emmap.Store(dangling, "x")
    with pytest.raises(FileNotFoundError):
        emmap.Store(dangling, "r")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        emmap.Store(dangling, "a")
    assert not (tmp_path / "nothing").exists()
    assert path.stat().st_size > 0


def test_moved_and_removed_while_open(store: emmap.Store, path: Path) -> None:
    d = store.dict("d")
    d["a"] = 1
    path.rename(path.with_name("moved"))
    d["b"] = 2
    with emmap.Store(path) as other, emmap.Store(path.with_name("moved")) as same:
        assert other.names() == []
        assert same.dict("d") == {"a": 1, "b": 2}
        path.unlink()
        path.with_name("moved").unlink()
        other.dict("e")["a"] = d["a"] = 3
        d["large"] = bytes(MB)
        assert same.dict("d")["large"] == bytes(MB)
        store.flush()


# Full disks: complaints of users of other packages


def test_a_full_disk_is_an_error_and_no_crash(tmp_path: Path) -> None:
    script = """
import sys
sys.path.insert(0, sys.argv[1])
import emmap, errno, os
store = emmap.Store("store")
d, items = store.dict("d"), store.list("l")
with open("ballast", "wb") as ballast:
    ballast.write(bytes(1 << 20))
for size in (100, 5000, 200_000):
    n = 0
    try:
        while True:
            d[size, n] = bytes([size & 255]) * size
            items.append(n)
            n += 1
    except OSError as error:
        assert error.errno == errno.ENOSPC and "store" in str(error), error
    assert all(d[size, i] == bytes([size & 255]) * size for i in range(n))
    assert list(items) == list(range(len(items)))
    store.check()
os.unlink("ballast")  # to delete takes some space, too
for key in list(d)[::2]:
    del d[key]
items.clear()
store.flush()
store.check()
before = len(d)
for n in range(100):
    d["new", n] = bytes(5000)
assert len(d) == before + 100
with open("rest", "wb", buffering=0) as rest:
    try:
        while True:
            rest.write(bytes(4096))
    except OSError:
        pass
for n in range(100):
    d["new", n] = bytes([n]) * 5000
store.close()
with emmap.Store("store") as store:
    assert store.dict("d")["new", 99] == bytes([99]) * 5000
    store.check()
try:
    emmap.Store("another")
except OSError as error:
    assert error.errno == errno.ENOSPC and "another" in str(error), error
assert sorted(os.listdir(".")) in (["rest", "store"], ["lost+found", "rest", "store"])
print("done")
"""
    for number, filesystem in enumerate(("tmpfs", "ext4")):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run_on_small_disk(script, folder, "16M", filesystem) == "done\n"


# Truncation


@pytest.mark.parametrize("size", [0, 5000, 70 << 10, 200 << 10, 300 << 10, 1 << 20])
def test_truncated_by_somebody(path: Path, size: int) -> None:
    """Every call works or says that pages are lost; and what is left is closed."""
    script = """
        import emmap, os, sys
        path, size = sys.argv[1], int(sys.argv[2])
        store = emmap.Store(path)
        d, items = store.dict("d"), store.list("l")
        d.update({i: bytes([i & 255]) * 1000 for i in range(2000)})
        items.extend("y" * 50 for i in range(2000))
        store.lock("guard")
        snapshot = store.snapshot()
        snapshot.__enter__()
        view = snapshot.dict("d").view(1999)
        iterator = iter(d.items())
        next(iterator)
        os.truncate(path, size)
        lost = 0
        for call in (
            *[lambda i=i: d[i] == bytes([i & 255]) * 1000 or 1 / 0 for i in range(2000)],
            lambda: list(iterator), lambda: list(items), lambda: d.update(a=1),
            lambda: items.append(5), lambda: store.dict("new"), lambda: d.pop(5),
            lambda: store.check(), lambda: store.flush(), lambda: store.names(),
            lambda: store.statistics(), lambda: store.transaction().__enter__(),
            lambda: store.lock("guard").acquire(), lambda: bytes(view), lambda: store.snapshot(),
            lambda: snapshot.dict("d")[3], lambda: emmap.Store(path).dict("d").copy(),
            lambda: d.clear(), lambda: store.close(),
        ):
            try:
                call()
            except emmap.PageLostError as error:
                assert error.filename == path, error
                lost += 1
            except (emmap.CorruptFileError, emmap.ClosedError):
                lost += 1
        try:
            store.close()
        except emmap.PageLostError:
            pass
        print(lost > 0)
    """
    assert run(script, path, size) == "True\n"


def test_a_store_that_was_cut_is_refused(path: Path) -> None:
    with emmap.Store(path) as store:
        store.dict("d").update({i: bytes(1000) for i in range(1000)})
    whole = path.stat().st_size
    for size in (0, 1, 100, 4096, 64 << 10, 128 << 10, 256 << 10, 300 << 10, whole - 1):
        copied = path.with_name("copied")
        shutil.copy(path, copied)
        os.truncate(copied, size)
        try:
            with emmap.Store(copied, "r+") as store:
                assert len(store.dict("d").copy()) == 1000
                store.check()
            assert size > 500_000
        except (emmap.CorruptFileError, emmap.PageLostError) as error:
            told = str(error)
            assert "copied" in told
        copied.unlink()


# Growth


def test_outgrowing_what_was_reserved(path: Path, peer: Peer) -> None:
    store = emmap.Store(path, reserve=MB)
    d = store.dict("d")
    d["first"] = b"f" * 10_000
    peer("import emmap; store = emmap.Store(path, reserve=1 << 20); d = store.dict('d')")
    snapshot = store.snapshot()
    snapshot.__enter__()
    view = snapshot.dict("d").view("first")
    iterator = iter(d)
    lock = store.lock("guard")
    assert store.statistics().room < 2 * MB
    with lock:
        for n in range(40):
            d[n] = bytes([n]) * MB
            assert view == b"f" * 10_000
    assert list(iterator) == ["first"]
    assert store.statistics().room >= store.statistics().size > 40 * MB
    assert peer("all(d[n] == bytes([n]) * (1 << 20) for n in range(40))")
    peer("d['large'] = bytes(100 << 20)")
    assert len(d["large"]) == 100 * MB
    assert view == b"f" * 10_000
    assert snapshot.dict("d") == {"first": b"f" * 10_000}
    snapshot.__exit__(None, None, None)
    with store.transaction():
        for n in range(20):
            d["more", n] = bytes(10 * MB)
        assert len(d["more", 19]) == 10 * MB
    assert len(d) == 62
    assert view == b"f" * 10_000
    assert not lock.locked()
    store.close()
    assert view == b"f" * 10_000


def test_many_threads_while_it_grows(path: Path) -> None:
    with emmap.Store(path, reserve=MB) as store:
        d = store.dict("d")
        d["first"] = b"f" * 5000
        stop: list[int] = []

        def read() -> None:
            while not stop:
                assert d["first"] == b"f" * 5000
                for value in d.values():
                    assert len(set(value)) == 1

        readers = [Worker(read) for _ in range(3)]
        for n in range(60):
            d[n % 7] = bytes([n]) * (n * 10_000 + 1)
        stop.append(1)
        assert [reader.end() for reader in readers] == [None] * 3


def test_little_address_space(path: Path) -> None:
    script = """
        import emmap, resource, sys
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        with emmap.Store(sys.argv[1]) as store:
            store.dict("d").update({i: bytes(1000) for i in range(10_000)})
            print(len(store.dict("d")))
    """
    assert run(script, path) == "10000\n"


# Copies


def test_a_copy_has_what_was_flushed(
    store: emmap.Store, path: Path, d: emmap.Dict[Any, Any]
) -> None:
    """Not more: what came after the last flush may be there in part."""
    items = store.list("l")
    d.update(dict.fromkeys(range(1000), "flushed"))
    items.extend(range(1000))
    store.flush()
    with store.transaction():
        d.update(dict.fromkeys(range(0, 2000, 3), "later"))
        items.reverse()
    for n in range(2000):
        d["n"] = n
    copied = path.with_name("copied")
    shutil.copy(path, copied)
    with emmap.Store(copied) as other:
        assert other.dict("d") == dict.fromkeys(range(1000), "flushed")
        assert other.list("l") == list(range(1000))
        other.check()
        other.dict("d").clear()
        other.check()
        with pytest.raises(KeyError):
            other.dict("d")["n"]
    assert d["n"] == 1999
    assert items[0] == 999
    copied.unlink()
    store.close()
    shutil.copy(path, copied)
    with emmap.Store(copied, "r+") as other:
        assert other.dict("d")["n"] == 1999
        assert other.list("l")[0] == 999


def test_a_copy_for_readers_only(store: emmap.Store, path: Path, d: emmap.Dict[Any, Any]) -> None:
    d["a"] = 1
    store.flush()
    d["a"] = 2
    copied = path.with_name("copied")
    shutil.copy(path, copied)
    try:
        with emmap.Store(copied, "r") as other:
            assert other.dict("d") == {"a": 1}
    except OSError as error:
        told = error.errno, str(error)
        assert told[0] in (errno.EROFS, errno.EACCES, errno.EPERM)
        assert "recover" in told[1]


# Many processes


def test_a_hundred_processes_in_turn(store: emmap.Store, d: emmap.Dict[Any, Any]) -> None:
    size = 0
    for n in range(100):
        assert in_child(lambda: work(store.path)) == n + 1
        if n == 20:
            size = store.statistics().size
    assert store.statistics().size <= size + (256 << 10)
    assert d["n"] == 100
    assert store.statistics().readers == 0


def work(path: Any) -> int:
    with emmap.Store(path) as store:
        n = store.dict("d").add("n")
        if n % 3:
            store.dict("d")[n] = "x" * n
        return int(n)


def test_one_is_made_by_many_at_once(tmp_path: Path) -> None:
    peers = [Peer() for _ in range(4)]
    try:
        for round in range(10):
            path = tmp_path / str(round)
            for peer in peers:
                peer(f"path = {str(path)!r}; import emmap")
            for peer in peers:
                peer.begin("store = emmap.Store(path)")
            for peer in peers:
                peer.end()
            for peer in peers:
                peer.begin("store.dict('d').add('n')")
            assert sorted(peer.end() for peer in peers) == [1, 2, 3, 4]
            for peer in peers:
                peer("store.close()")
        for peer in peers:
            peer(f"path = {str(tmp_path / 'x')!r}")
            peer.begin("store = emmap.Store(path, 'x')")
        made = 0
        for peer in peers:
            with contextlib.suppress(FileExistsError):
                peer.end()
                made += 1
        assert made == 1
    finally:
        for peer in peers:
            peer.kill()
