"""The command line of the benchmarks.

python -m benchmarks                            lists them
python -m benchmarks mapping                    runs one and prints its table
python -m benchmarks mapping --quick --record   runs it briefly, and keeps the figures
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from pathlib import Path

from benchmarks import harness

FOLDER = Path(__file__).parent
QUICK_SECONDS, FULL_SECONDS = 0.4, 4.0


def benchmark_names() -> list[str]:
    """The modules of this folder that ask questions: not the harness, nor parts, as store_peers."""
    names = {path.stem for path in FOLDER.glob("*.py")} - {"harness"}
    return sorted(name for name in names if "_" not in name)


def list_benchmarks() -> None:
    """Print each benchmark with the first line of its docstring."""
    for name in benchmark_names():
        docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""
        print(f"{name:10} {docstring.splitlines()[0]}")


def main() -> None:
    """Run the benchmarks that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure emmap.")
    parser.add_argument("name", nargs="?", choices=benchmark_names(), help="which; none: list them")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument(
        "--record", action="store_true", help="keep the figures in benchmarks/record"
    )
    arguments = parser.parse_args()
    if arguments.name is None:
        list_benchmarks()
        return
    machine = harness.machine()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    results = []
    for question in importlib.import_module(f"benchmarks.{arguments.name}").questions():
        result = harness.ask(question, QUICK_SECONDS if arguments.quick else FULL_SECONDS)
        print(f"\n{harness.table(result)}")
        sys.stdout.flush()
        results.append(result)
    print("\nWhat is promised:")
    for result in results:
        if verdict := harness.verdict(result):
            print(f"  {verdict}")
    if arguments.record:
        target = harness.record(FOLDER / "record", arguments.name, machine, results)
        print(f"\nrecorded in {target.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main()
