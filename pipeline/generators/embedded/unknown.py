"""The words of a prompt that a model has never learned, and what it knows that is spelled like them."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .words import UNKNOWN

MOST = 20
"""Words named at most: each is compared with the whole vocabulary."""


@dataclass(frozen=True)
class UnknownWord:
    """``nearest``: up to three words of the model's own that are spelled alike, the likest first."""

    word: str
    nearest: tuple[str, ...]


def unknown_words(tokenizer: Any, text: str) -> list[UnknownWord]:
    """The words of ``text`` that a word-level ``tokenizer`` does not know, in their order, each once, MOST at most."""
    core = tokenizer.backend_tokenizer
    words = [word for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(text))]
    missing = [word for word in dict.fromkeys(words) if UNKNOWN in (token.value for token in core.model.tokenize(word))]
    if not missing:
        return []
    known = [word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 2]
    return [UnknownWord(word, tuple(get_close_matches(word[:40], known, 3, 0.75))) for word in missing[:MOST]]
