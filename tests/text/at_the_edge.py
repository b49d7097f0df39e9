"""Run by test_kernels.py: scans of bytes with a page on either side that may not be touched.

A kernel that reads a byte too many dies here of SIGSEGV. `python at_the_edge.py INSTRUCTION_SET`.
"""

import sys

import emmap
from emmap.text import kernels

PAGE = emmap.PAGESIZE
TEXT = ("Ab c\tdé 中\n😀 z\0" * 400).encode()
SAME = bytes(range(256))


def scan_all(m: emmap.MemoryMap, start: int, stop: int) -> None:
    """Every kernel, on one range."""
    kernels.count(m, 15, start, stop)
    for pattern in (b"z", b"not here", b"no" * 20):
        kernels.Needle(pattern).count(m, start, stop)
        kernels.Needle(pattern, ignore_case=True).count(m, start, stop)
    kernels.line_starts(m, 1, 1, start, stop)
    kernels.line_start(m, 10**6, start, stop)
    kernels.last_newline(m, start, stop)
    kernels.translate(m, SAME.upper(), start, stop)


def main() -> None:
    """Ranges of each length up to 600, right behind a forbidden page and right before one."""
    kernels.use_instruction_set(sys.argv[1])
    with emmap.anonymous(3 * PAGE) as m:
        for length in range(600):
            m[PAGE : PAGE + length] = TEXT[:length]
            m[2 * PAGE - length : 2 * PAGE] = TEXT[:length]
        m.protect(emmap.Protection.NONE, 0, PAGE)
        m.protect(emmap.Protection.NONE, 2 * PAGE, PAGE)
        for length in range(600):
            scan_all(m, PAGE, PAGE + length)
            scan_all(m, 2 * PAGE - length, 2 * PAGE)
    print("done")


if __name__ == "__main__":
    main()
