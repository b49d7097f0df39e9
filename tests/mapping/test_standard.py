"""Every method of the standard `mmap.mmap`, run on it and on `emmap.MemoryMap` side by side.

The tables below hold small programs, their statements separated by ";". Each program runs on a
mapping `m` of either class over equal files. Every statement must give the same result, or raise an
exception that code written for the standard class would catch; the positions, the bytes mapped and
the files left behind must be equal too.
"""

import bisect
import hashlib
import io
import itertools
import mmap
import operator
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emmap

PAGE = mmap.PAGESIZE
TEXT = b"the first line\nthe second\n\n\x00\xff a tail without meaning\n"
CONTENT = (TEXT * PAGE)[: 2 * PAGE + 37]

KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "read": {"access": mmap.ACCESS_READ},
    "write": {"access": mmap.ACCESS_WRITE},
    "copy": {"access": mmap.ACCESS_COPY},
    "private": {"flags": mmap.MAP_PRIVATE},
    "protected": {"prot": mmap.PROT_READ},
    "private and protected": {"flags": mmap.MAP_PRIVATE, "prot": mmap.PROT_READ},
    "from an offset": {"offset": PAGE},
    "a part": {"length": 100},
    "a part from an offset": {"length": PAGE + 1, "offset": PAGE},
    "anonymous": {"fileno": -1, "length": len(CONTENT)},
    "anonymous and private": {"fileno": -1, "length": 100, "flags": mmap.MAP_PRIVATE},
}

READING = """
len(m); bool(m); m.closed; m.tell()
m.size()
m.read(); m.tell(); m.read()
m.read(5); m.read(5); m.tell()
m.read(0); m.tell()
m.read(-1); m.read(-2)
m.read(None); m.read(None)
m.read(10**9); m.tell()
m.readline(); m.readline(); m.readline(); m.readline(); m.tell()
go(m, -3, 2); m.readline(); m.readline()
go(m, 30); [m.readline() for _ in range(len(m) // 10)]
m.read_byte(); m.read_byte(); m.tell()
go(m, 0, 2); m.read_byte(); m.tell()
go(m, 5); go(m, 0); go(m, 7, 0); go(m, 3, 1); go(m, -4, 1); go(m, -6, 2); go(m, 0, os.SEEK_END)
go(m, len(m)); go(m, len(m) + 1); go(m, 1, 1); go(m, 1, 2); m.tell()
go(m, -1); go(m, -1, 1); go(m, -len(m) - 1, 2); go(m, 2**62); m.tell()
go(m, 0, 3); go(m, 0, 4); go(m, 0, -1); go(m, 0, 99)
go(m, 9); go(m, 0, 1); m.read_byte(); go(m, 2**62, 1); m.tell()
m.find(b"line"); m.tell(); m.rfind(b"line"); m.tell()
m.find(b"line", 11); m.find(b"line", 10); m.find(b"line", 10, 13); m.find(b"line", 10, 14)
m.find(b"line", -40); m.find(b"line", -40, -1); m.find(b"line", -10**9, 10**9)
m.rfind(b"line", 11); m.rfind(b"line", 0, 13); m.rfind(b"line", 0, 14); m.rfind(b"line", 10, 14)
m.rfind(b"line", -40); m.rfind(b"line", 0, -40); m.rfind(b"line", -10**9, 10**9)
m.find(b"line", 10**9); m.rfind(b"line", 10**9)
go(m, 12); m.find(b"line"); m.rfind(b"line"); m.find(b"the"); m.rfind(b"the", 0); m.tell()
m.find(b""); m.find(b"", 7); m.find(b"", 10**9); m.find(b"", 9, 4); m.find(b"", -3)
m.rfind(b""); m.rfind(b"", 7); m.rfind(b"", 0, 7); m.rfind(b"", 9, 4); m.rfind(b"", -3)
m.find(m[:]); m.rfind(m[:]); m.find(m[:] + b"x"); m.find(b"nowhere"); m.rfind(b"nowhere")
m.find(bytearray(b"line")); m.find(memoryview(b"line")); m.rfind(memoryview(b"outlines")[3:7])
m.find(m[-9:]); m.rfind(m[:9]); m.find(b"\\x00\\xff"); m.rfind(b"\\n"); m.find(b"\\n\\n\\x00")
m.read(Index(3)); m.find(b"n", Index(2), Index(99)); go(m, Index(-4), Index(2)); m.read_byte()
m.madvise(Index(mmap.MADV_NORMAL), Index(0), Index(5)); m.flush(Index(0), Index(5))
m[0]; m[-1]; m[len(m) - 1]; m[-len(m)]; m[True]; m[Index(5)]; m[Index(1):Index(5)]
m[len(m)]
m[-len(m) - 1]
m[10**6]
m[:]; m[3:9]; m[-9:-3]; m[9:3]; m[::-1]; m[::3]; m[20:2:-5]; m[5:10**9]; m[::10**9]
m[::0]
list(m)[:30]; len(list(m)); [*m] == list(m[i:i + 1] for i in range(len(m)))
list(reversed(m))[:30]; next(reversed(m)); type(next(iter(m)))
b"t" in m; b"\\xff" in m; b"Z" in m; b"the" in m; b"" in m; "t" in m; 116 in m; None in m
operator.indexOf(m, b"s"); operator.countOf(m, b"t"); operator.length_hint(m); max(m)
operator.indexOf(m, b"Z")
bisect.bisect_left(m, b"t", 0, 3); bisect.bisect(m, b"a", 0, 1)
m == m; m != m; m == m[:]; m == None; hash(m) == hash(m); {m: 1}[m]; m in {m}; m is m.__enter__()
m < m
m + b"x"
m * 2
m()
memoryview(m).format; memoryview(m).itemsize; memoryview(m).shape; memoryview(m).contiguous
memoryview(m).readonly; memoryview(m).nbytes; memoryview(m).tobytes(); memoryview(m).obj is m
memoryview(m)[3:9].tobytes(); memoryview(m)[::-2].tobytes(); memoryview(m)[4]; m == memoryview(m)
memoryview(m)[:96].cast("I").tolist(); memoryview(m)[:96].cast("d", (3, 4)).shape
bytes(m); bytearray(m); b"".join([m, m]); b"a" + m; str(m, "latin-1"); io.BytesIO(m).read(9)
int.from_bytes(m[:4], "big"); str(m[:9], "ascii"); hashlib.sha256(m).hexdigest(); bytes(m) == m
struct.unpack_from("<IHb", m, 3); struct.unpack("<8s", m[:8]); [*struct.iter_unpack("4s", m[:16])]
struct.unpack_from("<I", m, len(m) - 3)
re.search(rb"s(\\w+)", m).span(1); re.findall(rb"(?m)^the \\w+", m)[:4]; re.match(b"x", m)
[found.start() for found in re.finditer(b"line", m)][:9]; re.sub(rb"\\s", b"", m)[:50]
m.flush(); m.flush(0, 10); m.flush(0, 0); m.flush(0, len(m)); m.madvise(mmap.MADV_NORMAL)
m.madvise(mmap.MADV_SEQUENTIAL, 0); m.madvise(mmap.MADV_WILLNEED, 0, 50)
m.madvise(mmap.MADV_RANDOM, 0, 10**9); m.madvise(mmap.MADV_NORMAL, 0, 0); m[:9]
m.close(); m.closed; m.close(); m.closed
m.__exit__(None, None, None); m.closed
"""

WRITING = """
m.write(b"new bytes"); m.tell(); m.write(b""); m.write(bytearray(b"abc")); m.tell(); m[:20]
m.write(memoryview(b"nine bytes")[:4]); m.write(memoryview(bytes(8)).cast("d")); m.tell()
go(m, 90); m.write(b"x" * 10); m.tell()
go(m, -3, 2); m.write(b"abc"); m.write(b""); m.tell(); m.write(b"d"); m.tell()
go(m, -3, 2); m.write(b"four"); m.tell(); m.read()
m.write(b"x" * (len(m) + 1)); m.tell()
m.write_byte(7); m.write_byte(0); m.write_byte(255); m.write_byte(Index(5)); m.tell(); m[:5]
go(m, 0, 2); m.write_byte(1); m.tell()
m[0] = 65; m[-1] = 0; m[5] = 255; m[True] = 9; m[Index(6)] = Index(7); m[:9]
m[len(m)] = 1
m[-len(m) - 1] = 1
m[0:4] = b"ABCD"; m[4:6] = bytearray(b"xy"); m[-4:-2] = memoryview(b"no")[:]; m[8:8] = b""; m[:10]
m[:] = m[::-1]; m[:9]; m[0:5] = m[3:8]; m[:9]; m[::2] = m[::2][::-1]; m[:9]; m[9:3] = b""
m[0:10:3] = b"1234"; m[10:0:-3] = b"abcd"; m[5:20:100] = b"s"; m[20:5:-1] = b"fifteen letters"
m[0:4] = b"ABC"
m[0:4] = b"ABCDE"
m[9:3] = b"A"
m[0:10:3] = b"123"
m[0:10:3] = b"12345"
m[0:4:0] = b"ABCD"
m[::2] = b"too few"
m[10**6:] = b"x"
m[0:4] = memoryview(b"A.B.C.D.")[::2]
m.move(0, 5, 10); m[:20]; m.move(5, 0, 10); m[:20]; m.move(3, 3, 5); m.move(0, 0, 0); m.tell()
m.move(Index(2), Index(9), Index(30)); m[:50]
m.move(0, len(m) - 4, 4); m.move(len(m) - 4, 0, 4); m.move(len(m), 0, 0); m.move(0, 1, len(m) - 1)
m.move(0, 0, len(m) + 1)
m.move(0, 1, len(m))
m.move(1, 0, len(m))
m.move(len(m), 0, 1)
m.move(-1, 0, 1)
m.move(0, -1, 1)
m.move(0, 0, -1)
m.move(2**62, 2**62, 2**62)
struct.pack_into("<IHb", m, 3, 1, 2, -3); struct.pack_into("4s", m, len(m) - 4, b"last"); m[:12]
struct.pack_into("<I", m, len(m) - 3, 1)
io.BytesIO(b"poured").readinto(m); m[:9]
memoryview(m)[0:3] = b"xyz"; memoryview(m)[::-1][0:2] = b"!?"; memoryview(m)[4] = 0; m[:9]
m.write(m[5:15]); m[:20]; m.flush(); m.flush(0, 5); m.read(4); m.write(b"z"); m.tell(); m[:20]
del m[0]
del m[0:2]
"""

MISTAKEN = """
m.read(2.0)
m.read("2")
m.read(1, 2)
m.read(2**70)
m.readline(1)
m.read_byte(1)
m.find()
m.find("line")
m.find(108)
m.find(None)
m.find(b"a", None)
m.find(b"a", 0.5)
m.find(b"a", 0, "9")
m.find(b"a", 0, 1, 2)
m.find(b"a", 2**70)
m.find(memoryview(b"t.h.e.")[::2])
m.rfind()
m.rfind("line")
m.rfind(b"a", None)
m.seek()
m.seek("1")
m.seek(1.0)
m.seek(None)
m.seek(0, "1")
m.seek(0, 1.5)
m.seek(0, 0, 0)
m.seek(2**70)
m.tell(1)
m.size(1)
m.write()
m.write("text")
m.write(5)
m.write(None)
m.write([1, 2])
m.write(b"a", b"b")
m.write(memoryview(b"a.b.")[::2]); m.tell()
m.write_byte()
m.write_byte(256)
m.write_byte(-1)
m.write_byte(b"a")
m.write_byte("a")
m.write_byte(1.0)
m.move()
m.move(0, 1)
m.move(0, 1, 2.0)
m.move("0", 1, 2)
m.flush("0")
m.flush(0, -1)
m.flush(-1, 5)
m.flush(0, len(m) + 1)
m.flush(len(m), 1)
m.flush(10**9, 1)
m.flush(1.5, 1)
m.madvise()
m.madvise("1")
m.madvise(987654)
m.madvise(mmap.MADV_NORMAL, -1)
m.madvise(mmap.MADV_NORMAL, len(m))
m.madvise(mmap.MADV_NORMAL, 0, -1)
m.madvise(mmap.MADV_NORMAL, 5, 10)
m.madvise(mmap.MADV_NORMAL, PAGE, 2**63 - 1)
m.close(1)
m[1.0]
m["1"]
m[None]
m[1, 2]
m[...]
m[2**70]
m["a":]
m[0:5:"1"]
m[0] = 256
m[0] = -1
m[0] = 2**70
m[0] = b"a"
m[0] = "a"
m[0] = None
m[0] = 1.0
m[2**70] = 1
m["0"] = 1
m[len(m)] = b"x"
m[1.0] = 1
m[0:2] = "ab"
m[0:2] = 5
m[0:2] = None
m[0:2] = [1, 2]
m["a":"b"] = b""
m.resize()
m.resize("5")
m.resize(5.0)
m.resize(-1)
m.resize(2**70)
m.__exit__(None, None, None); m.read()
m.closed = True
m.note = 1
m.nosuchname
"""

