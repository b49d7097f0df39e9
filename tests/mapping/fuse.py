"""A FUSE filesystem in plain Python, on which a script runs: the kernel's own, without libfuse.

It has two files of SIZE bytes: `mapped`, and `direct`, which the kernel does not let anybody map to
share, and which knows no fstatfs. The server speaks the protocol of linux/fuse.h over /dev/fuse.
"""

import ctypes
import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

SIZE = 10_000_000
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)
NODES = {b"mapped": 2, b"direct": 3}

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 17, 18, 25, 26
BATCH_FORGET = 42
DIRECT_IO, MAX_PAGES = 1, 1 << 22


def run_on_fuse(script: str, folder: Path) -> str:
    """The output of a Python script whose working directory is the filesystem.

    The line after it is the size of the largest read that the kernel asked for. Skips the test
    where the machine does not let us mount one.
    """
    if shutil.which("unshare") is None:
        pytest.skip("FUSE: util-linux's unshare is not installed")
    for user in (["--user", "--map-root-user"], []):
        start = ["unshare", *user, "--mount", sys.executable, __file__, str(folder)]
        probe = subprocess.run([*start, "pass"], capture_output=True, text=True)
        if probe.returncode == 0:
            break
    else:
        pytest.skip(f"FUSE: no right to mount ({probe.stderr.strip()[-200:]})")
    done = subprocess.run([*start, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o444
    size = 0 if node == 1 else SIZE
    # No blocks are told, no times, no owner but root.
    return struct.pack("<2Q44x2I12x2I", node, size, mode, 1, 4096, 0)


class Server:
    """Answers the kernel's requests, one by one."""

    largest = 0

    def __init__(self, device: int) -> None:
        self.device = device

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.device, 1 << 21)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # a request that was taken back
                    continue
                return
            _, operation, unique, node = struct.unpack_from("<IIQQ", request)
            if operation in (FORGET, BATCH_FORGET):
                continue
            answer = self.answer(operation, node, request[40:])
            head, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), head, unique) + body)

    def answer(self, operation: int, node: int, body: bytes) -> bytes | int:
        """What a request gets: the bytes, or an errno."""
        if operation == INIT:
            # The version, the read-ahead, flags, background requests, the largest write, the
            # granularity of time, and the pages in a request: 1 MiB.
            return struct.pack("<4I2H2I2H32x", 7, 31, 1 << 20, MAX_PAGES, 12, 9, 1 << 20, 1, 256, 0)
        if operation == LOOKUP:
            found = NODES.get(body.rstrip(b"\0"))
            if found is None:
                return errno.ENOENT
            return struct.pack("<QQQQII", found, 0, 3600, 3600, 0, 0) + attributes(found)
        if operation == GETATTR:
            return struct.pack("<QII", 3600, 0, 0) + attributes(node)
        if operation == OPEN:
            return struct.pack("<QII", 0, DIRECT_IO if node == NODES[b"direct"] else 0, 0)
        if operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.largest = max(self.largest, size)
            return CONTENT[offset : min(offset + size, SIZE)]
        if operation == STATFS and node == NODES[b"mapped"]:
            return bytes(80)
        return b"" if operation in (RELEASE, FLUSH) else errno.ENOSYS


def main() -> None:
    """Mount the filesystem in this namespace, and run the script on it."""
    folder, script = sys.argv[1:]
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"emmap", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    server = Server(device)
    threading.Thread(target=server.serve, daemon=True).start()
    code = subprocess.run([sys.executable, "-P", "-c", script], cwd=folder).returncode
    print(server.largest)
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
