"""The harness that steps through operations: it finds what is broken, and the arena is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.stepping import build, check, step


def test_toy(tmp_path: Path) -> None:
    check(build("toy", tmp_path))


@pytest.mark.parametrize(
    ("broken", "moment"),
    [
        ("WRONG_ORDER", "an image after step"),
        ("TOO_LATE", "when 1 calls had returned"),
        ("ELSEWHERE", "killed after step"),
        ("HANGS", "the recovery took more than 1 seconds"),
    ],
)
def test_broken_toy(broken: str, moment: str, tmp_path: Path) -> None:
    binary = build("toy", tmp_path, options=[f"-DBROKEN={broken}", "-DPATIENCE=1"])
    done = step(binary)
    assert done.returncode == 1, done.stdout
    assert moment in done.stdout
    if broken == "WRONG_ORDER":
        assert "bytes 0 to 1 had just become" in done.stdout  # the store that came too early
        assert binary.with_name("image").exists()


def test_arena(tmp_path: Path) -> None:
    check(build("arena_step", tmp_path, ["mapping/arena.c", "mapping/arena_repair.c"]))
