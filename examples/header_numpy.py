"""The header of a binary file as a NumPy dtype, and the data behind it as an array.

Run:  python header_numpy.py             (needs NumPy: pip install 'emmap[numpy]')

Both arrays are views of the mapped bytes. Nothing is copied, whatever the size of the file.
"""

import numpy as np

import emmap

FILE = "picture.bin"
HEADER = np.dtype([("magic", "S4"), ("width", "<u4"), ("height", "<u4")])


def main() -> None:
    """Write a picture with its header through arrays, and read it back."""
    width, height = 64, 48
    with emmap.open(FILE, "w+", size=HEADER.itemsize + width * height) as mapping:
        header = mapping.array(HEADER, shape=1)
        header[0] = (b"PICT", width, height)
        pixels = mapping.array("u1", shape=(height, width), offset=HEADER.itemsize)
        pixels[:] = np.arange(width)  # Each row is a ramp from dark to bright.

    with emmap.open(FILE) as mapping:
        (header,) = mapping.array(HEADER, shape=1)
        shape = (header["height"], header["width"])
        pixels = mapping.array("u1", shape=shape, offset=HEADER.itemsize)
        print(f"{header['magic'].decode()}: {shape[1]} x {shape[0]}, mean {pixels.mean()}")


if __name__ == "__main__":
    main()
