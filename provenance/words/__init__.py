"""The words of the verification tool, for readers who never heard of C2PA: one JSON file a language, the same keys.

Values are text or lists of texts, with named places such as ``{signer}``. What fills a place comes from a stranger's
file and is never markup: whoever shows it escapes the whole.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

DEFAULT = "en"
_PLACE = re.compile(r"\{(\w+)\}")


@cache
def languages() -> tuple[str, ...]:
    """The languages that there are, English first."""
    found = sorted(
        entry.name.removesuffix(".json")
        for entry in resources.files(__package__).iterdir()
        if entry.name.endswith(".json")
    )
    return (DEFAULT, *(name for name in found if name != DEFAULT))


class Words:
    """The texts of one language. A key that is not there is a KeyError: a test compares the languages."""

    def __init__(self, language: str, texts: dict[str, Any]) -> None:
        self.language, self._texts = language, texts

    def __call__(self, key: str, **places: object) -> str:
        """The text under ``key`` with its places filled; for a list its lines joined."""
        return " ".join(self.lines(key, **places))

    def lines(self, key: str, **places: object) -> list[str]:
        found = self._texts[key]
        texts = found if isinstance(found, list) else [found]
        # Not str.format, and all at once: a stranger's text may hold braces, and must stay text.
        return [_PLACE.sub(lambda place: str(places.get(place[1], place[0])), str(text)) for text in texts]

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def names(self) -> list[str]:
        return list(self._texts)


@cache
def words(language: str = DEFAULT) -> Words:
    """The texts of ``language`` (`en`, `zh`, …), English where it is not known."""
    name = language if language in languages() else DEFAULT
    data = (resources.files(__package__) / f"{name}.json").read_text("utf-8")
    return Words(name, json.loads(data))
