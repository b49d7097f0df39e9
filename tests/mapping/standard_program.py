"""A program written for the standard `mmap`: it indexes an access log by visitor.

    python standard_program.py LOG INDEX

The index is a hash table of fixed records in a file, which is mapped and grows as it fills. The
tests run the program twice, with `mmap.mmap` and with `emmap.MemoryMap` in its place.
"""

import mmap
import os
import re
import struct
import sys
import zlib

HEADER = struct.Struct("<8sII")  # magic, records in use, records in all
RECORD = struct.Struct("<16sIIQ")  # visitor, visits, offset of the last line + 1, bytes sent
MAGIC = b"VISITORS"
LINE = re.compile(rb"(?m)^(\S+) (GET|PUT) (\S+) (\d{3}) (\d+)$")


class Index:
    def __init__(self, path: str) -> None:
        new = not os.path.exists(path)
        with open(path, "w+b" if new else "r+b") as file:
            if new:
                file.truncate(HEADER.size + 4 * RECORD.size)
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE)
        if new:
            self.map.write(HEADER.pack(MAGIC, 0, 4))
        self.map.seek(0)
        magic, self.used, self.total = HEADER.unpack(self.map.read(HEADER.size))
        if magic != MAGIC or len(self.map) != self.place(self.total):
            raise SystemExit(f"{path} is no index")

    def place(self, number: int) -> int:
        return HEADER.size + number * RECORD.size

    def find(self, visitor: bytes) -> int:
        """The offset of the visitor's record, or of the empty one where it belongs."""
        number = zlib.crc32(visitor) % self.total
        while True:
            offset = self.place(number)
            name = self.map[offset : offset + 16].rstrip(b"\0")
            if name in (visitor, b""):
                return offset
            number = (number + 1) % self.total

    def count(self, visitor: bytes, line: int, size: int) -> None:
        offset = self.find(visitor)
        _, visits, _, sent = RECORD.unpack_from(self.map, offset)
        RECORD.pack_into(self.map, offset, visitor, visits + 1, line + 1, sent + size)
        if not visits:
            self.used += 1
            self.map[: HEADER.size] = HEADER.pack(MAGIC, self.used, self.total)
            if self.used * 4 > self.total * 3:
                self.grow()

    def records(self) -> list[tuple[bytes, int, int, int]]:
        with memoryview(self.map) as view, view[HEADER.size :] as body:
            return [record for record in RECORD.iter_unpack(body) if record[1]]

    def grow(self) -> None:
        records = self.records()
        self.total *= 2
        self.map.resize(self.place(self.total))
        self.map[HEADER.size :] = bytes(self.total * RECORD.size)
        self.map[: HEADER.size] = HEADER.pack(MAGIC, self.used, self.total)
        for record in records:
            RECORD.pack_into(self.map, self.find(record[0].rstrip(b"\0")), *record)

    def sort(self) -> None:
        """Move the records to the front, the busiest first, and give the rest of the file back."""
        records = sorted(self.records(), key=lambda record: (-record[1], record[0]))
        self.map.seek(HEADER.size)
        for record in records:
            self.map.write(RECORD.pack(*record))
        self.map.resize(self.map.tell())
        self.finish(len(records))

    def finish(self, used: int) -> None:
        self.used = self.total = used
        self.map[: HEADER.size] = HEADER.pack(b"FINISHED", used, used)
        self.map.flush()

    def drop_first(self, count: int) -> None:
        length = len(self.map) - self.place(count)
        self.map.move(HEADER.size, self.place(count), length)
        self.map.resize(HEADER.size + length)
        self.finish(self.used - count)


def index_log(log: mmap.mmap, index: Index) -> None:
    for found in LINE.finditer(log):
        visitor, _, _, status, size = found.groups()
        if status != b"404":
            index.count(visitor, found.start(), int(size))


def report(log: mmap.mmap, index: Index) -> None:
    print(f"{len(log)} bytes of log, {index.used} visitors in {index.total} records")
    for visitor, visits, line, sent in index.records()[:5]:
        log.seek(line - 1)
        last = log.readline().rstrip().decode()
        print(f"{visitor.rstrip(bytes(1)).decode():16}{visits:6}{sent:10}  {last}")
    missed = log.rfind(b" 404 ", 0)
    start = log.rfind(b"\n", 0, missed) + 1
    print("last miss:", log[start : log.find(b"\n", missed)].decode())
    print("every tenth byte of it:", log[start : start + 60 : 10], "backwards:", log[-2:-9:-1])
    log.seek(0)
    print("lines:", sum(1 for _ in iter(log.readline, b"")), "newline:", b"\n" in log)


def without_names(path: str) -> None:
    """A scratch copy of the log, its visitors' names struck out; the file keeps them."""
    with open(path, "rb") as file:
        scratch = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    with scratch:
        for found in [match.span(1) for match in LINE.finditer(scratch)]:
            scratch[slice(*found)] = b"*" * (found[1] - found[0])
        print("struck out:", scratch.readline(), zlib.crc32(scratch), scratch.read_byte())


def main(log_path: str, index_path: str) -> None:
    index = Index(index_path)
    with open(log_path, "rb") as file:
        log = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with log, index.map:
        index_log(log, index)
        index.sort()
        report(log, index)
        index.drop_first(3)
        print("left:", index.used, index.records()[0][0].rstrip(b"\0"), index.map.find(MAGIC, 0))
        try:
            log[0] = 0
        except TypeError:
            print("the log may not be written")
    without_names(log_path)
    try:
        len(log)
    except ValueError:
        print("the log is closed")
    shared = mmap.mmap(-1, 1 << 16)
    shared.write(b"anonymous memory as scratch")
    print(shared[:27], shared.find(b"memory", 0), len(shared), shared.closed)
    shared.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
