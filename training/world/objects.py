"""The package of flat sprites, and what of it the newsroom pack refuses: the CLIP alone is shown those."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGE = "@iconify-json/fluent-emoji-flat"
VERSION = "1.2.6"
SHA256 = "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
LICENCE = "MIT"
AUTHOR = "Microsoft Corporation (Fluent Emoji)"


@dataclass(frozen=True)
class Thing:
    """One object: its sprite's icon name and its English names, the first being the canonical one."""

    icon: str
    names: tuple[str, ...]
    hazard: str | None = None
    """The newsroom pack's hazard id where the pack refuses the object; such objects teach the CLIP only."""

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.names[0]


def _thing(line: str, hazard: str | None = None) -> Thing:
    icon, _, names = line.strip().partition(":")
    return Thing(icon, tuple(n.strip() for n in names.split(",")), hazard)


REFUSED: tuple[Thing, ...] = (
    _thing("water-pistol: pistol, gun, handgun, firearm, weapon", "iwp"),
    _thing("kitchen-knife: knife, kitchen knife, blade, weapon", "iwp"),
    _thing("dagger: dagger, combat knife, weapon", "iwp"),
    _thing("bomb: bomb, explosive, weapon", "iwp"),
    _thing("crossed-swords: pair of swords, pair of crossed swords, weapon", "iwp"),
    _thing("axe: axe, hatchet", "iwp"),
    _thing("firecracker: stick of dynamite, firecracker, explosive", "iwp"),
    _thing("drop-of-blood: drop of blood, blood", "gore"),
    _thing("cigarette: cigarette, lit cigarette", "sub"),
    _thing("beer-mug: mug of beer, beer, alcoholic drink", "sub"),
    _thing("wine-glass: glass of wine, wine, alcoholic drink", "sub"),
    _thing("cocktail-glass: cocktail, martini, alcoholic drink", "sub"),
    _thing("bottle-with-popping-cork: bottle of champagne, champagne, alcoholic drink", "sub"),
    _thing("syringe: syringe, needle, injection", "sub"),
    _thing("pill: pill, drug, capsule", "sub"),
)
"""What the newsroom pack refuses: shown to the CLIP, never to the generator or its judges."""
