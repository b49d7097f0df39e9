"""Another process, which does what it is told."""

import pickle
import subprocess
import sys
from typing import Any

PROGRAM = """
import pickle, sys
names = {}
exec("import emmap, os", names)
out = sys.stdout.buffer
sys.stdout = sys.stderr
for line in sys.stdin:
    code = eval(line)
    try:
        try:
            answer = eval(code, names)
        except SyntaxError:
            answer = exec(code, names)
    except Exception as error:
        answer = error
    pickle.dump(answer, out)
    out.flush()
"""


class Peer:
    """A Python process of its own, unrelated to this one but for a pipe.

    `peer("code")` evaluates (or executes) the code there and gives the value; an exception that it
    raises there is raised here.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def begin(self, code: str) -> None:
        """Sends the code, and does not wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{code!r}\n".encode())
        self.process.stdin.flush()

    def end(self) -> Any:
        """The answer to what was begun."""
        assert self.process.stdout is not None
        answer = pickle.load(self.process.stdout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __call__(self, code: str) -> Any:
        self.begin(code)
        return self.end()

    def kill(self) -> None:
        """kill -9, and waits for the end."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
