"""What the kernels of text shall find, in the plainest Python."""

from __future__ import annotations

PRINTABLE = frozenset(range(0x21, 0x7F))
WHITE = frozenset(b" \t\n\v\f\r")


def words(data: bytes) -> int:
    """As `wc -w` in the C locale."""
    found, is_open = 0, False
    for byte in data:
        if byte in PRINTABLE and not is_open:
            found, is_open = found + 1, True
        elif byte in WHITE:
            is_open = False
    return found


def longest(data: bytes) -> int:
    """As `wc -L` in the C locale."""
    found = column = 0
    for byte in data:
        if byte in b"\n\f\r":
            column = 0
        elif byte == 9:
            column = column // 8 * 8 + 8
        elif byte in PRINTABLE or byte == 32:
            column += 1
        found = max(found, column)
    return found


def encoding(data: bytes, at: int) -> int:
    """The length of the encoding that begins at an offset, by the number it stands for; or 0."""
    lead = data[at]
    if lead < 0x80:
        return 1
    ones = f"{lead:08b}".find("0")
    if ones == -1 or not 2 <= ones <= 6 or len(data) - at < ones:
        return 0
    code = lead & (0x7F >> ones)
    for byte in data[at + 1 : at + ones]:
        if byte >> 6 != 2:
            return 0
        code = code << 6 | byte & 0x3F
    least = (0x80, 0x800, 0x10000, 0x200000, 0x4000000)[ones - 2]
    return 0 if code < least or 0xD800 <= code < 0xE000 else ones


def characters(data: bytes, stop: int | None = None) -> int:
    """As `wc -m` in C.UTF-8, of the characters that begin before `stop`."""
    return sum(encoding(data, at) > 0 for at in range(len(data) if stop is None else stop))


def lower(data: bytes) -> bytes:
    """With ASCII letters in lower case."""
    return bytes(byte | 0x20 if 65 <= byte <= 90 else byte for byte in data)


def occurrences(needle: bytes, data: bytes) -> list[int]:
    """The offsets at which the needle lies, without overlaps."""
    found, at = [], 0
    while at + len(needle) <= len(data):
        if all(data[at + i] == needle[i] for i in range(len(needle))):
            found.append(at)
            at += len(needle)
        else:
            at += 1
    return found


def line_starts(data: bytes) -> list[int]:
    """The offsets behind newlines."""
    return [at + 1 for at, byte in enumerate(data) if byte == 10]
