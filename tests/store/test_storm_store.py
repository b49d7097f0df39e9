"""The storm over a store: some kills in each run of the suite, 10,000 in the slow one."""

import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).with_name("storm_store.py")


@pytest.mark.parametrize(
    "kills",
    [20, pytest.param(200, marks=pytest.mark.slow), pytest.param(10_000, marks=pytest.mark.long)],
)
def test_storm(kills: int) -> None:
    done = subprocess.run(
        [sys.executable, str(STORM), str(kills)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
