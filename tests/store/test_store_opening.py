"""How the file of a store is found, made and replaced, while others do the same."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import emmap
from emmap.store import opening, turn
from emmap.store.newfile import NewFile
from emmap.store.opening import open_file
from emmap.store.turn import Turn
from mapping.peer import Peer

IMPORT = "from emmap.store import newfile, opening; from emmap.store.opening import open_file"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "store")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        peer(IMPORT)
        yield peer


@pytest.fixture(params=["unnamed", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """New files are made without a name, or with one where the filesystem cannot do that."""
    if request.param == "named":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT)  # EINVAL
    return str(request.param)


def inode(path: str) -> int:
    return os.stat(path).st_ino


def test_a_new_file_is_its_owners(path: str, way: str) -> None:
    for mask in (0, 0o777):
        before = os.umask(mask)
        try:
            open_file(path, "x", None)
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.listdir(os.path.dirname(path)) == ["store"]
        os.unlink(path)


def test_nothing_is_left_of_what_fails(
    path: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    before = len(os.listdir("/proc/self/fd"))
    Path(path + ".old").touch()
    monkeypatch.setattr(opening, "create_store", fail)
    for name, mode in ((path, "a"), (path, "w"), (path + ".old", "w"), (None, "a")):
        with pytest.raises(OSError, match="full"):
            open_file(name, mode, None)
    assert os.listdir(os.path.dirname(path)) == ["store.old"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_somebody_makes_it_at_the_same_time(
    path: str, way: str, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_name = NewFile.give_name

    def too_late(new: NewFile) -> None:
        peer(f"file = open_file({path!r}, 'x', None)")
        monkeypatch.undo()
        give_name(new)

    monkeypatch.setattr(NewFile, "give_name", too_late)
    file = open_file(path, "a", None)
    assert opening._files[(os.stat(path).st_dev, inode(path))] is file
    with pytest.raises(emmap.InUseError):
        peer(f"file = open_file({path!r}, 'w', None)")
    assert os.listdir(os.path.dirname(path)) == ["store"]


def test_mode_x_that_is_too_late(path: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(new: NewFile) -> None:
        Path(path).touch()
        monkeypatch.undo()
        new.give_name()

    monkeypatch.setattr(NewFile, "give_name", too_late)
    with pytest.raises(FileExistsError) as caught:
        open_file(path, "x", None)
    assert caught.value.filename == path
    assert os.listdir(os.path.dirname(path)) == ["store"]


def test_it_is_replaced_while_it_is_opened(
    path: str, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file(path, "x", None)
    old = inode(path)
    wait = Turn._wait

    def too_late(it: Turn) -> None:
        monkeypatch.undo()
        peer(f"file = open_file({path!r}, 'w', None); del file")
        wait(it)

    monkeypatch.setattr(Turn, "_wait", too_late)
    file = open_file(path, "r", None)
    assert inode(path) != old
    assert opening._files[(os.stat(path).st_dev, inode(path))] is file


def begin_to_replace(peer: Peer, path: str) -> None:
    """Lets the peer go as far as to take the name, which it does when its answer is asked for."""
    peer(
        "take_name = newfile.NewFile.take_name\n"
        "def slow(new):\n"
        "    os.write(1, b'.')\n"
        "    os.read(0, 2)\n"
        "    take_name(new)\n"
        "newfile.NewFile.take_name = slow"
    )
    peer.begin(f"file = open_file({path!r}, 'w', None)")
    assert peer.process.stdout is not None
    assert peer.process.stdout.read(1) == b"."


def go_on(peer: Peer) -> None:
    """Lets it take the name."""
    assert peer.process.stdin is not None
    peer.process.stdin.write(b"go")
    peer.process.stdin.flush()
    peer.end()


def waiting_for(path: str) -> int:
    """How many wait for a lock on the file."""
    number = str(inode(path))
    with open("/proc/locks") as locks:
        return sum("->" in line and f":{number} " in line for line in locks)


def test_who_opens_waits_for_who_replaces(path: str, peer: Peer) -> None:
    open_file(path, "x", None)
    old = inode(path)
    begin_to_replace(peer, path)
    thread = threading.Thread(target=open_file, args=(path, "a", None))
    thread.start()
    with Peer() as other:
        other(IMPORT)
        other.begin(f"file = open_file({path!r}, 'a', None); inode = os.stat({path!r}).st_ino")
        while waiting_for(path) < 2:
            assert thread.is_alive()
        assert inode(path) == old
        go_on(peer)
        other.end()
        assert other("inode") == inode(path) != old
    thread.join()


def test_who_replaces_is_killed(path: str, peer: Peer) -> None:
    open_file(path, "x", None)
    old = inode(path)
    begin_to_replace(peer, path)
    peer.kill()
    open_file(path, "r+", None)
    assert inode(path) == old
    assert os.listdir(os.path.dirname(path)) == ["store"]


@pytest.mark.parametrize("made_by", ["them", "us"])
def test_nobody_is_cut_off(path: str, way: str, peer: Peer, made_by: str) -> None:
    if made_by == "us":
        open_file(path, "x", None)
    peer(f"file = open_file({path!r}, 'a', None)")
    with pytest.raises(emmap.InUseError, match="in use"):
        open_file(path, "w", None)
    file = open_file(path, "a", None)
    peer.kill()
    with pytest.raises(emmap.InUseError, match="this process"):
        open_file(path, "w", None)
    del file
    open_file(path, "w", None)


def test_what_is_no_store_is_replaced(path: str, way: str) -> None:
    for content in (b"", b"some text\n" * 10_000):
        Path(path).write_bytes(content)
        with pytest.raises(emmap.CorruptFileError) as caught:
            open_file(path, "a", None)
        assert caught.value.filename == path
        assert Path(path).read_bytes() == content
        open_file(path, "w", None)
        open_file(path, "r", None)


def test_the_replaced_file_is_as_it_was(path: str, way: str) -> None:
    Path(path).write_bytes(b"text")
    with emmap.open(path) as m:
        open_file(path, "w", None)
        assert m[:] == b"text"


def test_permissions_are_kept(path: str, way: str) -> None:
    open_file(path, "x", None)
    for mode in (0o640, 0o600, 0o666):
        os.chmod(path, mode)
        open_file(path, "w", None)
        assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_permissions_are_not_given_to_others(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new file cannot be the old owner's, his group's letters would be another's."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    with NewFile(path) as new:
        old = os.stat_result(
            (stat.S_IFREG | 0o660, 0, 0, 0, os.getuid(), os.getgid() + 1, *[0] * 4)
        )
        monkeypatch.setattr(os, "fchown", refuse)
        new.take_permissions(old)
        assert stat.S_IMODE(os.fstat(new.fd).st_mode) == 0o600


def test_links(path: str, way: str) -> None:
    link, nowhere = path + ".link", path + ".nowhere"
    os.symlink("store", link)
    os.symlink("nothing", nowhere)
    open_file(path, "x", None)
    old = inode(path)
    open_file(link, "w", None)
    assert os.path.islink(link)
    assert inode(link) == inode(path) != old
    with pytest.raises(FileNotFoundError, match="leads nowhere"):
        open_file(nowhere, "a", None)
    with pytest.raises(FileExistsError):
        open_file(nowhere, "x", None)
    assert not os.path.lexists(os.path.join(os.path.dirname(path), "nothing"))


def test_what_is_no_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for mode in ("a", "r", "w"):
        with pytest.raises(OSError, match="lies in a"):
            open_file(pipe, mode, None)
        with pytest.raises(OSError, match="lies in a"):
            open_file("/dev/zero", mode, None)
        with pytest.raises(IsADirectoryError):
            open_file(tmp_path, mode, None)
    with pytest.raises(TypeError):
        open_file(0, "a", None)  # type: ignore[arg-type]


def test_somebody_has_locked_the_whole_file(path: str, peer: Peer) -> None:
    open_file(path, "x", None)
    peer(f"import fcntl; file = open({path!r}, 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX)")
    for mode in ("r", "a", "w"):
        with pytest.raises(OSError, match=f"process {peer.process.pid} has locked") as caught:
            open_file(path, mode, None)
        assert caught.value.errno == errno.EBUSY
    peer.kill()
    open_file(path, "a", None)


def test_one_file_in_all_threads(path: str) -> None:
    files = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        files.append(open_file(path, "a", None))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files) == 8
    assert len({id(file) for file in files}) == 1


def test_a_child_does_not_hold_the_turn(path: str) -> None:
    """It was forked while another thread opened the file, and lives on."""
    Path(path).write_bytes(b"text")
    ours, theirs = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    Turn(ours, path, alone=True).__enter__()
    (is_there, there), (hold, let_go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        os.write(there, b".")
        os.read(hold, 1)
        os._exit(0)
    assert os.read(is_there, 1) == b"."
    turn._held.discard(ours)
    os.close(ours)  # as the end of the parent would, which unlocks nothing
    try:
        Turn(theirs, path, alone=True)._call(fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
    finally:
        for fd in (is_there, there, hold, let_go, theirs):
            os.close(fd)
        os.waitpid(child, 0)


def test_a_child_opens_while_another_thread_does(path: str, peer: Peer) -> None:
    """Its copy of the process's lock is held by a thread that it does not have."""
    open_file(path, "x", None)
    other = path + ".other"
    begin_to_replace(peer, path)
    thread = threading.Thread(target=open_file, args=(path, "a", None))
    thread.start()
    while opening._opening.acquire(blocking=False):
        opening._opening.release()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            open_file(other, "a", None)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    go_on(peer)
    thread.join()


def test_a_folder_that_cannot_be_listed(
    path: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(name: str, flags: int, *arguments: int, **options: int) -> int:
        if name == os.path.dirname(path) and not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, "no", name)
        return real(name, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    open_file(path, "x", None)
    open_file(path, "w", None)
    assert os.listdir(os.path.dirname(path)) == ["store"]


def test_in_memory() -> None:
    one, other = open_file(None, "a", None), open_file(None, "w", None)
    assert one is not other
    assert one.name is None
    for mode in ("r", "r+"):
        with pytest.raises(ValueError, match="in memory"):
            open_file(None, mode, None)
