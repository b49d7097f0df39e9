"""Random programs on a standard `mmap.mmap` and an `emmap.MemoryMap` over equal files."""

import mmap
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import emmap

PAGE = mmap.PAGESIZE
LIMIT = 3 * PAGE

lengths = st.one_of(
    st.integers(1, 40), st.sampled_from([PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, LIMIT])
)
# Few different bytes, so that what is looked for is often there.
data = st.one_of(
    st.text("ab\n\0", max_size=9).map(str.encode),
    st.binary(max_size=40),
    st.builds(bytes, lengths),
)
positions = st.one_of(
    st.integers(-45, 45),
    st.sampled_from([PAGE - 1, PAGE, PAGE + 1, -PAGE, LIMIT, 2**40, -(2**40)]),
)
bounds = st.none() | positions
steps = st.none() | st.sampled_from([1, -1, 2, -2, 7, -7, PAGE, -PAGE])
slices = st.builds(slice, bounds, bounds, steps)
accesses = st.sampled_from(
    [mmap.ACCESS_DEFAULT, mmap.ACCESS_WRITE, mmap.ACCESS_READ, mmap.ACCESS_COPY]
)


class BothClasses(RuleBasedStateMachine):
    """One file and mapping for each class; every rule does the same to both and compares."""

    def __init__(self, folder: Path, agree: Callable[..., Any]) -> None:
        super().__init__()
        self.paths = folder / "standard", folder / "ours"
        self.agree = agree

    def both(self, call: Callable[[Any], Any]) -> Any:
        return self.agree(call, self.standard, self.subject)

    def map(self, cls: Any, path: Path, **options: Any) -> Any:
        with open(path, "r+b") as file:
            return cls(file.fileno(), **options)

    def place(self, **options: Any) -> None:
        self.standard = self.map(mmap.mmap, self.paths[0], **options)
        self.subject = self.map(emmap.MemoryMap, self.paths[1], **options)
        self.access = options["access"]

    @initialize(pattern=data, length=lengths, access=accesses)
    def create(self, pattern: bytes, length: int, access: int) -> None:
        content = (pattern * length)[:length] if pattern else bytes(length)
        for path in self.paths:
            path.write_bytes(content)
        self.place(length=0, access=access)

    @rule(access=accesses, offset=st.sampled_from([0, 0, PAGE]), part=st.none() | lengths)
    def place_again(self, access: int, offset: int, part: int | None) -> None:
        self.standard.close()
        self.subject.close()
        self.agree(Path.read_bytes, *self.paths)
        room = self.paths[0].stat().st_size - offset
        if room <= 0:
            offset, room = 0, room + offset
        self.place(length=0 if part is None else min(part, room), access=access, offset=offset)

    @rule(value=data)
    def write(self, value: bytes) -> None:
        self.both(methodcaller("write", value))

    @rule(value=st.integers(-1, 256))
    def write_byte(self, value: int) -> None:
        # Two mistakes in one call may raise either exception.
        if self.access != mmap.ACCESS_READ or value in range(256):
            self.both(methodcaller("write_byte", value))

    @rule(size=st.none() | positions)
    def read(self, size: int | None) -> None:
        self.both(methodcaller("read", size))

    @rule(name=st.sampled_from(["readline", "read_byte", "size", "flush"]))
    def call(self, name: str) -> None:
        self.both(methodcaller(name))

    @rule(distance=positions, whence=st.integers(-1, 4))
    def seek(self, distance: int, whence: int) -> None:
        # What seek returns differs between versions; every step compares tell().
        def seek(mapping: Any) -> None:
            mapping.seek(distance, whence)

        self.both(seek)

    @rule(
        name=st.sampled_from(["find", "rfind"]),
        sought=data,
        limits=st.lists(positions, max_size=2),
    )
    def search(self, name: str, sought: bytes, limits: list[int]) -> None:
        self.both(methodcaller(name, sought, *limits))

    @rule(name=st.sampled_from(["find", "rfind"]), start=positions, length=st.integers(0, 30))
    def search_for_what_is_there(self, name: str, start: int, length: int) -> None:
        sought = self.both(lambda mapping: mapping[start : start + length])
        self.both(methodcaller(name, sought, 0))

    @rule(destination=positions, source=positions, length=positions)
    def move(self, destination: int, source: int, length: int) -> None:
        self.both(methodcaller("move", destination, source, length))

    @rule(index=positions)
    def get_item(self, index: int) -> None:
        self.both(lambda mapping: mapping[index])

    @rule(where=slices)
    def get_slice(self, where: Any) -> None:
        self.both(lambda mapping: mapping[where])
        self.both(lambda mapping: memoryview(mapping)[where].tobytes())

    @rule(index=positions, value=st.integers(0, 255))
    def set_item(self, index: int, value: int) -> None:
        self.both(lambda mapping: mapping.__setitem__(index, value))

    @rule(where=slices, kind=st.sampled_from([bytes, bytearray, memoryview]), pattern=data)
    def set_slice(self, where: Any, kind: Any, pattern: bytes) -> None:
        length = len(self.standard[where])
        value = kind(((pattern or b"z") * length)[:length])
        self.both(lambda mapping: mapping.__setitem__(where, value))

    @rule(where=slices, value=data)
    def set_slice_of_another_length(self, where: Any, value: bytes) -> None:
        self.both(lambda mapping: mapping.__setitem__(where, value))

    @rule(where=slices, source=slices)
    def set_slice_from_slice(self, where: Any, source: Any) -> None:
        self.both(lambda mapping: mapping.__setitem__(where, mapping[source]))

    @rule(index=st.integers(0, 40), value=st.integers(0, 255))
    def write_through_a_view(self, index: int, value: int) -> None:
        self.both(lambda mapping: memoryview(mapping).__setitem__(index, value))

    # The standard does not resize a private mapping, and we do: see test_standard_differences.
    @precondition(lambda self: self.access != mmap.ACCESS_COPY)
    @rule(size=lengths)
    def resize(self, size: int) -> None:
        self.both(methodcaller("resize", size))

    @rule(page=st.integers(0, 3), length=positions.filter(lambda length: length % PAGE > 0))
    def flush_range(self, page: int, length: int) -> None:
        self.both(methodcaller("flush", page * PAGE, length))

    @rule(page=st.integers(0, 3), limits=st.lists(st.integers(-1, 2 * PAGE), max_size=1))
    def madvise(self, page: int, limits: list[int]) -> None:
        self.both(methodcaller("madvise", mmap.MADV_WILLNEED, page * PAGE, *limits))

    @rule(value=st.sampled_from([b"a", b"\n", b"z", b"ab", b"", 97]))
    def contains(self, value: object) -> None:
        self.both(lambda mapping: value in mapping)

    @rule(length=st.integers(0, 60))
    def iterate(self, length: int) -> None:
        self.both(lambda mapping: [item for item, _ in zip(mapping, range(length), strict=False)])

    @rule()
    def raise_when_closed(self) -> None:
        self.standard.close()
        self.subject.close()
        for call in (len, bytes, methodcaller("read"), methodcaller("find", b"a")):
            self.both(call)
        self.place(length=0, access=self.access)

    @invariant()
    def agreed(self) -> None:
        for look in (len, bytes, methodcaller("tell")):
            self.both(look)
        self.agree(Path.read_bytes, *self.paths)

    def teardown(self) -> None:
        self.standard.close()
        self.subject.close()
        self.agree(Path.read_bytes, *self.paths)


def test_random_programs(tmp_path: Path, agree: Callable[..., Any]) -> None:
    class InThisFolder(BothClasses):
        def __init__(self) -> None:
            super().__init__(tmp_path, agree)

    run_state_machine_as_test(
        InThisFolder,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
