"""What holds for all tests: slow ones wait to be asked for, and CI knows each skip beforehand."""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

# The reasons that tests may give for a skip where the environment variable CI is set: rights that a
# machine may deny. There any other skip is a failure, so that nothing falls silent unnoticed.
ALLOWED_SKIPS = (
    r"block device: no right to make a loop device",
    r"FUSE: no right to mount",
    r"huge pages: ",
    r"pid namespace: no right to make one",
    r"ptrace: ",
    r"small disk: no right to mount",
    r"strace may not trace here",
    r"the compiler has no runtime for the address sanitizer",
    r"wc is not that of coreutils 9\.1",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow and long tests out unless `-m` says which to run."""
    if config.option.markexpr:
        return
    slow = [
        item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")
    ]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


def judge_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a failure of a skip that CI does not expect."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(re.search(allowed, reason) for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"a skip that CI does not expect (see tests/conftest.py): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skips of tests."""
    report = yield
    judge_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skips of whole files."""
    report = yield
    judge_skip(report)
    return report
