"""Who is alive: each way in which a living holder could look dead, or a dead one alive."""

import fcntl
import os
import re
import struct
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import emmap
from locks.tasks import until
from mapping.peer import Peer
from mapping.small_disk import run_on_small_disk

F_OFD_GETLK, F_OFD_SETLK = 36, 37
IDS = 1 << 62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


@pytest.fixture
def peer(path: Path) -> Iterator[Peer]:
    """Another process, which has the same lock as `lock`."""
    with Peer() as peer:
        peer(f"lock = emmap.Lock({str(path)!r})")
        yield peer


def word(path: Path) -> int:
    """The lock word in a file of one lock."""
    number: int = struct.unpack_from("<Q", path.read_bytes(), 8)[0]
    return number


def request(kind: int, start: int, length: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def locks_of(path: Path) -> list[tuple[int, int]]:
    """The (first, last) bytes of all locks on a file, as the kernel tells."""
    inode = os.stat(path).st_ino
    found = re.findall(rf":{inode} (\d+) (\d+|EOF)$", Path("/proc/locks").read_text(), re.M)
    return [(int(first), -1 if last == "EOF" else int(last)) for first, last in found]


# The byte that is locked by an id


def test_an_id_is_a_locked_byte_far_behind_the_file(path: Path) -> None:
    lock = emmap.Lock(path)
    assert locks_of(path) == []  # it takes an id when it needs one
    with lock:
        assert locks_of(path) == [(IDS + (word(path) >> 4),) * 2]
        assert word(path) & 15 == 0
    assert word(path) == 0


def test_all_locks_of_a_file_have_one_id(path: Path) -> None:
    m = emmap.open(path, "x+", size=4096)
    locks = [emmap.Lock(m, offset=offset) for offset in range(0, 4096, 64)]
    locks.append(emmap.Lock(emmap.open(path, "r+"), offset=16))
    for lock in locks:
        lock.acquire()
    words = set(struct.unpack("<512Q", m[:])[1::2])
    assert len(words - {0}) == 1
    assert len(locks_of(path)) == 1


def test_an_id_is_given_up_when_nothing_is_held_and_never_used_again(path: Path) -> None:
    seen = set()
    for _ in range(100):
        lock = emmap.Lock(path)
        with lock:
            seen.add(word(path))
        del lock
        assert locks_of(path) == []
    assert len(seen) == 100


def test_an_id_is_kept_while_something_is_held_though_nobody_knows_how(
    path: Path, peer: Peer
) -> None:
    emmap.Lock(path).acquire()
    assert len(locks_of(path)) == 1
    assert peer("lock.acquire(timeout=0.2)") is False
    emmap.Lock(path).release()
    assert peer("lock.acquire(timeout=5)") is True


def test_a_death_frees_the_lock_at_once_and_is_told_once(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")
    assert lock.acquire(timeout=0.1) is False
    assert lock.locked()
    assert not lock.owner_died
    peer.kill()
    assert not lock.locked()
    assert lock.owner_died
    with pytest.warns(emmap.OwnerDiedWarning, match=re.escape(str(path))) as warned:
        assert lock.acquire(blocking=False)
    assert len(warned) == 1
    assert lock.owner_died
    lock.release()
    with lock:  # no further warning, which would be an error here
        assert lock.owner_died
        lock.mark_consistent()
        assert not lock.owner_died
    with lock:
        assert not lock.owner_died


def test_a_stopped_holder_is_not_robbed(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")
    os.kill(peer.process.pid, 19)
    assert lock.acquire(timeout=0.4) is False
    os.kill(peer.process.pid, 18)
    peer("lock.release()")
    assert lock.acquire(timeout=5)


# Mechanism 1: what holds the byte


def test_a_forked_child_neither_owns_nor_masks_the_death_of_its_parent(
    path: Path, peer: Peer
) -> None:
    lock = emmap.Lock(path)
    child = peer(
        textwrap.dedent("""
            import time
            lock.acquire()
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                said = []
                try:
                    lock.release()
                except RuntimeError as error:
                    said.append(str(error))
                said += [lock.acquire(timeout=0.1), lock.locked()]
                os.write(writer, repr(said).encode())
                os.closerange(0, 100)
                while True:
                    time.sleep(1)
        """)
    ) or peer("child")
    try:
        said = peer("os.read(reader, 1000)").decode()
        assert said == "['cannot release a lock that another process holds', False, True]"
        peer.kill()
        with pytest.warns(emmap.OwnerDiedWarning):
            assert lock.acquire(timeout=5)
    finally:
        os.kill(child, 9)


def test_the_child_of_a_fork_is_somebody_of_its_own(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    with lock:
        mine = word(path)
    child = os.fork()
    if child == 0:
        with lock:
            os._exit(0 if word(path) not in (0, mine) and len(locks_of(path)) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert peer("lock.owner_died")


def test_closing_all_descriptors_does_not_let_go_of_the_byte(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire(); os.closerange(3, 200)")
    assert lock.acquire(timeout=0.3) is False
    peer("lock.release()")
    assert lock.acquire(timeout=5)


def test_who_cannot_ask_does_not_steal(path: Path, peer: Peer, tmp_path: Path) -> None:
    """Its descriptors were closed, and their numbers are another file's, without locks."""
    peer("lock.acquire(); lock.release()")  # it has an id, so it only has to ask
    lock = emmap.Lock(path)
    lock.acquire()
    other = tmp_path / "other"
    peer(
        f"os.closerange(3, 200); fds = [os.open({str(other)!r}, os.O_RDWR | os.O_CREAT)"
        f" for _ in range(30)]"
    )
    with pytest.raises(OSError, match="closed by somebody"):
        peer("lock.acquire(timeout=0.2)")
    lock.release()
    assert lock.acquire(blocking=False)


@pytest.mark.parametrize("filesystem", ["tmpfs", "ext4", "overlay"])
def test_the_byte_is_held_and_let_go_on_each_filesystem(tmp_path: Path, filesystem: str) -> None:
    script = """
        import os, signal, sys, time, warnings
        sys.path.insert(0, sys.argv[1])
        from mapping.peer import Peer
        import emmap
        path = os.path.abspath("job.lock")
        lock = emmap.Lock(path)
        peer = Peer()
        peer(f"lock = emmap.Lock({path!r}); lock.acquire()")
        print(lock.acquire(timeout=0.2))
        child = peer("os.fork() or exec('import time; os.closerange(0, 3); time.sleep(1000)')")
        peer.kill()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            print(lock.acquire(timeout=5), len(warned))
        os.kill(child, signal.SIGKILL)
    """
    said = run_on_small_disk(textwrap.dedent(script), tmp_path, "16M", filesystem)
    assert said.split() == ["False", "True", "1"]


# Mechanism 3: one inode by two device numbers, other boots, copies


def test_an_overlay_and_its_upper_layer_are_refused_together(tmp_path: Path) -> None:
    script = """
        import emmap
        above = emmap.Lock("job.lock")
        try:
            emmap.Lock("../upper/upper/job.lock")
        except OSError as error:
            print(error)
    """
    said = run_on_small_disk(textwrap.dedent(script), tmp_path, "16M", "overlay")
    assert "in use by another path to the same bytes" in said


def test_in_a_copied_file_all_holders_are_dead(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.lock"
    with emmap.Lock(path):
        copy.write_bytes(path.read_bytes())
        with pytest.warns(emmap.OwnerDiedWarning):
            assert emmap.Lock(copy).acquire(blocking=False)


def test_after_another_boot_all_holders_are_dead(path: Path) -> None:
    """The tag of another boot has another hash; also where the device numbers have changed."""
    lock = emmap.Lock(path)
    tag, _ = struct.unpack("<2Q", path.read_bytes())
    del lock
    for other in (tag ^ 1 << 20, tag ^ 1 << 20 ^ 1 << 50):
        path.write_bytes(struct.pack("<2Q", other, 12345 << 4))
        with pytest.warns(emmap.OwnerDiedWarning):
            assert emmap.Lock(path).acquire(blocking=False)
        assert struct.unpack("<2Q", path.read_bytes())[0] == tag
        emmap.Lock(path).release()
    path.write_bytes(struct.pack("<2Q", tag ^ 1 << 50, 0))
    with pytest.raises(OSError, match="another path"):
        emmap.Lock(path)


# Mechanism 4: locks of strangers


def test_a_read_lock_cannot_feign_a_life(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer("lock.acquire()")
    byte = IDS + (word(path) >> 4)
    peer.kill()
    with open(path, "rb") as reader:
        fcntl.fcntl(reader, F_OFD_SETLK, request(fcntl.F_RDLCK, byte, 1))
        with pytest.warns(emmap.OwnerDiedWarning):
            assert lock.acquire(blocking=False)


def test_a_lock_on_the_whole_file_keeps_ids_out_and_is_named(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer(f"import fcntl; f = open({str(path)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX)")
    with pytest.raises(OSError, match=f"process {peer.process.pid} has locked the whole file"):
        lock.acquire(timeout=5)
    peer("fcntl.lockf(f, fcntl.LOCK_UN)")
    assert lock.acquire(timeout=5)


def test_behind_a_lock_on_the_whole_file_holders_count_as_alive(path: Path, peer: Peer) -> None:
    with Peer() as waiter:
        waiter(f"lock = emmap.Lock({str(path)!r}); second = emmap.Lock({str(path)!r})")
        with Peer() as stranger:
            peer("lock.acquire()")
            peer.kill()
            stranger(f"import fcntl; f = open({str(path)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX)")
            # It has no id yet, and needs none to look.
            waiter("import warnings; warnings.simplefilter('error', emmap.OwnerDiedWarning)")
            assert waiter("lock.locked()") is True
        assert waiter("lock.locked()") is False


def test_a_waiter_tells_of_the_stranger_who_hides_the_answer(path: Path, tmp_path: Path) -> None:
    m = emmap.open(path, "x+", size=64)
    first, second = emmap.Lock(m), emmap.Lock(m, offset=16)
    with second, Peer() as peer:  # so we have our id before the stranger comes
        peer(f"lock = emmap.Lock(emmap.open({str(path)!r}, 'r+')); lock.acquire()")
        dead = word(path)
        peer.kill()
        with Peer() as stranger:
            # All ids but ours: as if he had locked the file before us and had let us in.
            mine = IDS + (struct.unpack_from("<Q", m, 24)[0] >> 4)
            stranger(
                f"import fcntl; f = open({str(path)!r}, 'r+');"
                f"fcntl.lockf(f, fcntl.LOCK_EX, {mine - IDS}, {IDS});"
                f"fcntl.lockf(f, fcntl.LOCK_EX, 0, {mine + 1})"
            )
            assert dead >> 4 != mine - IDS
            text = f"process {stranger.process.pid} has locked"
            with pytest.warns(RuntimeWarning, match=text) as warned:
                assert first.acquire(timeout=0.2) is False
            assert warned[0].filename == __file__
        with pytest.warns(emmap.OwnerDiedWarning):
            assert first.acquire(timeout=5)


def test_record_locks_of_the_real_bytes_do_not_disturb(path: Path, peer: Peer) -> None:
    lock = emmap.Lock(path)
    peer(f"import fcntl; f = open({str(path)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX, 16)")
    assert lock.acquire(timeout=1)


# Mechanism 6: lost pages


def test_a_lost_page_raises_and_lets_the_others_go_on(path: Path, peer: Peer) -> None:
    m = emmap.open(path, "a+", size=1 << 16)
    lock = emmap.Lock(m)
    lock.acquire()
    # A full disk or a reflink: our page is private from now on, and the file is as it was.
    peer("assert lock.acquire(timeout=0.1) is False")
    os.truncate(path, 4096)
    with pytest.raises(emmap.PageLostError):
        m[60_000]
    with pytest.raises(emmap.PageLostError):
        lock.release()
    with pytest.raises(emmap.PageLostError):
        lock.acquire(blocking=False)
    peer("import warnings; warnings.simplefilter('ignore')")
    assert peer("lock.acquire(timeout=5)") is True
    assert peer("lock.owner_died") is True
    os.truncate(path, 1 << 16)
    m.repair()
    with pytest.raises(RuntimeError, match="another process holds"):
        lock.release()
    peer("lock.release()")
    assert lock.acquire(timeout=5)


def test_a_truncated_lock_raises_wherever_it_is_touched(path: Path) -> None:
    lock = emmap.Lock(path)
    os.truncate(path, 0)
    for attempt in (lock.acquire, lock.locked, lambda: lock.acquire(timeout=1)):
        with pytest.raises(emmap.PageLostError):
            attempt()


def test_a_waiter_whose_page_goes_is_told(path: Path, peer: Peer) -> None:
    """The kernel answers EFAULT to who would sleep there."""
    lock = emmap.Lock(path)
    lock.acquire()
    peer.begin("lock.acquire()")
    until(lambda: word(path) & 1)
    os.truncate(path, 0)
    with pytest.raises(emmap.PageLostError):
        peer.end()


# The file of a lock


def test_a_removed_file_is_noticed(path: Path) -> None:
    lock = emmap.Lock(path)
    path.unlink()
    until(lambda: is_stale(lock))
    assert emmap.Lock(path).acquire(blocking=False)
    assert is_stale(lock)  # replaced, by now


def test_a_waiter_notices_that_the_file_was_replaced(path: Path, peer: Peer) -> None:
    peer("lock.acquire()")
    lock = emmap.Lock(path)
    with Peer() as remover:
        remover("import time")
        remover.begin(f"time.sleep(0.2); os.unlink({str(path)!r})")
        with pytest.raises(OSError, match="removed or replaced"):
            lock.acquire(timeout=60)
        remover.end()


def is_stale(lock: emmap.Lock) -> bool:
    try:
        if lock.acquire(blocking=False):
            lock.release()
    except OSError as error:
        return "removed or replaced" in str(error)
    return False


def test_a_lock_in_an_unlinked_file_goes_on_where_it_was_made_by_a_mapping(path: Path) -> None:
    m = emmap.open(path, "x+", size=64)
    lock = emmap.Lock(m)
    path.unlink()
    for _ in range(3):
        with lock:
            pass
