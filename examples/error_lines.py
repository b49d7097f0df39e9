"""The errors in a large log, with their line numbers.

Run:  python error_lines.py LOG
      python error_lines.py              (makes a log of its own)

The log is mapped, not read: lines without the word cost no Python at all, and only the lines that
have it are given to the regular expression, each by itself. A line is numbered when asked for.
"""

import re
import sys

import emmap

ERROR = re.compile(rb"\bERROR\b.*")


def make_log(path: str) -> None:
    """Write a log in which little goes wrong."""
    with open(path, "w") as log:
        for number in range(1, 200_001):
            level = "ERROR no answer" if number % 70_000 == 0 else "INFO done"
            log.write(f"request {number}: {level}\n")


def main() -> None:
    """Print each error line with its number, and the lines before and after the first."""
    path = sys.argv[1] if len(sys.argv) > 1 else "server.log"
    if len(sys.argv) == 1:
        make_log(path)
    numbers = []
    for hit in emmap.grep(ERROR, path):
        numbers.append(hit.number)
        print(f"{path}:{hit.number}: {hit.line.decode(errors='replace')}")
    if numbers:
        with emmap.lines(path) as lines:
            print("around the first:")
            for line in lines[max(numbers[0] - 2, 0) : numbers[0] + 1]:
                print(f"  {line.decode(errors='replace')}")


if __name__ == "__main__":
    main()
