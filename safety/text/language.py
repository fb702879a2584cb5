"""Which language a prompt is in, and which readings of it are language at all.

Languages are told by CLD3 (the package `cld3-py`, Apache-2.0), which errs on short texts; so only a confident answer
on several words counts, and near relatives of a language are taken for it. Letters of a script that none of the
languages uses need no such care.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import cache
from typing import Any

from ...errors import SafetyError
from .views import clean, views
from .wordpieces import WordPieces

MOST_READINGS = 3
CLEARER = 0.25
"""By how many nats a character another reading must be more probable than what was typed, to be judged as well."""
_READABLE = -4.2
"""Below this many nats a character no reading is a language that is written with spaces."""

CERTAIN, WORDS = 0.99, 7
_CAPITALS = 0.3
"""From this share of its letters on a prompt is written in capitals, or in a mix of both."""
_RELATIVES = {"gl": "es", "ca": "es", "ast": "es", "bg": "ru", "mr": "hi", "ne": "hi", "iw": "he", "jw": "jv"}
_SCRIPTS = {
    "en": ("LATIN",), "es": ("LATIN",), "fr": ("LATIN",), "de": ("LATIN",), "pt": ("LATIN",), "ru": ("CYRILLIC",),
    "ar": ("ARABIC",), "hi": ("DEVANAGARI",), "zh": ("CJK", "BOPOMOFO"),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"),
    "ko": ("HANGUL",), "el": ("GREEK",), "he": ("HEBREW",), "th": ("THAI",),
}  # fmt: skip
_ANYWHERE = (
    "FULLWIDTH", "HALFWIDTH", "MATHEMATICAL", "MODIFIER", "FEMININE", "MASCULINE", "MICRO", "CIRCLED", "SCRIPT",
    "DOUBLE-STRUCK", "BLACK-LETTER",
)  # fmt: skip
"""First words of the names of letters that are variants of letters, and say nothing about a language."""


@cache
def _detector() -> Any:
    import gcld3

    return gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=4000)


def _foreign(text: str, languages: Collection[str]) -> str | None:
    """The script of which three letters or more are, where none of ``languages`` is written in it."""
    known = {script for language in languages for script in _SCRIPTS.get(language, ("LATIN",))}
    counts: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            script = unicodedata.name(char, "?").split(" ")[0]
            if script not in known and script not in _ANYWHERE:
                counts[script] = counts.get(script, 0) + 1
    most = max(counts, key=lambda script: counts[script], default=None)
    return most if most is not None and counts[most] >= 3 else None


def unsupported(text: str, languages: Collection[str]) -> str | None:
    """The language or script that ``text`` is in, where it is clearly none of ``languages`` (ISO 639-1); else None.
    Raises SafetyError for an answer of the detector that is none: no name, or no probability."""
    text = unicodedata.normalize("NFKC", clean(text))
    script = _foreign(text, languages)
    # Greek letters and the like also stand for Latin ones: then another view of the prompt is language.
    if script is not None and script not in ("GREEK", "ARMENIAN", "CHEROKEE"):
        return script.lower()
    if len(text.split()) < WORDS:
        return script.lower() if script is not None else None
    found = _detector().FindLanguage(text=text.lower() if text.isupper() else text)
    # Not a number is below every bar: unchecked, it would pass for "not certain".
    if not isinstance(found.language, str) or not found.language or not 0 <= found.probability <= 1:
        raise SafetyError("the language of the prompt could not be told", code="safety.language")
    language = found.language.split("-")[0]
    language = _RELATIVES.get(language, language)
    if found.is_reliable and found.probability >= CERTAIN and language not in languages:
        return str(language)
    return None


def _quiet(text: str) -> str:
    cased = [char for char in text if char.lower() != char.upper()]
    return text.lower() if sum(map(str.isupper, cased)) > _CAPITALS * len(cased) else text


def likely_readings(text: str, pieces: WordPieces) -> list[str]:
    """What was typed, and the other views of it that are clearly closer to language, the likeliest first. Text in
    capitals is read in small letters: shouting says nothing about harm, and the word pieces of capitals are rare."""
    found = views(text)
    typed = _quiet(clean(text))
    if not found or not typed:
        return [typed or text]
    bar = max(pieces.likelihood(found[0].text) + CLEARER, _READABLE)
    ranked = sorted(((pieces.likelihood(v.text), v.text) for v in found[1:]), reverse=True)
    return [typed, *(other for chance, other in ranked[: MOST_READINGS - 1] if chance > bar)]
