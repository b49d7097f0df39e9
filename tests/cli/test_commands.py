"""`emmap.cli`: what holds for all commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from emmap.cli import COMMANDS

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_shows_an_example(run: Run, command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Example:\n" in result.stdout
    assert " ".join(["emmap", *command]) in result.stdout.partition("Example:\n")[2]


def test_help_names_every_command(run: Run) -> None:
    listed = run("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert "..." not in "".join(listed)


def test_unknown_command(run: Run) -> None:
    result = run("fly")
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.stderr


def test_version(program: Program) -> None:
    done = program("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(b"emmap, version ")


def test_a_command_loads_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"e")
    code = (
        "import sys; from emmap.cli.group import commands\n"
        "commands(sys.argv[1:], standalone_mode=False)\n"
        "print(*[name for name in sys.modules if name.startswith(('emmap.cli.tour', 'rich'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "byte", file, "0"], capture_output=True, check=True
    )
    assert done.stdout == b"byte at offset 0 is 'e'\n\n"


def test_a_closed_pipe_ends_it_as_it_ends_cat(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = program("cat", "file", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == -signal.SIGPIPE
    assert done.stderr == b""


@pytest.mark.parametrize(
    "command",
    [
        ["cat", "file"],
        ["byte", "file", "0"],
        ["grep", "words", "file"],
        ["lines", "file", "1"],
        ["tour", "file"],
        ["wc", "file"],
    ],
)
def test_a_full_disk_behind_the_output(
    program: Program, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").write_bytes(b"some words")
    with open("/dev/full", "wb") as full:
        done = program(*command, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"emmap: write error: No space left on device\n"


def test_a_closed_output(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"some words")
    closing = ["sh", "-c", 'exec "$@" >&-', "sh"]
    done = subprocess.run(
        [*closing, sys.executable, "-m", "emmap", "cat", file], stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 1
    assert done.stderr == b"emmap: standard output is closed\n"


@pytest.mark.parametrize(
    "command",
    [
        ["byte", "0"],
        ["cat"],
        ["lines", "1"],
        ["peek", "0"],
        ["poke", "0", "1"],
        ["tour"],
        ["upper"],
        ["wc"],
    ],
)
def test_a_file_is_judged_by_opening_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"some words")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    name, *rest = command
    assert run(name, file, *rest).exit_code == 0


def test_output_in_a_pipe_is_plain(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"some words")
    for command in (["--help"], ["byte", "file", "0"], ["upper", "--dry-run", "file"], ["tour"]):
        assert b"\x1b" not in program(*command).stdout


def test_wc_needs_neither_click_nor_rich(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"some words")
    code = (
        "import sys; sys.argv[1:] = ['wc', sys.argv[1]]\n"
        "sys.modules['click'] = sys.modules['rich'] = None\n"
        "from emmap.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, check=True)
    assert done.stdout == b" 0  2 10 %s\n" % os.fsencode(file)
