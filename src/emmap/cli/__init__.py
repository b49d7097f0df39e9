"""The commands of `emmap`, one module each, loaded when they are asked for."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

COMMANDS = ("byte", "cat", "peek", "poke", "tour", "upper")


class LazyGroup(click.Group):
    """A group that imports the module of a command only when that command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"emmap.cli.{cmd_name}").command
        return command


@click.group("emmap", cls=LazyGroup)
@click.version_option(package_name="emmap")
def commands() -> None:
    """Memory-mapped files: look at them, change them, and see what the kernel does.

    \b
    Example:
      emmap tour
    """


def run() -> int:
    """Run the command line of this process and return its exit code."""
    # Python ignores SIGPIPE; the Unix tools die by it silently, and so do we.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.stdout is None:
        click.echo("emmap: standard output is closed", err=True)
        return 1
    code = 0
    try:
        try:
            commands(prog_name="emmap")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
    except OSError as error:
        # Commands report their files themselves, so this is standard output: a full disk, say.
        # What is still buffered must go somewhere, or Python tries again as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"emmap: write error: {error.strerror or error}", err=True)
        code = 1
    return code
