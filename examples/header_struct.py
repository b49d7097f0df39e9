"""The header of a binary file as a `ctypes.Structure` that lies on the mapped bytes.

Run:  python header_struct.py
"""

import ctypes

import emmap

FILE = "picture.bin"


class Header(ctypes.LittleEndianStructure):
    """Twelve bytes: a magic word, then the width and the height of a picture."""

    _fields_ = (
        ("magic", ctypes.c_char * 4),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
    )


def main() -> None:
    """Write a header into a new file by its fields, and read it back from the file."""
    width, height = 64, 48
    size = ctypes.sizeof(Header) + width * height
    with emmap.open(FILE, "w+", size=size) as mapping:
        header = mapping.struct(Header)
        header.magic = b"PICT"  # Each assignment is a store into the file.
        header.width = width
        header.height = height

    with emmap.open(FILE) as mapping:
        header = mapping.struct(Header)
        print(f"{header.magic.decode()}: {header.width} x {header.height}")
    with open(FILE, "rb") as file:
        print(f"in the file: {file.read(ctypes.sizeof(Header)).hex(' ')}")


if __name__ == "__main__":
    main()
