"""A random number is written to a mapped file by one program, and doubled by another.

Run:  python double_number.py             (both programs, one after the other)
      python double_number.py write       (only the first)
      python double_number.py double      (only the second)
"""

import random
import struct
import subprocess
import sys

import emmap

FILE = "number.bin"
NUMBER = struct.Struct("<q")


def write() -> None:
    """Create the file with room for one number, and put a random one there."""
    number = random.randrange(1_000_000)
    with emmap.open(FILE, "w+", size=NUMBER.size) as mapping:
        NUMBER.pack_into(mapping, 0, number)
    print(f"wrote   {number}")


def double() -> None:
    """Read the number that lies in the file and put its double in its place."""
    with emmap.open(FILE, "r+") as mapping:
        (number,) = NUMBER.unpack_from(mapping)
        NUMBER.pack_into(mapping, 0, 2 * number)
    print(f"doubled {number} to {2 * number}")


ROLES = {"write": write, "double": double}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        ROLES[sys.argv[1]]()
    else:
        for role in ROLES:
            subprocess.run([sys.executable, __file__, role], check=True)
