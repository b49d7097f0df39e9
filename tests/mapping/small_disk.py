"""Runs a script on a small filesystem that fills up, in a mount namespace of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = str(Path(__file__).parent.parent)

# Shell commands that mount a filesystem of $2 bytes at the folder $1, and go there.
TMPFS = 'mount -t tmpfs -o size="$2" tmpfs "$1"; cd "$1"'
EXT4 = 'truncate -s "$2" "$1.img"; mkfs.ext4 -q -F "$1.img"; mount -o loop "$1.img" "$1"; cd "$1"'
# Two layers, of which the lower one has a file "file" of 100 bytes.
OVERLAY = """
mkdir lower {upper} {upper}/work {upper}/upper merged
head -c 100 /dev/zero | tr '\\000' x > lower/file
mount -t overlay -o lowerdir=lower,upperdir={upper}/upper,workdir={upper}/work overlay merged
cd merged
"""
MOUNT = {
    "tmpfs": TMPFS,
    "ext4": EXT4,
    "overlay": TMPFS + OVERLAY.format(upper="upper"),
    "overlay over another filesystem": 'mkdir "$1/below" "$1/above"; '
    + TMPFS.replace('"$1"', '"$1/above"')
    + '; cd "$1/below"'
    + OVERLAY.format(upper="../above/upper"),
}


def run_on_small_disk(script: str, folder: Path, size: str, filesystem: str = "tmpfs") -> str:
    """The output of a Python script whose working directory is a filesystem of this size.

    Its first argument is the folder of the tests. Skips the test where the machine does not let us
    mount one.
    """
    if shutil.which("unshare") is None:
        pytest.skip("small disk: util-linux's unshare is not installed")
    command = f'PATH="$PATH:/sbin:/usr/sbin"; {MOUNT[filesystem]}\nshift 2; "$@"'
    # A plain user may mount in a namespace where he is root; loop devices are for the real root.
    for number, user in enumerate((["--user", "--map-root-user"], [])):
        place = folder / f"disk{number}"
        place.mkdir()
        start = ["unshare", *user, "--mount", "sh", "-ec", command, "sh", str(place), size]
        probe = subprocess.run([*start, "true"], capture_output=True, text=True)
        if probe.returncode == 0:
            break
    else:
        pytest.skip(f"small disk: no right to mount {filesystem} ({probe.stderr.strip()})")
    shutil.rmtree(place)
    place.mkdir()
    run = [*start, sys.executable, "-c", script, TESTS]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout
