"""The `emmap` command, also reached by ``python -m emmap``."""

from __future__ import annotations

import sys

from emmap.cli import PLAIN, run


def main() -> None:
    """Run the command line; where click or rich is missing, say which extra brings it."""
    if not set(PLAIN).intersection(sys.argv[1:2]):
        try:
            import click  # noqa: F401
            import rich  # noqa: F401
        except ModuleNotFoundError as error:
            print(
                f"emmap: the commands need {error.name}, which is not installed; "
                "get it by: pip install 'emmap[cli]'",
                file=sys.stderr,
            )
            sys.exit(2)
    sys.exit(run())


if __name__ == "__main__":
    main()
