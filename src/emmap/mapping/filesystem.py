"""Filesystems whose pages come from elsewhere: another machine, or another program (FUSE)."""

from __future__ import annotations

import os
import sys
import warnings

from emmap.errors import NetworkFilesystemWarning

# The types that fstatfs tells (linux/magic.h knows some, the filesystems' own sources the others).
NETWORK = {
    0x00006969: "NFS",
    0x0000517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x0000564C: "NCP",
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
    0x19830326: "BeeGFS",
    0x20030528: "OrangeFS",
    0xAAD7AAEA: "PanFS",
    0x786F4256: "a VirtualBox shared folder",
    0xBACBACBC: "a VMware shared folder",
}

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_warned: set[int] = set()


def warn_of_network(fd: int, name: str | None, kind: int) -> None:
    """Warns of a mapping on a network filesystem."""
    _warn_once(
        fd,
        f"{name or 'the mapped file'} lies on {NETWORK[kind]}. Whoever touches a page that is not "
        "here yet waits for it, with all threads of the process: populate() what you need, or walk "
        "the file by emmap.windows(), which reads it in large pieces. Changes that other machines "
        "make may not be seen, and locks and stores refuse such files.",
    )


def warn_of_copy(fd: int, name: str | None) -> None:
    """Warns of a file that was read where it should have been mapped."""
    _warn_once(
        fd,
        f"{name or 'the file'} lies on a filesystem that cannot map files, so it was read into "
        "memory: you see a copy as of now, which takes as much memory as it has bytes. Walk a "
        "large file by emmap.windows().",
    )


def _warn_once(fd: int, message: str) -> None:
    """Warns where the user's own code called, once for each filesystem of this process."""
    device = os.fstat(fd).st_dev
    if device in _warned:
        return
    level = 1
    while sys._getframe(level).f_code.co_filename.startswith(_PACKAGE):
        level += 1
    warnings.warn(message, NetworkFilesystemWarning, stacklevel=level + 1)
    _warned.add(device)  # after the warning: a filter may make an error of it, each time
