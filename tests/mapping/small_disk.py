"""Runs a script on a small filesystem that fills up, in a mount namespace of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The script's working directory is $1, and $2 the size of what is mounted there.
MOUNT = {
    "tmpfs": 'mount -t tmpfs -o size="$2" tmpfs "$1"',
    "ext4": 'truncate -s "$2" "$1.img"; mkfs.ext4 -q -F "$1.img"; mount -o loop "$1.img" "$1"',
}


def run_on_small_disk(script: str, folder: Path, size: str, filesystem: str = "tmpfs") -> str:
    """The output of a Python script whose working directory is a filesystem of this size.

    Skips the test where the machine does not let us mount one.
    """
    if shutil.which("unshare") is None:
        pytest.skip("small disk: util-linux's unshare is not installed")
    command = f'PATH="$PATH:/sbin:/usr/sbin"; {MOUNT[filesystem]}; cd "$1"; shift 2; "$@"'
    # A plain user may mount in a namespace where he is root; loop devices are for the real root.
    for user in (["--user", "--map-root-user"], []):
        start = ["unshare", *user, "--mount", "sh", "-ec", command, "sh", str(folder), size]
        probe = subprocess.run([*start, "true"], capture_output=True, text=True)
        if probe.returncode == 0:
            break
    else:
        pytest.skip(f"small disk: no right to mount {filesystem} ({probe.stderr.strip()})")
    done = subprocess.run([*start, sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout
