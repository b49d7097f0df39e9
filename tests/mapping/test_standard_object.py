"""Construction, subclassing and lifetime of `emmap.MemoryMap` beside the standard `mmap.mmap`."""
# ruff: noqa: PT011 (programs catch the builtin class, whatever the message)

import gc
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import emmap

PAGE = mmap.ALLOCATIONGRANULARITY
CONTENT = bytes(i % 251 for i in range(3 * PAGE + 9))

# M is the class. The descriptors: fd reads and writes, ro reads, wo writes.
CONSTRUCTORS = """
M(fd, 0)
M(fd, 100)
M(fd, 3 * PAGE + 9)
M(fd, 3 * PAGE + 10)
M(fd, 2**62)
M(fd, 2**63)
M(fd, -1)
M(fd, True)
M(fd, 1)
M(fd, None)
M(fd, "9")
M(fd, 9.0)
M(fd)
M()
M(fileno=fd, length=9)
M(fd, length=9, access=ACCESS_READ)
M(length=0, fileno=fd, offset=PAGE, access=ACCESS_COPY)
M(fd, 0, nonsense=1)
M("name", 0)
M(None, 0)
M(Index(fd), Index(9), Index(MAP_SHARED), Index(PROT_READ), offset=Index(PAGE))
M(fd, 9, access=Index(ACCESS_READ))
M(1.0, 0)
M(-2, 9)
M(closed_fd, 9)
M(closed_fd, 0)
M(2**40, 9)
M(fd, 0, MAP_SHARED)
M(fd, 0, MAP_PRIVATE)
M(fd, 0, MAP_SHARED, PROT_READ)
M(fd, 0, MAP_SHARED, PROT_READ | PROT_WRITE)
M(fd, 0, MAP_PRIVATE, PROT_READ | PROT_WRITE)
M(fd, 0, MAP_PRIVATE, PROT_READ)
M(fd, 0, MAP_SHARED, PROT_READ, ACCESS_DEFAULT)
M(fd, 0, MAP_SHARED, PROT_READ, ACCESS_DEFAULT, PAGE)
M(fd, 9, MAP_PRIVATE, PROT_READ, 0, 2 * PAGE)
M(fd, 9, MAP_PRIVATE, PROT_READ, 0, 2 * PAGE, 0)
M(fd, 0, MAP_SHARED | MAP_POPULATE)
M(fd, 0, flags=MAP_PRIVATE | MAP_NORESERVE)
M(fd, 0, flags=MAP_PRIVATE | MAP_DENYWRITE | MAP_EXECUTABLE)
M(fd, 0, prot=PROT_WRITE)
M(fd, 0, prot=PROT_READ | PROT_EXEC)
M(fd, 0, 0)
M(fd, 0, "1")
M(fd, 0, flags=1.0)
M(fd, 0, prot="1")
M(fd, 0, access=ACCESS_DEFAULT)
M(fd, 0, access=ACCESS_READ)
M(fd, 0, access=ACCESS_WRITE)
M(fd, 0, access=ACCESS_COPY)
M(fd, 0, access=4)
M(fd, 0, access=-1)
M(fd, 0, access=99)
M(fd, 0, access="1")
M(fd, 0, access=None)
M(fd, 0, flags=MAP_PRIVATE, access=ACCESS_READ)
M(fd, 0, prot=PROT_READ, access=ACCESS_READ)
M(fd, 0, flags=MAP_PRIVATE, prot=PROT_READ, access=ACCESS_WRITE)
M(fd, 0, flags=MAP_SHARED, prot=PROT_READ | PROT_WRITE, access=ACCESS_COPY)
M(fd, 0, offset=PAGE)
M(fd, 9, offset=3 * PAGE)
M(fd, 10, offset=3 * PAGE)
M(fd, 0, offset=3 * PAGE)
M(fd, 0, offset=4 * PAGE)
M(fd, 1, offset=4 * PAGE)
M(fd, 0, offset=-1)
M(fd, 0, offset=-PAGE)
M(fd, 0, offset="0")
M(fd, 0, offset=1.0)
M(fd, 0, offset=2**40 * PAGE)
M(fd, 9, offset=2**63)
M(ro, 0)
M(ro, 0, access=ACCESS_READ)
M(ro, 0, access=ACCESS_WRITE)
M(ro, 0, access=ACCESS_COPY)
M(ro, 0, flags=MAP_PRIVATE)
M(ro, 0, prot=PROT_READ)
M(wo, 0)
M(wo, 0, access=ACCESS_READ)
M(wo, 0, access=ACCESS_WRITE)
M(wo, 0, access=ACCESS_COPY)
M(empty, 1)
M(empty, 0, offset=PAGE)
M(empty, 1, offset=PAGE)
M(page, 0, offset=PAGE)
M(page, 1, offset=PAGE)
M(zero, PAGE)
M(zero, 9, access=ACCESS_COPY)
M(zero, 9, access=ACCESS_READ)
M(zero, 9, access=ACCESS_COPY, offset=PAGE)
M(zero, 0)
M(-1, 0)
M(-1, 1)
M(-1, 3 * PAGE)
M(-1, -5)
M(-1, 2**60)
M(-1, 2**64)
M(-1, 9, MAP_PRIVATE)
M(-1, 9, MAP_PRIVATE | MAP_ANONYMOUS)
M(-1, 9, MAP_SHARED | MAP_ANON | MAP_POPULATE)
M(-1, 9, prot=PROT_READ)
M(-1, 9, access=ACCESS_READ)
M(-1, 9, access=ACCESS_WRITE)
M(-1, 9, access=ACCESS_COPY)
M(-1, 9, access=ACCESS_COPY, offset=PAGE)
"""


class Index:
    """A number that is not an int, as NumPy's are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def overwrite(mapping: Any) -> bytes:
    mapping[1:4] = b"new"
    return bytes(mapping[:9])


def may_write_through_buffer(mapping: Any) -> bool:
    with memoryview(mapping) as view:
        return not view.readonly


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal files: the standard's and ours."""
    for name in ("standard", "ours"):
        (tmp_path / name).write_bytes(CONTENT)
    return tmp_path / "standard", tmp_path / "ours"


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[dict[str, int]]:
    """Descriptors that are the same for both classes, since nothing is written through them."""
    (tmp_path / "empty").touch()
    (tmp_path / "page").write_bytes(bytes(PAGE))
    opened = {
        "empty": os.open(tmp_path / "empty", os.O_RDWR),
        "page": os.open(tmp_path / "page", os.O_RDWR),
        "zero": os.open("/dev/zero", os.O_RDWR),
        "closed_fd": os.open("/dev/zero", os.O_RDWR),
    }
    os.close(opened["closed_fd"])
    yield opened
    for name in opened.keys() - {"closed_fd"}:
        os.close(opened[name])


@pytest.mark.parametrize("call", CONSTRUCTORS.strip().splitlines())
def test_constructor(
    call: str,
    paths: tuple[Path, Path],
    descriptors: dict[str, int],
    agree: Callable[..., Any],
) -> None:
    names = {**vars(mmap), **descriptors, "PAGE": PAGE, "Index": Index}
    made: list[Any] = []

    def construct(argument: tuple[Any, Path]) -> None:
        """Make the mapping, then close the descriptors: no mapping depends on its user's."""
        cls, path = argument
        modes = {"fd": os.O_RDWR, "ro": os.O_RDONLY, "wo": os.O_WRONLY}
        opened = {name: os.open(path, mode) for name, mode in modes.items()}
        try:
            made.append(eval(call, {**names, **opened, "M": cls}))
        finally:
            for descriptor in opened.values():
                os.close(descriptor)

    agree(construct, (mmap.mmap, paths[0]), (emmap.MemoryMap, paths[1]), call)
    if made:
        for look in (len, bytes, may_write_through_buffer, overwrite):
            agree(look, *made, f"{look.__name__} after {call}")
        for mapping in made:
            mapping.close()
    agree(Path.read_bytes, *paths, f"the file after {call}")


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("access", [mmap.ACCESS_DEFAULT, mmap.ACCESS_READ, mmap.ACCESS_COPY])
def test_what_has_no_pages_is_refused(tmp_path: Path, length: int, access: int) -> None:
    """Both raise OSError; ours says why, so the numbers may differ."""
    pipe, folder = os.pipe(), os.open(tmp_path, os.O_RDONLY)
    try:
        for cls in (mmap.mmap, emmap.MemoryMap):
            for descriptor in (*pipe, folder):
                with pytest.raises(OSError):
                    cls(descriptor, length, access=access)
    finally:
        for descriptor in (*pipe, folder):
            os.close(descriptor)


def test_trackfd(paths: tuple[Path, Path]) -> None:
    """`trackfd` came with Python 3.13; MemoryMap takes it on every version."""
    make: Any = emmap.MemoryMap
    with open(paths[1], "r+b") as file:
        mapping = make(file.fileno(), 0, trackfd=False)
        tracked = make(file.fileno(), 0, trackfd=True)
    assert tracked.size() == len(CONTENT)
    assert mapping[:] == CONTENT
    mapping[0:3] = b"new"
    assert tracked[0:3] == b"new"
    tracked.close()
    # Python 3.13.0 raises OSError from size(), later versions ValueError.
    with pytest.raises((OSError, ValueError)):
        mapping.size()
    with pytest.raises(ValueError):
        mapping.resize(5)
    mapping.close()
    with open(paths[1], "rb") as file, pytest.raises(TypeError):
        make(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ, 0, 0, 1)


def test_constants_are_the_same() -> None:
    kinds = ("ACCESS_", "MAP_", "PROT_", "MADV_", "PAGESIZE", "ALLOCATIONGRANULARITY")
    expected = {name: value for name, value in vars(mmap).items() if name.startswith(kinds)}
    assert {name: getattr(emmap, name, None) for name in expected} == expected


def test_no_name_is_missing() -> None:
    assert set(dir(mmap.mmap)) - set(dir(emmap.MemoryMap)) == set()


# Each scenario gets a class and a file; both classes must tell the same tale.


def overriding_new_and_init(base: Any, path: Path) -> Any:
    class Log(base):  # type: ignore[misc]
        def __new__(cls, path: Path, title: str, **options: Any) -> "Log":
            with open(path, "r+b") as file:
                return super().__new__(cls, file.fileno(), 0, **options)  # type: ignore[no-any-return]

        def __init__(self, path: Path, title: str, **options: Any) -> None:
            super().__init__()
            self.title = title

    with Log(path, "diary", access=mmap.ACCESS_READ) as log:
        return log.title, len(log), log[:9], type(log).__name__, isinstance(log, base), vars(log)


def overriding_new(base: Any, path: Path) -> Any:
    class Whole(base):  # type: ignore[misc]
        def __new__(cls, path: Path) -> "Whole":
            with open(path, "r+b") as file:
                return super().__new__(cls, fileno=file.fileno(), length=0)  # type: ignore[no-any-return]

    with Whole(path) as whole:
        whole.note = "subclasses have a __dict__"
        whole.write(b"written")
        return whole[:], whole.tell(), whole.note


def overriding_init(base: Any, path: Path) -> Any:
    class Counted(base):  # type: ignore[misc]
        def __init__(self, fileno: int, length: int, access: int) -> None:
            self.writes = 0

        def write(self, data: bytes) -> int:
            self.writes += 1
            return super().write(data)  # type: ignore[no-any-return]

    with open(path, "r+b") as file, Counted(file.fileno(), 0, access=mmap.ACCESS_WRITE) as counted:
        counted.write(b"ab")
        counted.write(b"cd")
        return counted.writes, counted[:9], counted.tell()


def overriding_nothing(base: Any, path: Path) -> Any:
    class Plain(base):  # type: ignore[misc]
        __slots__ = ("label",)

    with open(path, "r+b") as file, Plain(file.fileno(), 5) as plain:
        plain.label = "slots"
        return plain[:], plain.label, hasattr(plain, "nothing"), weakref.ref(plain)() is plain


def overriding_items(base: Any, path: Path) -> Any:
    class Letters(base):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> Any:
            return chr(super().__getitem__(index)) if isinstance(index, int) else "slice"

        def __len__(self) -> int:
            return 3

    with open(path, "r+b") as file, Letters(file.fileno(), 9) as letters:
        return letters[0], letters[:], len(letters), next(iter(letters)), letters.read(4)


def overriding_close(base: Any, path: Path) -> Any:
    closed = []

    class Noted(base):  # type: ignore[misc]
        def close(self) -> None:
            closed.append(len(self))
            super().close()

    with open(path, "r+b") as file, Noted(file.fileno(), 7) as noted:
        noted.close()
    return closed, noted.closed


def a_block_that_raises(base: Any, path: Path) -> Any:
    with open(path, "r+b") as file:
        mapping = base(file.fileno(), 0)
    with pytest.raises(ZeroDivisionError), mapping:
        mapping[0] = 1 // 0
    with pytest.raises(ValueError), mapping:
        pytest.fail("a closed mapping was entered")
    return mapping.closed


def weak_references(base: Any, path: Path) -> Any:
    with open(path, "r+b") as file:
        mapping = base(file.fileno(), 0)
    dead: list[str] = []
    reference = weakref.ref(mapping, lambda _: dead.append("called"))
    alive = reference() is mapping
    mapping.close()
    still = reference() is mapping
    del mapping
    gc.collect()
    return alive, still, reference(), dead


def views_outlive_the_name(base: Any, path: Path) -> Any:
    with open(path, "r+b") as file:
        mapping = base(file.fileno(), 0)
    view = memoryview(mapping)[3:9]
    del mapping
    gc.collect()
    view[0:3] = b"abc"
    return bytes(view), path.read_bytes()[:9]


def two_mappings_of_one_file(base: Any, path: Path) -> Any:
    with open(path, "r+b") as file:
        one, other = base(file.fileno(), 0), base(file.fileno(), 100)
        scratch = base(file.fileno(), 0, access=mmap.ACCESS_COPY)
    scratch[0:3] = b"own"
    one[0:3] = b"all"
    seen = other[0:3], scratch[0:3], path.read_bytes()[:3], one == other, one == one
    names = {one: "one", other: "other"}
    for mapping in (one, other, scratch):
        mapping.close()
    return seen, names[one], names[other]


def other_writers(base: Any, path: Path) -> Any:
    with open(path, "r+b") as file, base(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        file.write(b"by write")
        file.flush()
        file.seek(0, os.SEEK_END)
        file.write(b"grown")
        file.flush()
        return mapping[:9], len(mapping), mapping.size()


def iteration_ends_with_close(base: Any, path: Path) -> Any:
    with open(path, "r+b") as file:
        mapping = base(file.fileno(), 0)
    items, backwards = iter(mapping), reversed(mapping)
    seen = next(items), next(items), next(backwards)
    mapping.close()
    for iterator in (items, backwards):
        with pytest.raises(ValueError):
            next(iterator)
    return seen


def written_to_files(base: Any, path: Path) -> Any:
    copy = path.with_suffix(".copy")
    with open(path, "r+b") as file, base(file.fileno(), 0) as mapping:
        with open(copy, "wb") as target:
            target.write(mapping)
        mapping[:] = bytes(len(mapping))
        with open(copy, "rb") as source:
            source.seek(1)
            count = source.readinto(mapping)
    return count, copy.read_bytes()


SCENARIOS = [
    overriding_new_and_init,
    overriding_new,
    overriding_init,
    overriding_nothing,
    overriding_items,
    overriding_close,
    a_block_that_raises,
    weak_references,
    views_outlive_the_name,
    two_mappings_of_one_file,
    other_writers,
    iteration_ends_with_close,
    written_to_files,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Callable[[Any, Path], Any], paths: tuple[Path, Path]) -> None:
    expected = scenario(mmap.mmap, paths[0])
    assert scenario(emmap.MemoryMap, paths[1]) == expected
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("access", [mmap.ACCESS_READ, mmap.ACCESS_WRITE, mmap.ACCESS_COPY])
def test_no_descriptor_is_left_open(paths: tuple[Path, Path], access: int) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        with open(paths[1], "r+b") as file, emmap.MemoryMap(file.fileno(), 0, access=access):
            pass
        emmap.MemoryMap(-1, PAGE)
    assert os.listdir("/proc/self/fd") == before


class Closing:
    """An index that closes the mapping while it is being used as one."""

    def __init__(self, mapping: emmap.MemoryMap) -> None:
        self.mapping = mapping

    def __index__(self) -> int:
        self.mapping.close()
        return 5


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m[Closing(m)],
        lambda m: m[: Closing(m)],
        lambda m: m[:: Closing(m)],
        lambda m: m.__setitem__(Closing(m), 1),
        lambda m: m.__setitem__(0, Closing(m)),
        lambda m: m.__setitem__(slice(0, Closing(m)), b"12345"),
        lambda m: m.read(Closing(m)),
        lambda m: m.find(b"x", Closing(m)),
        lambda m: m.rfind(b"x", 0, Closing(m)),
        lambda m: m.write_byte(Closing(m)),
        lambda m: m.move(Closing(m), 0, 3),
        lambda m: m.resize(Closing(m)),
        lambda m: m.flush(0, Closing(m)),
        lambda m: m.madvise(mmap.MADV_NORMAL, 0, Closing(m)),
    ],
)
def test_closed_by_its_own_argument(paths: tuple[Path, Path], call: Callable[[Any], Any]) -> None:
    """Early 3.11 releases of the standard module crash here, so only ours is called."""
    with open(paths[1], "r+b") as file:
        mapping = emmap.MemoryMap(file.fileno(), 0)
    with pytest.raises(ValueError):
        call(mapping)
    assert mapping.closed
    assert paths[1].read_bytes() == CONTENT
