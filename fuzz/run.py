"""Builds the harness of the store and runs it: see README.md."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "src" / "emmap"
CORE = (
    *(PACKAGE / "mapping" / f"{name}.c" for name in ("lost", "fault", "length", "system")),
    *(PACKAGE / "locks" / f"{name}.c" for name in ("life", "alive", "place", "wait", "lock")),
    *sorted((PACKAGE / "store").glob("*.c")),
)
ROOMS = [f"-I{PACKAGE / room}" for room in ("store", "locks", "mapping")]
FLAGS = ["-std=c11", "-O1", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["address", "undefined"]

# Patches know what to put where: comparisons that are traced would only make it slow.
COVERAGE = ["-fno-sanitize-coverage=trace-cmp"]

# An allocation that a file's number has made too large shows as an error, not as a slow machine.
OPTIONS = {
    "ASAN_OPTIONS": "max_allocation_size_mb=256:handle_abort=1:quarantine_size_mb=16",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


def compiler_of(kind: str) -> str | None:
    """The compiler for a kind of run; None where the machine has none."""
    names = ("clang",) if kind == "libfuzzer" else (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def build(kind: str, folder: Path) -> Path:
    """The program for such a run."""
    compiler = compiler_of(kind)
    if compiler is None:
        raise SystemExit(f"no C compiler for {kind}")
    sanitizers = ",".join([*SANITIZERS, *(["fuzzer"] if kind == "libfuzzer" else [])])
    sources = [HERE / "store_fuzz.c", *CORE]
    if kind == "random":
        sources.append(HERE / "store_random.c")
    program = folder / f"store_{kind}"
    command = [compiler, *FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", *ROOMS]
    if kind == "libfuzzer":
        command += COVERAGE
    subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True)
    return program


def run(kind: str, program: Path, folder: Path, args: argparse.Namespace) -> int:
    """Runs it, and says how to come back to an input that it did not like."""
    if kind == "random":
        last = args.again or folder / "last"
        command = [str(program), str(last)]
        if not args.again:
            command += [str(args.rounds or 0), str(args.seconds or 0), str(args.seed)]
    elif args.again:
        last, command = args.again, [str(program), str(args.again)]
    else:
        last = folder / "found-"
        limit = f"-runs={args.rounds}" if args.rounds else f"-max_total_time={args.seconds}"
        command = [str(program), limit, f"-seed={args.seed}", "-timeout=20", "-rss_limit_mb=1024"]
        command += ["-max_len=402", f"-artifact_prefix={last}", "-print_final_stats=1"]
        if args.corpus:
            args.corpus.mkdir(parents=True, exist_ok=True)
            command.append(str(args.corpus))
    status = subprocess.run(command, env={**os.environ, **OPTIONS}, check=False).returncode
    if status != 0:
        print(f"seed {args.seed}: {command[0]} ended with {status}; its input: {last}*")
    return status


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("random", "libfuzzer"))
    parser.add_argument("--rounds", type=int, help="so many inputs")
    parser.add_argument("--seconds", type=int, help="or for so long (60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--corpus", type=Path, help="inputs that libFuzzer has found worth keeping")
    parser.add_argument("--again", type=Path, help="run one input again")
    parser.add_argument("--folder", type=Path, help="for what is built and found (a new one)")
    args = parser.parse_args()
    if not args.rounds and not args.seconds:
        args.seconds = 60
    folder = args.folder or Path(tempfile.mkdtemp(prefix="emmap-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    status = run(args.kind, build(args.kind, folder), folder, args)
    if status == 0 and not args.folder:
        shutil.rmtree(folder)
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
