"""The literal that each match has: never one too many."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emmap.text.patterns import Matcher, required_literal
from text.test_searching import by_line

LITERALS = [
    (rb"abc", b"abc"),
    (rb"a\.b", b"a.b"),
    (rb"ab+c", b"ab"),
    (rb"xab*cde", b"cde"),
    (rb"abc?", b"ab"),
    (rb"abc{0}", b"ab"),
    (rb"abc{2,3}?", b"ab"),
    (rb"ab{x}cd", b"ab{x}cd"),
    (rb"(abc)d", b"d"),
    (rb"(abc|x(y))*de", b"de"),
    (rb"(?!no)yes", b"yes"),
    (rb"(?i:ab)c", b"c"),
    (rb"abc|d", b""),
    (rb"[abc]d", b"d"),
    (rb"[]a]b", b"b"),
    (rb"[^]a]b", b"b"),
    (rb"[\]a]b", b"b"),
    (rb"[(]b", b"b"),
    (rb"\(b", b"(b"),
    (rb"\x41b", b""),
    (rb"(a)\1b", b""),
    (rb"\0ab", b""),
    (rb"\bab\d", b"ab"),
    (rb"^ab$", b"ab"),
    (rb"(?x)a b", b""),
    (rb"(?L)ab", b""),
    (rb"(?#()ab", b""),
    (rb"(?#[)x|(?#])yy", b""),
    (rb".*", b""),
    (rb"", b""),
]


@pytest.mark.parametrize(("pattern", "literal"), LITERALS)
def test_required_literal(pattern: bytes, literal: bytes) -> None:
    assert required_literal(re.compile(pattern)) == literal


PARTS = [b"a", b"b", b"A", b"\n", b" ", b".", b"*", b"+", b"?", b"{1,2}", b"{0}", b"{", b"}", b"|"]
PARTS += [
    b"(",
    b")",
    b"(?:",
    b"(?=",
    b"(?!",
    b"(?<!",
    b"(?<=",
    b"(?>",
    b"(?i:",
    b"(?s:",
    b"[",
    b"]",
]
PARTS += [b"[^", b"\\n", b"\\s", b"\\S", b"\\b", b"\\B", b"\\A", b"\\Z", b"^", b"$", b"\\.", b"\\("]
PARTS += [b"\\x61", b"\\141", b"\\1", b"-", b"ab", b"(a)"]


@st.composite
def compiled(draw: st.DrawFn) -> re.Pattern[bytes]:
    """Whatever compiles."""
    text = b"".join(draw(st.lists(st.sampled_from(PARTS), max_size=7)))
    flags = draw(st.sampled_from([0, re.IGNORECASE, re.DOTALL, re.MULTILINE, re.VERBOSE]))
    with warnings.catch_warnings(action="ignore"):
        try:
            return re.compile(text, flags)
        except re.error:
            return re.compile(re.escape(text), flags)


@settings(max_examples=500, deadline=None)
@given(compiled(), st.lists(st.sampled_from([b"a", b"b", b"A", b"\n", b" ", b".", b"(", b"{"])))
def test_lines_are_matched_one_by_one(pattern: re.Pattern[bytes], parts: list[bytes]) -> None:
    text = b"".join(parts)
    matcher = Matcher(pattern, ignore_case=False)
    hits = matcher.search(memoryview(text))
    triples = [tuple(hits[i : i + 3]) for i in range(0, len(hits), 3)]
    assert triples == [
        (match, offset, offset + len(line)) for _, offset, line, match in by_line(pattern, text)
    ]
