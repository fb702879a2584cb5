"""French."""

from __future__ import annotations

from ..colours import Colour
from .base import Language, Phrases, Said

_COUNTS = ("", "", "deux", "trois", "quatre")
_SIZES = {
    "petit": ("petit", "petite", "petits", "petites"),
    "minuscule": ("minuscule", "minuscule", "minuscules", "minuscules"),
    "grand": ("grand", "grande", "grands", "grandes"),
    "énorme": ("énorme", "énorme", "énormes", "énormes"),
}


def noun_phrase(said: Said) -> str:
    """Un petit chien rouge; trois maisons rouges."""
    form = said.form
    words = [_COUNTS[said.count] if said.count > 1 else ("une" if form else "un")]
    if said.size:
        words.append(_SIZES[said.size][form])
    words.append(said.name)
    if said.colour is not None:
        words.append(said.colour.fr[form])
    return " ".join(words)


def colours(colour: Colour) -> Phrases:
    """Only whether it is said: agreement gives the word."""
    return (colour.fr[0],)


def _plain(word: str) -> Phrases:
    return (f"sur un fond {word}", f"sur fond {word}", f"devant un fond {word}")


def _blend(top: str, bottom: str) -> Phrases:
    return (f"sur un dégradé entre {top} et {bottom}", f"sur un fond qui passe du {top} au {bottom}")


FRENCH = Language(
    code="fr",
    noun_phrase=noun_phrase,
    colours=colours,
    sizes={"small": ("petit", "minuscule"), "large": ("grand", "énorme")},
    places={"left": ("à gauche", "sur le côté gauche"), "right": ("à droite", "sur le côté droit")},
    relations={
        "left": ("à gauche d'{b}",),
        "above": ("au-dessus d'{b}",),
        "front": ("devant {b}",),
    },
    verbs={
        "rest": (("reste immobile", "restent immobiles"), ("ne bouge pas", "ne bougent pas")),
        "slide left": (("glisse vers la gauche", "glissent vers la gauche"),),
        "slide right": (("glisse vers la droite", "glissent vers la droite"),),
        "bounce": (("rebondit", "rebondissent"), ("saute de haut en bas", "sautent de haut en bas")),
        "fall": (("tombe par terre", "tombent par terre"), ("tombe", "tombent")),
        "spin": (("tourne sur place", "tournent sur place"), ("pivote", "pivotent")),
        "grow": (("grandit", "grandissent"), ("s'agrandit", "s'agrandissent")),
        "shrink": (("rétrécit", "rétrécissent"), ("diminue", "diminuent")),
        "shake": (("tremble", "tremblent"), ("vibre", "vibrent")),
        "orbit": (("tourne autour d'{b}", "tournent autour d'{b}"), ("gravite autour d'{b}",) * 2),
        "fly left": (("vole vers la gauche", "volent vers la gauche"),),
        "fly right": (("vole vers la droite", "volent vers la droite"),),
        "hide": (("se cache derrière {c}", "se cachent derrière {c}"), ("disparaît derrière {c}",) * 2),
        "appear": (("apparaît", "apparaissent"), ("surgit", "surgissent")),
        "collide": (("heurte {b}", "heurtent {b}"), ("entre en collision avec {b}",) * 2),
    },
    covers={"wall": "un mur de briques", "bush": "un buisson", "box": "une caisse en bois"},
    settings={
        "white": _plain("blanc"),
        "grey": _plain("gris"),
        "blue": _plain("bleu"),
        "green": _plain("vert"),
        "yellow": _plain("jaune"),
        "pink": _plain("rose"),
        "black": _plain("noir"),
        "beige": _plain("beige"),
        "blue to white": _blend("bleu", "blanc"),
        "pink to orange": _blend("rose", "orange"),
        "purple to navy": _blend("violet", "bleu marine"),
        "yellow to green": _blend("jaune", "vert"),
        "sea": ("sur la mer", "sur une mer bleue"),
        "hill": ("sur une colline verte", "dans un pré"),
        "night sky": ("sous un ciel de nuit", "la nuit sous les étoiles"),
        "city": ("en ville", "devant de grands immeubles"),
        "room": ("dans une pièce", "dans le salon"),
        "desert": ("dans le désert", "sur les dunes"),
        "snow": ("dans la neige", "sur un champ enneigé"),
        "sunset": ("au coucher du soleil", "devant le soleil couchant"),
        "forest": ("dans la forêt", "dans les bois"),
        "beach": ("sur la plage", "sur le sable au bord de la mer"),
        "road": ("sur la route", "sur une route de campagne"),
        "under water": ("sous l'eau", "au fond de la mer"),
    },
    cameras={
        "pan left": ("la caméra se déplace vers la gauche", "panoramique vers la gauche"),
        "pan right": ("la caméra se déplace vers la droite", "panoramique vers la droite"),
        "zoom in": ("la caméra se rapproche", "zoom avant"),
        "zoom out": ("la caméra s'éloigne", "zoom arrière"),
    },
    sounds={
        "soft": ("avec un bruit sourd",),
        "rubber": ("avec un bruit de caoutchouc",),
        "wood": ("avec un coup sur du bois",),
        "stone": ("avec un claquement de pierre",),
        "metal": ("avec un bruit métallique",),
        "glass": ("avec un tintement",),
        "paper": ("avec un petit bruit léger",),
        "tick": ("avec un tic-tac",),
        "rattle": ("avec un cliquetis",),
        "whoosh": ("avec un souffle d'air",),
        "engine": ("avec un bruit de moteur",),
        "wash": ("avec un clapotis d'eau",),
        "scrape": ("avec un frottement",),
        "falling tone": ("avec un son qui descend",),
        "rising tone": ("avec un son qui monte",),
        "rustle": ("avec un bruissement",),
        "chime": ("avec un carillon",),
        "chirp": ("avec un gazouillis",),
        "call": ("avec un cri d'animal",),
        "note": ("avec des notes de musique",),
        "water": ("avec le bruit des vagues",),
        "wind": ("avec le bruit du vent",),
        "crickets": ("avec des grillons",),
        "traffic": ("avec une circulation lointaine",),
        "clock": ("avec le tic-tac d'une horloge",),
        "birds": ("avec un chant d'oiseaux",),
        "bubbles": ("avec des bulles",),
        "none": ("en silence", "sans son"),
    },
    line=("dessin au trait", "dessiné à l'encre"),
    openings=("", "", "", "", "une image d'", "dessine ", "montre-moi ", "une illustration d'"),
    openings_held=("je voudrais voir ", "crée s'il te plaît "),
    openings_clip=("", "", "", "", "une vidéo où ", "un clip dans lequel "),
    openings_clip_held=("filme comment ", "je voudrais voir comment "),
    still=("{np} {rel} {place} {setting}", "{np} {rel} {setting} {place}"),
    moving=("{np} {rel} {verb} {setting}", "{setting}, {np} {rel} {verb}"),
)
