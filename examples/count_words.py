"""Count the words of a file, straight from its mapping.

Run:  python count_words.py FILE
      python count_words.py              (counts its own words)

A mapping is a bytes-like object, so a regular expression runs on it as it stands: nothing is
read into a buffer first, and a file larger than the memory is no problem.
"""

import re
import sys

import emmap

WORD = re.compile(rb"\S+")


def main() -> None:
    """Count and print."""
    file = sys.argv[1] if len(sys.argv) > 1 else __file__
    with emmap.open(file) as mapping:
        mapping.advise(emmap.Advice.SEQUENTIAL)
        words = sum(1 for _ in WORD.finditer(mapping))
    print(f"{words} words in {file}")


if __name__ == "__main__":
    main()
