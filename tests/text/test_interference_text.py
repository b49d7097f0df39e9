"""What else happens in the middle of a scan. Each of these once crashed, or gave wrong answers."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import emmap
from emmap.text import kernels

numpy = pytest.importorskip("numpy")


def acting(action: Any) -> Any:
    """The number 0, which does something when it is asked for."""

    class Index:
        def __index__(self) -> int:
            action()
            return 0

    return Index()


def test_a_number_that_shortens_the_mapping() -> None:
    for scan in (
        lambda m, start: kernels.count(m, kernels.LINES, start),
        lambda m, start: kernels.translate(m, bytes(range(256)), start),
        lambda m, start: kernels.Needle(b"x").find(m, start),
        lambda m, start: kernels.line_starts(m, 1, 1, start),
    ):
        with emmap.anonymous(1 << 24) as m:
            scan(m, acting(lambda: m.resize(4096)))
            assert len(m) == 4096


def test_a_needle_is_whole_from_the_beginning() -> None:
    with pytest.raises(TypeError):
        kernels.Needle.__new__(kernels.Needle)  # type: ignore[call-arg]
    needle = kernels.Needle(b"x")
    needle.__init__(b"y")  # type: ignore[misc]
    assert needle.find(b"yx") == 1


def test_a_repair_during_a_search_hides_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "text"
    text = b"".join(b"line %06d with a word\n" % i for i in range(4000))
    path.write_bytes(text)
    pattern = re.compile(rb"w[io]")
    with emmap.open(path) as m:
        tried = 0

        def interfere(frame: Any, event: str, argument: Any) -> None:
            nonlocal tried
            if event == "call" and frame.f_code.co_name == "_try_line":
                tried += 1
                if tried == 10:
                    os.truncate(path, 0)
                if tried == 3000:
                    path.write_bytes(text)
                    m.repair()

        sys.setprofile(interfere)
        try:
            with pytest.raises(emmap.PageLostError):
                list(emmap.grep(pattern, m))
        finally:
            sys.setprofile(None)


def test_views_of_views_of_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"line\n" * 20_000)
    with emmap.open(path) as m:
        view: Any = m
        for _ in range(30):
            view = numpy.frombuffer(memoryview(view), "u1")
        os.truncate(path, 0)
        with pytest.raises(emmap.PageLostError):
            emmap.count(view)


def test_a_pointer_that_nobody_counts() -> None:
    m = emmap.anonymous(1 << 16)
    array = numpy.ndarray(1 << 16, "u1", m)
    m.protect(emmap.Protection.NONE)
    with pytest.raises(emmap.ProtectionError):
        emmap.count(array)
    m.protect(emmap.Protection.READ)
    assert emmap.count(array).lines == 0
    m.close()
    with pytest.raises(emmap.ClosedError):
        emmap.count(array)


def test_comments_in_a_group_are_not_required() -> None:
    for pattern in (b"(?x: a # )hello\n)", b"(?x: a # )\n b)|c"):
        compiled = re.compile(pattern)
        text = b"a\nb\nc\nab\n"
        expected = [line for line in text.split() if compiled.search(line)]
        assert [hit.line for hit in emmap.grep(compiled, text)] == expected
