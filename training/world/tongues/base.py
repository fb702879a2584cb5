"""What a language must provide for captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..colours import Colour
from ..concepts import Noun

Phrases = tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """What a noun phrase says: the noun, a colour (and `tint`, one of its words), a size's word or "", how many, and
    the case, nom, acc or dat, for languages that have cases."""

    noun: Noun
    colour: Colour | None = None
    tint: str = ""
    size: str = ""
    count: int = 1
    case: str = "nom"

    @property
    def name(self) -> str:
        """Singular or plural, by the count."""
        return self.noun.one if self.count == 1 else self.noun.many

    @property
    def form(self) -> int:
        """0 to 3: masculine, feminine, and their plurals."""
        return (self.noun.gender == "f") + 2 * (self.count > 1)


NounPhrase = Callable[[Said], str]


@dataclass(frozen=True)
class Language:
    """A language's words. Phrases may hold {b}, the partner (in the dative, where there is one), {a},
    the same in the accusative, and {c}, the cover that things hide behind."""

    code: str
    noun_phrase: NounPhrase
    colours: Callable[[Colour], Phrases]
    """A colour's base words."""
    sizes: dict[str, Phrases]
    places: dict[str, Phrases]
    """"left" and "right"."""
    relations: dict[str, Phrases]
    verbs: dict[str, tuple[tuple[str, str], ...]]
    """A motion's verb phrases, (singular, plural); slides and flights end in " left" or " right", a shrinking grow is
    "shrink"."""
    covers: dict[str, str]
    settings: dict[str, Phrases]
    cameras: dict[str, Phrases]
    sounds: dict[str, Phrases]
    line: Phrases
    """Says that a picture is drawn in lines: added at the end, after a comma."""
    openings: Phrases
    """What may come before; most are empty."""
    openings_held: Phrases
    """Openings kept for the held-out captions only."""
    openings_clip: Phrases
    """The same before a clip's sentence."""
    openings_clip_held: Phrases
    still: Phrases
    """Patterns of {np} {rel} {place} {setting} for a still."""
    moving: Phrases
    """Patterns of {np} {rel} {verb} {setting} for a clip."""
    comma: str = ", "
