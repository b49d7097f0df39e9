"""The commands of `emmap`, one module each, loaded when they are asked for."""

from __future__ import annotations

import os
import signal
import sys

COMMANDS = ("byte", "cat", "grep", "lines", "peek", "poke", "tour", "upper", "wc")

# The commands that read their arguments themselves, and need neither click nor rich: importing
# click takes as long as counting the lines and words of 300 MB.
PLAIN = ("wc",)


def run() -> int:
    """Run the command line of this process and return its exit code."""
    # Python ignores SIGPIPE; the Unix tools die by it silently, and so do we.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.stdout is None:
        print("emmap: standard output is closed", file=sys.stderr)
        return 1
    code = 0
    try:
        try:
            code = dispatch(sys.argv[1:])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
    except OSError as error:
        # Commands report their files themselves, so this is standard output: a full disk, say.
        # What is still buffered must go somewhere, or Python tries again as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"emmap: write error: {error.strerror or error}", file=sys.stderr)
        code = 1
    return code


def dispatch(arguments: list[str]) -> int:
    """Run the command that the arguments begin with, and return its exit code."""
    if arguments[:1] == ["wc"]:
        from emmap.cli import wc

        return wc.main(arguments[1:])
    from emmap.cli.group import commands

    commands(arguments, prog_name="emmap")
    return 0
