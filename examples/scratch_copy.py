"""A private mapping as a scratch copy: change it at will, the file stays as it is.

Run:  python scratch_copy.py

The kernel copies a page when it is first written (copy-on-write), so a scratch copy of a huge
file costs only the pages that are changed.
"""

import emmap

FILE = "words.txt"


def main() -> None:
    """Sort the words of a file in a scratch copy, and show both."""
    with open(FILE, "wb") as file:
        file.write(b"pear fig apple kiwi plum")

    with emmap.open(FILE, "c") as scratch:
        scratch[:] = b" ".join(sorted(scratch[:].split()))
        print("in the scratch copy:", scratch[:].decode())

    with open(FILE, "rb") as file:
        print("in the file:        ", file.read().decode())


if __name__ == "__main__":
    main()
