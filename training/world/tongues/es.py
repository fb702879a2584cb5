"""Spanish."""

from __future__ import annotations

from ..colours import Colour
from .base import Language, Phrases, Said

_COUNTS = ("", "", "dos", "tres", "cuatro")


def noun_phrase(said: Said) -> str:
    """Un perro rojo pequeño; tres casas rojas."""
    form = said.form
    words = [said.name]
    if said.colour is not None:
        words.append(said.colour.es[form])
    if said.size:
        words.append(said.size[:-1] + "a" if said.size.endswith("o") and form % 2 else said.size)
        words[-1] += "s" if said.count > 1 else ""
    article = _COUNTS[said.count] if said.count > 1 else ("una" if form % 2 else "un")
    # un águila, un ancla: before a stressed a the feminine article gives way
    if article == "una" and said.noun.one in ("águila", "ancla"):
        article = "un"
    return " ".join((article, *words))


def colours(colour: Colour) -> Phrases:
    """Only whether it is said: agreement gives the word."""
    return (colour.es[0],)


def _plain(word: str) -> Phrases:
    return (f"sobre un fondo {word}", f"con fondo {word}", f"delante de un fondo {word}")


def _blend(top: str, bottom: str) -> Phrases:
    return (f"sobre un degradado de {top} a {bottom}", f"con un fondo entre {top} y {bottom}")


SPANISH = Language(
    code="es",
    noun_phrase=noun_phrase,
    colours=colours,
    sizes={"small": ("pequeño", "diminuto"), "large": ("grande", "enorme")},
    places={"left": ("a la izquierda", "en el lado izquierdo"), "right": ("a la derecha", "en el lado derecho")},
    relations={
        "left": ("a la izquierda de {b}",),
        "above": ("encima de {b}", "por encima de {b}"),
        "front": ("delante de {b}", "enfrente de {b}"),
    },
    verbs={
        "rest": (("permanece en su sitio", "permanecen en su sitio"), ("no se mueve", "no se mueven")),
        "slide left": (("se desliza hacia la izquierda", "se deslizan hacia la izquierda"),),
        "slide right": (("se desliza hacia la derecha", "se deslizan hacia la derecha"),),
        "bounce": (("rebota", "rebotan"), ("bota arriba y abajo", "botan arriba y abajo")),
        "fall": (("cae al suelo", "caen al suelo"), ("se cae", "se caen")),
        "spin": (("gira", "giran"), ("da vueltas", "dan vueltas")),
        "grow": (("crece", "crecen"), ("se hace más grande", "se hacen más grandes")),
        "shrink": (("encoge", "encogen"), ("disminuye de tamaño", "disminuyen de tamaño")),
        "shake": (("tiembla", "tiemblan"), ("se sacude", "se sacuden")),
        "orbit": (
            ("da vueltas alrededor de {b}", "dan vueltas alrededor de {b}"),
            ("orbita alrededor de {b}", "orbitan alrededor de {b}"),
        ),
        "fly left": (("vuela hacia la izquierda", "vuelan hacia la izquierda"),),
        "fly right": (("vuela hacia la derecha", "vuelan hacia la derecha"),),
        "hide": (("se esconde detrás de {c}", "se esconden detrás de {c}"), ("desaparece detrás de {c}",) * 2),
        "appear": (("aparece", "aparecen"), ("surge de repente", "surgen de repente")),
        "collide": (("choca con {b}", "chocan con {b}"), ("se estrella contra {b}", "se estrellan contra {b}")),
    },
    covers={"wall": "un muro de ladrillo", "bush": "un arbusto", "box": "una caja de madera"},
    settings={
        "white": _plain("blanco"),
        "grey": _plain("gris"),
        "blue": _plain("azul"),
        "green": _plain("verde"),
        "yellow": _plain("amarillo"),
        "pink": _plain("rosa"),
        "black": _plain("negro"),
        "beige": _plain("beige"),
        "blue to white": _blend("azul", "blanco"),
        "pink to orange": _blend("rosa", "naranja"),
        "purple to navy": _blend("violeta", "azul marino"),
        "yellow to green": _blend("amarillo", "verde"),
        "sea": ("en el mar", "sobre el mar azul"),
        "hill": ("en una colina verde", "en un prado"),
        "night sky": ("bajo un cielo nocturno", "de noche bajo las estrellas"),
        "city": ("en la ciudad", "delante de unos edificios altos"),
        "room": ("en una habitación", "en el salón"),
        "desert": ("en el desierto", "en las dunas"),
        "snow": ("en la nieve", "en un campo nevado"),
        "sunset": ("al atardecer", "ante la puesta de sol"),
        "forest": ("en el bosque", "entre los árboles"),
        "beach": ("en la playa", "en la arena junto al mar"),
        "road": ("en la carretera", "en un camino asfaltado"),
        "under water": ("bajo el agua", "en el fondo del mar"),
    },
    cameras={
        "pan left": ("la cámara se mueve a la izquierda", "paneo a la izquierda"),
        "pan right": ("la cámara se mueve a la derecha", "paneo a la derecha"),
        "zoom in": ("la cámara se acerca", "zoom de acercamiento"),
        "zoom out": ("la cámara se aleja", "zoom de alejamiento"),
    },
    sounds={
        "soft": ("con un golpe sordo",),
        "rubber": ("con un golpe de goma",),
        "wood": ("con un golpe de madera",),
        "stone": ("con un chasquido de piedra",),
        "metal": ("con un golpe metálico",),
        "glass": ("con un tintineo",),
        "paper": ("con un toque ligero",),
        "tick": ("con un tictac",),
        "rattle": ("con un traqueteo",),
        "whoosh": ("con un silbido de aire",),
        "engine": ("con ruido de motor",),
        "wash": ("con chapoteo de agua",),
        "scrape": ("con un roce",),
        "falling tone": ("con un tono descendente",),
        "rising tone": ("con un tono ascendente",),
        "rustle": ("con un susurro de hojas",),
        "chime": ("con una campanilla",),
        "chirp": ("con un trino",),
        "call": ("con la llamada de un animal",),
        "note": ("con notas musicales",),
        "water": ("con sonido de olas",),
        "wind": ("con sonido de viento",),
        "crickets": ("con grillos",),
        "traffic": ("con tráfico lejano",),
        "clock": ("con el tictac de un reloj",),
        "birds": ("con canto de pájaros",),
        "bubbles": ("con burbujas",),
        "none": ("en silencio", "sin sonido"),
    },
    line=("dibujo de líneas", "dibujado a tinta"),
    openings=("", "", "", "", "una imagen de ", "dibuja ", "muéstrame ", "una ilustración de "),
    openings_held=("quisiera ver ", "crea por favor "),
    openings_clip=("", "", "", "", "un vídeo en el que ", "un clip donde "),
    openings_clip_held=("filma cómo ", "quisiera ver cómo "),
    still=("{np} {rel} {place} {setting}", "{np} {rel} {setting} {place}"),
    moving=("{np} {rel} {verb} {setting}", "{setting}, {np} {rel} {verb}"),
)
