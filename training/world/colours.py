"""Sixteen colours: sRGB in 0..255 and their words in five languages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A colour. `es` and `fr` are masculine, feminine, and their plurals; `de` is the stem that takes endings."""

    name: str
    rgb: tuple[int, int, int]
    zh: str
    es: tuple[str, str, str, str]
    fr: tuple[str, str, str, str]
    de: str
    also: tuple[str, ...] = ()

    @property
    def invariant_de(self) -> bool:
        """German colour words that take no ending: ein rosa Hund."""
        return self.de in ("rosa", "lila", "orange", "beige", "türkisfarben", "olivgrün")


def _es(word: str) -> tuple[str, str, str, str]:
    if word in ("naranja", "rosa", "violeta", "beige", "turquesa", "oliva", "lima", "azul marino"):
        return word, word, word, word
    if word.endswith("o"):
        return word, word[:-1] + "a", word + "s", word[:-1] + "as"
    many = word + ("s" if word[-1] in "aeiou" else "es")
    return word, word, many.replace("ón", "on"), many.replace("ón", "on")


def _fr(one: str, she: str | None = None) -> tuple[str, str, str, str]:
    if she is None:
        return one, one, one, one
    many = one if one.endswith("s") else one + "s"
    return one, she, many, she + "s"


COLOURS16: tuple[Colour, ...] = (
    Colour("red", (222, 40, 45), "红色", _es("rojo"), _fr("rouge", "rouge"), "rot"),
    Colour("orange", (245, 130, 30), "橙色", _es("naranja"), _fr("orange"), "orange"),
    Colour("yellow", (252, 208, 45), "黄色", _es("amarillo"), _fr("jaune", "jaune"), "gelb"),
    Colour("green", (50, 160, 70), "绿色", _es("verde"), _fr("vert", "verte"), "grün"),
    Colour("lime", (165, 220, 50), "黄绿色", _es("lima"), _fr("citron vert"), "hellgrün", ("lime green",)),
    Colour("olive", (120, 125, 45), "橄榄色", _es("oliva"), _fr("olive"), "olivgrün"),
    Colour("turquoise", (60, 195, 190), "青色", _es("turquesa"), _fr("turquoise"), "türkisfarben", ("teal", "cyan")),
    Colour("blue", (40, 105, 225), "蓝色", _es("azul"), _fr("bleu", "bleue"), "blau"),
    Colour("navy", (28, 45, 110), "深蓝色", _es("azul marino"), _fr("bleu marine"), "dunkelblau", ("navy blue",)),
    Colour("purple", (135, 70, 200), "紫色", _es("violeta"), _fr("violet", "violette"), "lila", ("violet",)),
    Colour("pink", (255, 135, 190), "粉色", _es("rosa"), _fr("rose", "rose"), "rosa"),
    Colour("brown", (125, 82, 50), "棕色", _es("marrón"), _fr("marron"), "braun"),
    Colour("beige", (228, 208, 170), "米色", _es("beige"), _fr("beige", "beige"), "beige", ("cream",)),
    Colour("grey", (140, 145, 150), "灰色", _es("gris"), _fr("gris", "grise"), "grau", ("gray",)),
    Colour("white", (246, 246, 244), "白色", _es("blanco"), _fr("blanc", "blanche"), "weiß"),
    Colour("black", (36, 36, 42), "黑色", _es("negro"), _fr("noir", "noire"), "schwarz"),
)
OWN = len(COLOURS16)
"""The colour number of a sprite in its own colours."""


def rgb(name: str) -> tuple[int, int, int]:
    """The colour called `name`."""
    return next(colour.rgb for colour in COLOURS16 if colour.name == name)
