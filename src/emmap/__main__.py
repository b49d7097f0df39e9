"""The `emmap` command, also reached by ``python -m emmap``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without click and rich, say which extra brings them."""
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
    from emmap.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
