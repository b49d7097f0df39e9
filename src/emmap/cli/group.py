"""The group of all commands, as click sees them."""

from __future__ import annotations

import importlib

import click

from emmap.cli import COMMANDS, PLAIN


class LazyGroup(click.Group):
    """A group that imports the module of a command only when that command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"emmap.cli.{cmd_name}")
        if cmd_name in PLAIN:
            return PlainCommand(cmd_name, short_help=module.SHORT_HELP, callback=module.main)
        command: click.Command = module.command
        return command


class PlainCommand(click.Command):
    """A command that reads its arguments itself, `--help` too: its callback gets them all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave the arguments as they are."""
        ctx.args = args
        return args

    def invoke(self, ctx: click.Context) -> None:
        """Run the command and exit with what it returns."""
        assert self.callback is not None
        ctx.exit(self.callback(ctx.args))


@click.group("emmap", cls=LazyGroup)
@click.version_option(package_name="emmap")
def commands() -> None:
    """Memory-mapped files: look at them, change them, and see what the kernel does.

    \b
    Example:
      emmap tour
    """