RESIZING = """
m.resize(PAGE); len(m); m.size(); m[:]
m.resize(PAGE - 1); m.resize(PAGE + 1); len(m); m.size(); m[:]
m.resize(4 * PAGE + 5); len(m); m.size(); m[-10:]; m[5 * PAGE:]; m[2 * PAGE - 3:2 * PAGE + 90]
m.resize(5 * PAGE); m[-1] = 7; go(m, 5 * PAGE - 3); m.write(b"abc"); m.find(b"abc", 0)
m.resize(1); m[:]; m.resize(50); m[:]; m.resize(3 * PAGE); m[:]; m.size()
m.resize(len(m)); len(m); m.size(); m.resize(Index(77)); len(m); m.size()
go(m, 90); m.resize(10); m.tell(); m.read(); m.read(3); m.readline(); m.tell()
go(m, 90); m.resize(10); m.find(b"t"); m.rfind(b"t"); m.find(b""); m.rfind(b""); m.tell()
go(m, 90); m.resize(10); m.read_byte(); m.write(b"x"); m.write(b""); m.write_byte(1); m.tell()
go(m, 90); m.resize(10); go(m, 0, 1); go(m, -85, 1); m.tell()
m.resize(PAGE); m.write(b"new"); m.flush(); m.move(10, 0, 20); m[-5:] = b"ended"; m.resize(30); m[:]
memoryview(m).release(); m.resize(20); bytes(m); list(m)
"""


