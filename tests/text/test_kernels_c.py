"""The C of the kernels by itself: its test program, built under the sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "c"
CORE = Path(__file__).parents[2] / "src" / "emmap" / "text"
# With less optimising than users have, for the sake of the compiler's time.
FLAGS = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def compiler() -> str:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    pytest.skip("no C compiler is installed")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def test_kernels(compiler: str, tmp_path: Path) -> None:
    command = [compiler, *FLAGS, *SANITIZERS]
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    if run(*command, str(empty), "-o", str(tmp_path / "empty")).returncode:
        pytest.skip("the compiler has no runtime for the address sanitizer")
    binary = tmp_path / "kernels"
    sources = sorted(str(path) for path in CORE.glob("*.c"))
    built = run(*command, *sources, str(HERE / "kernels.c"), "-o", str(binary))
    assert built.returncode == 0, built.stdout
    done = run(str(binary))
    assert done.returncode == 0, done.stdout
    assert "portable: ok" in done.stdout
