"""`emmap grep`, beside GNU grep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cli.gnu import FILES, gnu, make_files, ours
from emmap.cli import grep, streams

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]

# Patterns that mean the same to POSIX (grep -E) and to re.
PATTERNS = [
    "one",
    "ONE",
    "o",
    "",
    "^a",
    "s$",
    "l.ne [0-9]*7 ",
    "(one|with) ",
    "^$",
    "xyz",
    "a|e",
    ".",
]
FLAGS = [[], ["-n"], ["-c"], ["-o"], ["-no"], ["-i"], ["-in"], ["-co"], ["-cn"]]
LISTS = [["text"], ["text", "cut", "empty", "tabs"], ["large"], ["binary", "latin"], ["newline"]]


def in_process(run: Run, *arguments: str) -> tuple[int, bytes, bytes]:
    result = run("grep", *arguments)
    return result.exit_code, result.stdout_bytes, result.stderr_bytes.replace(b"emmap ", b"")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_as_gnu(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for flags in FLAGS:
        for files in LISTS:
            expected = gnu(tmp_path, "grep", "-aE", *flags, "--", pattern, *files)
            assert in_process(run, *flags, "--", pattern, *files) == expected, (flags, files)


@pytest.mark.parametrize("pattern", ["one", ".", "a|e", "(", "a\nb", "", "\u20ac"])
def test_literals(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["-i"], ["-on"]):
        expected = gnu(tmp_path, "grep", "-aF", *flags, pattern, "text", "latin", "large")
        assert in_process(run, "-F", *flags, pattern, "text", "latin", "large") == expected


def test_lines_of_a_pattern_are_alternatives(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    expected = gnu(tmp_path, "grep", "-aE", "thi?rd\n^one", "text", "cut", "large")
    assert in_process(run, "-E", "thi?rd\n^one", "text", "cut", "large") == expected


@pytest.mark.parametrize(
    "files",
    [
        ["none"],
        ["folder"],
        ["text", "none", "cut"],
        ["folder", "text"],
        ["loop"],
        ["/proc/version"],
    ],
    ids=repr,
)
def test_errors(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["-c"]):
        expected = gnu(tmp_path, "grep", "-a", *flags, "o", *files)
        assert in_process(run, *flags, "o", *files) == expected


@pytest.mark.parametrize("pattern", ["(", "*", "[[:digit:]]", "a{2,1}"])
def test_no_pattern_of_re(run: Run, pattern: str) -> None:
    code, output, errors = in_process(run, pattern, "/dev/null")
    assert (code, output) == (2, b"")
    assert errors.startswith(f"grep: {pattern!r} is not a pattern of re: ".encode())


def test_plain_text_needs_no_regular_expression() -> None:
    for ignore_case in (False, True):
        assert grep.compiled(b"a b", literal=False, ignore_case=ignore_case) == b"a b"
        assert grep.compiled(b"a.b", literal=True, ignore_case=ignore_case) == b"a.b"
    assert not isinstance(grep.compiled(b"a.b", literal=False, ignore_case=False), bytes)


def test_standard_input(program: Program, tmp_path: Path) -> None:
    make_files(tmp_path)
    for arguments in (["-n", "one"], ["-c", "one", "text", "-"], ["-o", "one", "-"]):
        given = FILES["large"] + FILES["cut"]
        expected = gnu(tmp_path, "grep", "-a", *arguments, input=given)
        assert ours(program, "grep", *arguments, input=given) == expected
        with (tmp_path / "large").open("rb") as one, (tmp_path / "large").open("rb") as two:
            for file in (one, two):
                os.lseek(file.fileno(), 1000, os.SEEK_SET)
            assert ours(program, "grep", *arguments, stdin=one) == gnu(
                tmp_path, "grep", "-a", *arguments, stdin=two
            )


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pieces_of_a_stream(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(streams, "PIECE", size)
    monkeypatch.setattr(grep, "map_rest", lambda descriptor: None)
    for flags in ("-n", "-c"):
        files = ["text", "cut", "binary", "empty"]
        assert in_process(run, flags, "one", *files) == gnu(
            tmp_path, "grep", "-a", flags, "one", *files
        )


def test_a_pipe_is_answered_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "emmap", "grep", "-n", "one"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in (1, 2):
            process.stdin.write(b"one\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"%d:one\n" % number
        process.stdin.close()
        assert process.wait() == 0


def test_a_closed_pipe_ends_it_quietly(program: Program, tmp_path: Path) -> None:
    make_files(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = program("grep", "o", "large", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_writes_in_large_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    make_files(tmp_path)
    written: list[int] = []
    flush = grep.Search.flush

    def counted(self: grep.Search) -> None:
        written.append(1)
        flush(self)

    monkeypatch.setattr(grep.Search, "flush", counted)
    assert run("grep", "o", tmp_path / "large").stdout_bytes == FILES["large"]
    assert len(written) < 10  # Lines: 4,000.
