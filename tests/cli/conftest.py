"""Two ways to run a command: in this process, and as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from emmap.cli.group import commands

Run = Callable[..., Result]
Program = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def run() -> Run:
    """Run a command in this process and return click's result."""

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(commands, [os.fspath(argument) for argument in arguments])

    return invoke


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run the program itself, in the temporary folder of the test."""

    def start(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            [sys.executable, "-m", "emmap", *arguments],
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            timeout=120,
            check=False,
            **options,
        )

    return start
