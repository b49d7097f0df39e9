"""`emmap.named`: memory that processes find by a name, and that outlives them all."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import shared_memory
from pathlib import Path

import pytest

import emmap
from mapping.small_disk import run_on_small_disk


@pytest.fixture
def name() -> Iterator[str]:
    """A name that nobody else has, and that is gone afterwards."""
    name = f"emmap-test-{os.getpid()}-{secrets.token_hex(4)}"
    yield name
    with suppress(FileNotFoundError):
        os.unlink(f"/dev/shm/{name}")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process that has nothing to do with this one but the name."""
    command = [sys.executable, "-c", f"import emmap, os, signal, sys\n{script}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, start_new_session=True)


def test_two_unrelated_processes(name: str) -> None:
    writer = run("emmap.named(sys.argv[1], size=5)[:] = b'hello'", name)
    reader = run("print(emmap.named(sys.argv[1], 'r')[:])", name)
    assert (writer.stderr, reader.stdout, reader.stderr) == ("", "b'hello'\n", "")


def test_changes_are_seen_at_once(name: str) -> None:
    with emmap.named(name, size=100) as m:
        done = run("m = emmap.named(sys.argv[1]); m[99] = m[98] + 1; print(len(m))", name)
        assert (done.stdout, m[99]) == ("100\n", 1)


@pytest.mark.parametrize("ending", ["pass", "os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_it_outlives_creator_and_users(name: str, ending: str) -> None:
    created = run(f"m = emmap.named(sys.argv[1], size=3); m[:] = b'abc'; {ending}", name)
    attached = run(f"m = emmap.named(sys.argv[1], 'r+'); m[0] = 65; {ending}", name)
    assert created.returncode == attached.returncode
    assert created.returncode in (0, 1, -signal.SIGKILL)
    with emmap.named(name, "r") as m:
        assert m[:] == b"Abc"


def test_it_is_as_long_as_it_was_made(name: str) -> None:
    with emmap.named(name, size=1001) as m, emmap.named(name) as other:
        assert len(m) == len(other) == m.size() == 1001
    with emmap.named(name, size=10) as m:  # is at least so long already
        assert len(m) == 1001


def test_it_grows_in_every_process(name: str) -> None:
    with emmap.named(name, size=10, reserve=1 << 30) as m, memoryview(m) as view:
        address = m.address
        done = run("m = emmap.named(sys.argv[1]); m.grow(50000); m[49999] = 7", name)
        assert (done.stderr, len(m), m[49999], m.address) == ("", 50000, 7, address)
        assert len(view) == 10


def test_its_name_is_that_of_a_file(name: str) -> None:
    with emmap.named(name, "x+", size=10) as m:
        assert m.name == f"/dev/shm/{name}"
        with pytest.raises(FileExistsError):
            emmap.named(name, "x+", size=10)
    with emmap.named("né " + name, size=10) as m:
        assert m.name is not None
        os.unlink(m.name)


def test_removal_leaves_those_who_have_it(name: str) -> None:
    with emmap.named(name, size=5) as m, emmap.named(name) as other:
        assert m.name is not None
        os.unlink(m.name)
        m[:] = b"hello"
        assert other[:] == b"hello"
        with emmap.named(name, size=5) as successor:
            assert successor[:] == bytes(5)
        assert other[:] == b"hello"


def test_without_one(name: str) -> None:
    for mode in ("r", "r+", "c"):
        with pytest.raises(FileNotFoundError):
            emmap.named(name, mode)


@pytest.mark.parametrize("wrong", ["", ".", "..", "a/b", "/a", "../tmp/a", "a\0b"])
def test_names_are_checked(wrong: str) -> None:
    with pytest.raises(ValueError, match="a name is that of a file"):
        emmap.named(wrong, size=10)


def test_a_name_is_a_string() -> None:
    for wrong in (b"name", None, 5):
        with pytest.raises(TypeError):
            emmap.named(wrong, size=10)  # type: ignore[arg-type]


def test_a_full_shared_memory_is_an_error(tmp_path: Path) -> None:
    script = """if True:
        import emmap, errno, os
        from emmap.mapping import opening

        opening.SHARED_MEMORY = os.getcwd()
        with emmap.named("small", size=100_000) as m:
            m[:] = b"x" * 100_000
            for size in (2_000_000, 1 << 40):
                try:
                    emmap.named("large", size=size)
                except OSError as error:
                    print(errno.errorcode[error.errno], os.listdir("."), m[99_999])
    """
    assert run_on_small_disk(script, tmp_path, "1M") == "ENOSPC ['small'] 120\n" * 2


def test_the_resource_tracker_has_no_say(name: str) -> None:
    """The standard's tracker removes what its process has opened when this ends."""
    script = """if True:
        from multiprocessing import resource_tracker
        with emmap.named(sys.argv[1], size=10) as m:
            m[0] = 1
        print(resource_tracker._resource_tracker._fd)
    """
    done = run(script, name)
    assert (done.stdout, done.stderr) == ("None\n", "")
    with emmap.named(name, "r") as m:
        assert m[0] == 1


def test_the_standards_shared_memory_can_be_mapped() -> None:
    standard = shared_memory.SharedMemory(create=True, size=10)
    try:
        with emmap.named(standard.name) as m:
            m[:5] = b"hello"
        assert standard.buf is not None
        assert bytes(standard.buf[:5]) == b"hello"
    finally:
        standard.close()
        standard.unlink()
