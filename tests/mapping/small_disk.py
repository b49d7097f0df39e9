"""Runs a script on a small filesystem that fills up, in a mount namespace of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run_on_small_disk(script: str, folder: Path, size: str) -> str:
    """The output of a Python script whose working directory is a tmpfs of `size`.

    Skips the test where a plain user may not make a namespace to mount it in.
    """
    if shutil.which("unshare") is None:
        pytest.skip("small disk: util-linux's unshare is not installed")
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    command = 'mount -t tmpfs -o size="$1" tmpfs "$2"; cd "$2"; shift 2; "$@"'
    probe = subprocess.run([*mount, command, "sh", size, str(folder), "true"], capture_output=True)
    if probe.returncode != 0:
        mount[1:3] = []  # root without user namespaces
        probe = subprocess.run(
            [*mount, command, "sh", size, str(folder), "true"], capture_output=True
        )
    if probe.returncode != 0:
        pytest.skip(f"small disk: no right to mount a tmpfs ({probe.stderr.decode().strip()})")
    done = subprocess.run(
        [*mount, command, "sh", size, str(folder), sys.executable, "-c", script],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout
