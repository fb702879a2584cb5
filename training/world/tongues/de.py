"""German."""

from __future__ import annotations

from ..colours import Colour
from .base import Language, Phrases, Said

_COUNTS = ("", "", "zwei", "drei", "vier")
_ENDINGS = {"m": "er", "f": "e", "n": "es"}


def _ending(colour: Colour, ending: str) -> str:
    return colour.de if colour.invariant_de else colour.de + ending


def noun_phrase(said: Said) -> str:
    """Ein kleiner roter Hund; von einem kleinen roten Hund; drei rote Hunde."""
    oblique = said.case == "dat" or (said.case == "acc" and said.noun.gender == "m")
    ending = "e" if said.count > 1 else "en" if oblique else _ENDINGS[said.noun.gender]
    words = [said.size + ending] if said.size else []
    if said.colour is not None:
        words.append(_ending(said.colour, ending))
    if said.count > 1:
        return " ".join((_COUNTS[said.count], *words, said.noun.many))
    if said.case == "dat":
        article = "einer" if said.noun.gender == "f" else "einem"
    else:
        article = {"f": "eine", "m": "einen" if said.case == "acc" else "ein"}.get(said.noun.gender, "ein")
    name = said.noun.extra if oblique else said.noun.one
    return " ".join((article, *words, name))


def colours(colour: Colour) -> Phrases:
    """Only whether it is said: agreement gives the word."""
    return (colour.de,)


def _plain(word: str) -> Phrases:
    return (f"auf {word} Hintergrund", f"vor {word} Hintergrund")


def _blend(top: str, bottom: str) -> Phrases:
    return (f"vor einem Verlauf von {top} nach {bottom}", f"vor einem Farbverlauf aus {top} und {bottom}")


GERMAN = Language(
    code="de",
    noun_phrase=noun_phrase,
    colours=colours,
    sizes={"small": ("klein", "winzig"), "large": ("groß", "riesig")},
    places={"left": ("links", "auf der linken Seite"), "right": ("rechts", "auf der rechten Seite")},
    relations={
        "left": ("links von {b}", "links neben {b}"),
        "above": ("über {b}", "oberhalb von {b}"),
        "front": ("vor {b}",),
    },
    verbs={
        "rest": (("bleibt still", "bleiben still"), ("bewegt sich nicht", "bewegen sich nicht")),
        "slide left": (("gleitet nach links", "gleiten nach links"), ("rutscht nach links", "rutschen nach links")),
        "slide right": (
            ("gleitet nach rechts", "gleiten nach rechts"),
            ("rutscht nach rechts", "rutschen nach rechts"),
        ),
        "bounce": (("hüpft", "hüpfen"), ("springt auf und ab", "springen auf und ab")),
        "fall": (("fällt herunter", "fallen herunter"), ("fällt zu Boden", "fallen zu Boden")),
        "spin": (("dreht sich", "drehen sich"), ("rotiert", "rotieren")),
        "grow": (("wächst", "wachsen"), ("wird größer", "werden größer")),
        "shrink": (("schrumpft", "schrumpfen"), ("wird kleiner", "werden kleiner")),
        "shake": (("wackelt", "wackeln"), ("zittert", "zittern")),
        "orbit": (("umkreist {a}", "umkreisen {a}"), ("kreist um {a}", "kreisen um {a}")),
        "fly left": (("fliegt nach links", "fliegen nach links"),),
        "fly right": (("fliegt nach rechts", "fliegen nach rechts"),),
        "hide": (
            ("versteckt sich hinter {c}", "verstecken sich hinter {c}"),
            ("verschwindet hinter {c}", "verschwinden hinter {c}"),
        ),
        "appear": (("erscheint", "erscheinen"), ("zeigt sich plötzlich", "zeigen sich plötzlich")),
        "collide": (("stößt mit {b} zusammen", "stoßen mit {b} zusammen"), ("prallt mit {b} zusammen",) * 2),
    },
    covers={"wall": "einer Ziegelmauer", "bush": "einem Busch", "box": "einer Holzkiste"},
    settings={
        "white": _plain("weißem"),
        "grey": _plain("grauem"),
        "blue": _plain("blauem"),
        "green": _plain("grünem"),
        "yellow": _plain("gelbem"),
        "pink": _plain("rosa"),
        "black": _plain("schwarzem"),
        "beige": _plain("beigem"),
        "blue to white": _blend("Blau", "Weiß"),
        "pink to orange": _blend("Rosa", "Orange"),
        "purple to navy": _blend("Lila", "Dunkelblau"),
        "yellow to green": _blend("Gelb", "Grün"),
        "sea": ("auf dem Meer", "auf dem blauen Meer"),
        "hill": ("auf einem grünen Hügel", "auf einer Wiese"),
        "night sky": ("unter dem Nachthimmel", "nachts unter den Sternen"),
        "city": ("in der Stadt", "vor hohen Häusern"),
        "room": ("in einem Zimmer", "im Wohnzimmer"),
        "desert": ("in der Wüste", "auf den Dünen"),
        "snow": ("im Schnee", "auf einem verschneiten Feld"),
        "sunset": ("bei Sonnenuntergang", "vor der untergehenden Sonne"),
        "forest": ("im Wald", "zwischen den Bäumen"),
        "beach": ("am Strand", "im Sand am Meer"),
        "road": ("auf der Straße", "auf einer Landstraße"),
        "under water": ("unter Wasser", "auf dem Meeresgrund"),
    },
    cameras={
        "pan left": ("die Kamera schwenkt nach links", "Kameraschwenk nach links"),
        "pan right": ("die Kamera schwenkt nach rechts", "Kameraschwenk nach rechts"),
        "zoom in": ("die Kamera zoomt heran", "langsamer Zoom hinein"),
        "zoom out": ("die Kamera zoomt heraus", "langsamer Zoom hinaus"),
    },
    sounds={
        "soft": ("mit einem dumpfen Aufprall",),
        "rubber": ("mit einem Gummigeräusch",),
        "wood": ("mit einem hölzernen Klopfen",),
        "stone": ("mit einem steinernen Klacken",),
        "metal": ("mit einem metallischen Klang",),
        "glass": ("mit einem Klirren",),
        "paper": ("mit einem leichten Tippen",),
        "tick": ("mit einem Ticken",),
        "rattle": ("mit einem Rasseln",),
        "whoosh": ("mit einem Rauschen der Luft",),
        "engine": ("mit Motorgeräusch",),
        "wash": ("mit plätscherndem Wasser",),
        "scrape": ("mit einem Schaben",),
        "falling tone": ("mit einem fallenden Ton",),
        "rising tone": ("mit einem steigenden Ton",),
        "rustle": ("mit einem Rascheln",),
        "chime": ("mit einem Glockenspiel",),
        "chirp": ("mit einem Zwitschern",),
        "call": ("mit einem Tierruf",),
        "note": ("mit Musiktönen",),
        "water": ("mit Wellenrauschen",),
        "wind": ("mit Wind",),
        "crickets": ("mit Grillen",),
        "traffic": ("mit fernem Verkehr",),
        "clock": ("mit dem Ticken einer Uhr",),
        "birds": ("mit Vogelgesang",),
        "bubbles": ("mit Blubbern",),
        "none": ("still und stumm", "ohne Ton"),
    },
    line=("als Strichzeichnung", "mit Tinte gezeichnet"),
    openings=("", "", "", "", "", "Bild: ", "Illustration: "),
    openings_held=("Wunschbild: ", "Szene: "),
    openings_clip=("", "", "", "", "Video: ", "Clip: "),
    openings_clip_held=("Film: ", "bitte filmen: "),
    still=("{np} {rel} {place} {setting}", "{np} {rel} {setting} {place}"),
    moving=("{np} {rel} {verb} {setting}", "{setting}: {np} {rel} {verb}"),
)
