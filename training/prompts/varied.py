"""Other ways to type the same prompt, for training: none of them changes what it asks for."""

from __future__ import annotations

import random

_BEFORE = (
    "generate an image of", "a photo of", "photo:", "create a video showing", "please make a picture of", "draw",
    "a short clip of",
    "cinematic shot of", "I want to see", "image:", "video:", "a realistic picture of", "an oil painting of",
    "a cartoon of",
)  # fmt: skip
_AFTER = (
    "4k", "photorealistic", "highly detailed", "cinematic lighting", "35mm film", "in the style of a documentary",
    "8k uhd",
    "trending", "soft light", "wide angle", "slow motion", "handheld camera", "black and white", "watercolor",
    "isometric",
    "bokeh", "studio lighting", "drone shot", "vivid colors", "matte painting", "for an article", "digital art",
)  # fmt: skip


def varied(text: str, language: str, chance: random.Random) -> str:
    """``text``, most often as it is, else with other case, punctuation, or words that people put around any prompt."""
    roll = chance.random
    if language == "en":
        if roll() < 0.12:
            text = f"{chance.choice(_BEFORE)} {text}"
        if roll() < 0.2:
            text = ", ".join([text, *chance.sample(_AFTER, chance.randint(1, 3))])
    if roll() < 0.25:
        text = text.lower()
    elif roll() < 0.1:
        text = text[:1].upper() + text[1:] + "."
    elif roll() < 0.04:
        text = text.upper()
    if roll() < 0.1:
        text = text.replace(",", "").rstrip(".")
    if roll() < 0.06 and len(text) > 12:
        at = chance.randrange(2, len(text) - 2)
        text = text[:at] + text[at + 1 :] if roll() < 0.5 else text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if language == "en" and roll() < 0.06:
        text = " ".join(_misspelt(word, chance) for word in text.split())
    return text


_SIGNS = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5"})


def _misspelt(word: str, chance: random.Random) -> str:
    """Two letters inside swapped, or digits for letters: what a hurried hand does to any prompt, harmful or not."""
    if len(word) < 4 or chance.random() < 0.5:
        return word
    if chance.random() < 0.3:
        return word.translate(_SIGNS)
    at = chance.randrange(1, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
