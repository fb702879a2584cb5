"""The quick encoder of ordinary entries writes what `rfc8785` writes, to the byte, and refuses what it refuses."""

from __future__ import annotations

import math
from typing import Any

import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filigrana.errors import EntryError
from filigrana.provenance.log import canonical

# Mostly ASCII, so that the quick way is taken; some that must not be.
KEYS = st.text(st.characters(max_codepoint=126), max_size=5) | st.sampled_from(["é", "\ud83d", "\U0001f600", "\ufb33"])
NUMBERS = st.one_of(
    st.integers(-(2**54), 2**54),
    st.floats(),
    st.floats(1e-5, 1e-3),
    st.floats(1e14, 1e17),
    st.integers(-400, 400).map(lambda n: n / 8),
    st.integers(-(2**53), 2**53).map(float),
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(st.characters(max_codepoint=200), max_size=6)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
@example({"number": 1e-4})
@example({"number": 9.999999999999999e-5})
@example({"number": 123456789012345.67})
@example({"number": 999999999999999.9})
@example({"number": 0.1 + 0.2})
@example({"number": -0.0})
@example({"number": 5e-324})
@example({"control": '\x00\x08\t\n\x0b\x0c\r\x1f\x7f"\\/'})
def test_both_ways_write_the_same(body: dict[str, Any]) -> None:
    entry = {**body, "type": "test"}
    try:
        slow: bytes | None = rfc8785.dumps(canonical._plain(entry, 1))
    except (EntryError, rfc8785.CanonicalizationError, UnicodeEncodeError):
        slow = None
    try:
        found: bytes | None = canonical.encode(entry)
    except EntryError:
        found = None
    assert found == slow


@given(st.floats(1e-4, 1e15, exclude_max=True))
def test_a_float_that_counts_as_ordinary_is_written_as_ecmascript_writes_it(value: float) -> None:
    if canonical._ordinary(value, 1):
        assert canonical._ascii(value) == rfc8785.dumps(value)
    else:
        assert value.is_integer()


def test_the_quick_way_is_taken_for_entries_as_the_engine_writes_them() -> None:
    entry = {"type": "x", "list": [1, 2.5, None, True, {"a": "b"}], "pair": ("a", "b"), "deep": {"er": {"est": 0.93}}}
    assert canonical._ordinary(entry, 1)
    assert canonical.encode(entry) == rfc8785.dumps(canonical._plain(entry, 1))


def test_nothing_that_is_not_a_number_gets_through() -> None:
    for value in (math.nan, math.inf, -math.inf):
        assert not canonical._ordinary({"v": value}, 1)
