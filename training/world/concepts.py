"""What can be shown: 177 concepts, each drawn in two art styles and named in five languages.

The table is `concepts.txt`. A concept's kind decides how it sounds (`voices.py`) and where it may stand; its material
decides the timbre of its impacts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .objects import REFUSED

TABLE = Path(__file__).with_name("concepts.txt")
KINDS = (
    "animal", "bird", "sea", "vehicle", "boat", "air", "ball", "food", "plant", "thing", "music", "clock", "sky",
    "light",
)  # fmt: skip
MATERIALS = ("soft", "wood", "metal", "glass", "rubber", "stone", "paper")
STYLES = ("flat", "line")
"""The art styles: Fluent Emoji's flat drawings; Noto Emoji's line drawings, their outlines filled."""


@dataclass(frozen=True)
class Noun:
    """A name in one language: singular, plural, gender (m, f, n, or "" where there is none), and what a language
    needs besides: the measure word in Chinese, the dative singular in German."""

    one: str
    many: str
    gender: str = ""
    extra: str = ""


@dataclass(frozen=True)
class Concept:
    """One thing that can be shown; `names` holds the nouns of each language, the first being the usual one."""

    icon: str
    kind: str
    material: str
    names: dict[str, tuple[Noun, ...]]

    @property
    def name(self) -> str:
        """The usual English name."""
        return self.names["en"][0].one


def _english(text: str) -> Noun:
    one, _, many = text.partition("/")
    if not many:
        hiss = one.endswith(("s", "x", "ch", "sh"))
        many = one[:-1] + "ies" if one.endswith("y") and one[-2] not in "aeiou" else one + ("es" if hiss else "s")
        head, of, rest = one.partition(" of ")
        many = f"{head}s{of}{rest}" if of else many
    return Noun(one, many)


def _head(one: str) -> tuple[str, str]:
    """Splits "taza de café" after the word that takes the plural."""
    for join in (" de ", " en ", " d'", " à "):
        head, found, rest = one.partition(join)
        if found:
            return head, found + rest
    return one, ""


def _spanish(text: str) -> Noun:
    gender, words = text.split(" ", 1)
    one, _, many = words.partition("/")
    if not many:
        head, rest = _head(one)
        if head.endswith("z"):
            head = head[:-1] + "ces"
        else:
            head += "s" if head[-1] in "aeiouáéó" else "es"
        many = head + rest
    return Noun(one, many, gender)


def _french(text: str) -> Noun:
    gender, words = text.split(" ", 1)
    one, _, many = words.partition("/")
    if not many:
        head, rest = _head(one)
        if not head.endswith(("s", "x", "z")):
            head += "x" if head.endswith("eau") else "s"
        many = head + rest
    return Noun(one, many, gender)


def _german(text: str) -> Noun:
    gender, words = text.split(" ", 1)
    one, many, dative = (*words.split("/"), "")[:3]
    return Noun(one, many, gender, dative or one)


def _chinese(text: str) -> Noun:
    measure, noun = text.split()
    return Noun(noun, noun, "", measure)


def _concept(line: str) -> Concept:
    icon, kind, material, en, zh, es, fr, de = (part.strip() for part in line.split("|"))
    if kind not in KINDS or material not in MATERIALS:
        raise ValueError(f"{icon}: unknown kind {kind!r} or material {material!r}")
    return Concept(
        icon,
        kind,
        material,
        {
            "en": tuple(_english(word.strip()) for word in en.split(",")),
            "zh": (_chinese(zh),),
            "es": (_spanish(es),),
            "fr": (_french(fr),),
            "de": (_german(de),),
        },
    )


@cache
def concepts() -> tuple[Concept, ...]:
    """All concepts in the table's order, which numbers them."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    found = tuple(_concept(line) for line in lines if line.strip() and not line.startswith("#"))
    refused = {thing.icon for thing in REFUSED}
    if any(concept.icon in refused for concept in found):
        raise ValueError("the table names an object that the newsroom pack refuses")
    return found


@cache
def refused() -> tuple[Concept, ...]:
    """What the newsroom pack refuses, numbered on from the last concept; named in English only. The CLIP alone is
    shown them."""
    return tuple(
        Concept(item.icon, "thing", "metal", {"en": tuple(_english(name) for name in item.names)}) for item in REFUSED
    )


def thing(index: int) -> Concept:
    """The concept, or the refused one, of this number."""
    most = len(concepts())
    return concepts()[index] if index < most else refused()[index - most]


@cache
def number(icon: str) -> int:
    """The number of the concept whose icon is `icon`."""
    return next(i for i, concept in enumerate(concepts()) if concept.icon == icon)
