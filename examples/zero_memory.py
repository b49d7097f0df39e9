"""Memory without a file: anonymous, and the classic way by /dev/zero.

Run:  python zero_memory.py

Either begins as zeros, and a page of it takes memory only once it has been written.
"""

import emmap

SIZE = 1 << 20


def main() -> None:
    """Take a mebibyte each way, and show that it is zeros until written."""
    with emmap.anonymous(SIZE) as memory:
        print("anonymous:", len(memory), "bytes, all zero:", not any(memory[:]))
        memory[:5] = b"hello"
        print("written:  ", memory[:8])

    with emmap.open("/dev/zero", "c", length=SIZE) as zeros:
        print("/dev/zero:", len(zeros), "bytes, all zero:", not any(zeros[:]))
        zeros[-5:] = b"world"
        print("written:  ", zeros[-8:])


if __name__ == "__main__":
    main()
