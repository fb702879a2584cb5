"""The words of the verification tool: every language says the same, in its own words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from filigrana.pipeline.web.languages import preferred
from filigrana.provenance.words import languages, words

OTHERS = [name for name in languages() if name != "en"]
SAME = {"page.url.hint", "language"}
"""Texts that may be the same everywhere."""
NAMES = {"page.finding.intact"}
"""Words that two languages share."""
ROOT = Path(__file__).resolve().parents[2]


def keys(language: str) -> list[str]:
    return list(json.loads((ROOT / "provenance" / "words" / f"{language}.json").read_text("utf-8")))


def places(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", text))


def test_there_are_five_languages() -> None:
    assert set(languages()) >= {"en", "zh", "es", "fr", "de"}


@pytest.mark.parametrize("language", OTHERS)
def test_keys_places_and_line_counts_are_those_of_english(language: str) -> None:
    english, other = words("en"), words(language)
    assert keys(language) == keys("en")
    for key in keys("en"):
        lines, theirs = english.lines(key), other.lines(key)
        assert [places(" ".join(lines)), len(lines)] == [places(" ".join(theirs)), len(theirs)], key
        assert all(line.strip() for line in theirs), key


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_left_in_english(language: str) -> None:
    english, other = words("en"), words(language)
    same = {key for key in keys("en") if english(key) == other(key)} - SAME - NAMES
    assert same == set()


def test_chinese_is_written_in_chinese() -> None:
    said = words("zh")
    for key in keys("zh"):
        if key not in SAME:
            assert re.search(r"[\u4e00-\u9fff]", said(key)), key


def test_every_key_that_the_page_asks_for_is_there() -> None:
    texts = [p.read_text("utf-8") for p in (ROOT / "pipeline" / "web").rglob("*") if p.suffix in (".html", ".py")]
    asked = set(re.findall(r"""(?:t|said)\(\s*f?["']((?:page|status|technique)\.[\w.-]+)["']""", "\n".join(texts)))
    assert len(asked) > 40
    asked -= {key for key in asked if key.endswith(".")}  # the rest of such a key is put together
    assert asked <= set(keys("en")), sorted(asked - set(keys("en")))


@pytest.mark.parametrize(
    ("asked", "header", "language"),
    [
        (None, "", "en"), (None, "de-CH,de;q=0.9,en;q=0.8", "de"), (None, "ja,fr;q=0.4,es;q=0.7", "es"), ("zh", "de", "zh"),
        ("xx", "fr", "fr"), (None, "fr;q=0", "en"), (None, "zh-Hant-TW", "zh"), (None, ";;;,q=x;q=y", "en"), (None, "de;" * 900, "en"),
    ],
)  # fmt: skip
def test_the_reader_gets_a_language_that_they_read(asked: str | None, header: str, language: str) -> None:
    assert preferred(asked, header) == language