class Index:
    """A number that is not an int, but can stand for one as an index."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def go(mapping: Any, *where: Any) -> Any:
    """Seek, and return the position: `seek` itself returns it only from Python 3.13 on."""
    returned = mapping.seek(*where)
    assert returned in (None, mapping.tell())
    return mapping.tell()


NAMES = {
    "bisect": bisect,
    "hashlib": hashlib,
    "io": io,
    "mmap": mmap,
    "operator": operator,
    "os": os,
    "re": re,
    "struct": struct,
    "PAGE": PAGE,
    "Index": Index,
    "go": go,
}


def step(statement: str) -> Callable[[Any], Any]:
    """A function that runs the statement on a mapping."""
    try:
        code = compile(statement, statement, "eval")
    except SyntaxError:
        code = compile(statement, statement, "exec")
    return lambda mapping: eval(code, {**NAMES, "m": mapping})


def size_of_anonymous(mapping: Any) -> bool:
    """The standard asks a descriptor that it has not got; we may know the size."""
    try:
        return bool(mapping.size() == len(mapping))
    except OSError:
        return True


class Folder:
    """Makes mappings of either class over files with the same content, and compares them."""

    def __init__(self, path: Path, agree: Callable[..., Any]) -> None:
        self.path = path
        self.agree = agree

    def file(self) -> Path:
        path = self.path / f"{len(list(self.path.iterdir()))}.bin"
        path.write_bytes(CONTENT)
        return path

    def map(self, cls: Any, kind: str, path: Path) -> Any:
        with open(path, "r+b") as file:
            mapping = cls(**{"fileno": file.fileno(), "length": 0} | KINDS[kind])
        if kind.startswith("anonymous"):
            mapping[:] = CONTENT[: len(mapping)]
        return mapping

    def compare(self, program: str, *kinds: str, closed: bool = False) -> None:
        for kind in kinds:
            paths = self.file(), self.file()
            standard = self.map(mmap.mmap, kind, paths[0])
            subject = self.map(emmap.MemoryMap, kind, paths[1])
            if closed:
                standard.close()
                subject.close()
            for statement in program.split("; "):
                call = step(statement)
                if statement == "m.size()" and kind.startswith("anonymous") and not closed:
                    call = size_of_anonymous
                expected = self.agree(call, standard, subject, f"{statement} on {kind}")
                assert not isinstance(expected, NameError | AssertionError), expected
            for look in (operator.methodcaller("tell"), operator.itemgetter(slice(None))):
                self.agree(look, standard, subject, f"at the end on {kind}")
            standard.close()
            subject.close()
            self.agree(Path.read_bytes, *paths, f"the file of {kind}")


@pytest.fixture
def folder(tmp_path: Path, agree: Callable[..., Any]) -> Folder:
    return Folder(tmp_path, agree)


def programs(table: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("program", table.strip().splitlines())


@programs(READING)
def test_reading(folder: Folder, program: str) -> None:
    folder.compare(program, *KINDS)


@programs(WRITING)
def test_writing(folder: Folder, program: str) -> None:
    folder.compare(program, *KINDS)


@programs(MISTAKEN)
def test_mistaken_calls(folder: Folder, program: str) -> None:
    folder.compare(program, "default", "write")


@programs(RESIZING)
def test_resizing(folder: Folder, program: str) -> None:
    folder.compare(program, "default", "write", "from an offset", "a part", "a part from an offset")
    folder.compare(program, "anonymous and private")


@pytest.mark.parametrize("size", [1, 100, 2 * PAGE])
def test_a_mapping_that_may_not_be_written_cannot_be_resized(folder: Folder, size: int) -> None:
    folder.compare(f"m.resize({size}); len(m); m.size()", "read", "protected")


def test_shared_anonymous_memory_shrinks(folder: Folder) -> None:
    folder.compare("m.resize(PAGE); len(m); m[:]; m.resize(9); m[:]; m[9]", "anonymous")


@programs(READING + WRITING + RESIZING)
def test_closed(folder: Folder, program: str) -> None:
    folder.compare(program, "default", "read", "copy", "anonymous", closed=True)


BOUNDS = (None, 0, 1, 5, 20, PAGE, 10**6, 2**70, -1, -7, -PAGE, -(10**6), -(2**70))
STEPS = (None, 1, 2, 7, PAGE, 2**70, -1, -2, -7, -PAGE, -(2**70))


def test_slices_of_all_forms(folder: Folder) -> None:
    standard = folder.map(mmap.mmap, "default", folder.file())
    subject = folder.map(emmap.MemoryMap, "default", folder.file())
    for bounds in itertools.product(BOUNDS, BOUNDS, STEPS):
        assert subject[slice(*bounds)] == standard[slice(*bounds)], bounds
    standard.close()
    subject.close()


def test_assignment_to_slices_of_all_forms(folder: Folder) -> None:
    standard = folder.map(mmap.mmap, "default", folder.file())
    subject = folder.map(emmap.MemoryMap, "default", folder.file())
    for seed, bounds in enumerate(itertools.product(BOUNDS, BOUNDS, STEPS)):
        where = slice(*bounds)
        value = bytes((seed + i) % 251 for i in range(len(standard[where])))
        standard[where] = value
        subject[where] = value
        with pytest.raises(IndexError):
            subject[where] = value + b"x"
        assert subject[:] == standard[:], bounds
    standard.close()
    subject.close()
