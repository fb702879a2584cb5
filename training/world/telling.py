"""Captions of shots in five languages: true, varied, and shorter or longer.

What a caption may leave out: the setting (one in ten), the camera (one in five), the sound (one in three), the
drawing style (one in four), and a usual size or place. What moves, how, and how many are always said.
"""

from __future__ import annotations

import re

import numpy as np

from .colours import COLOURS16, OWN
from .concepts import concepts, thing
from .settings import SETTINGS
from .shots import Actor, Shot, style_name
from .tongues import LANGUAGES
from .tongues.base import Language, Phrases, Said

VOICES = {"bird": "chirp", "animal": "call", "clock": "tick", "music": "note"}


def _pick(rng: np.random.Generator, options: Phrases) -> str:
    return options[int(rng.integers(len(options)))]


def verb_key(shot: Shot) -> str:
    """The key of the motion's words: direction and growth included."""
    if shot.motion in ("slide", "fly"):
        return f"{shot.motion} {'right' if shot.direction > 0 else 'left'}"
    return "shrink" if shot.motion == "grow" and shot.direction < 0 else shot.motion


def sound_key(shot: Shot) -> str:
    """The key of the words for what is heard most."""
    concept = thing(shot.subject.concept)
    if shot.motion in ("bounce", "fall", "collide"):
        return concept.material
    if shot.motion in ("slide", "fly", "orbit", "rest") and concept.kind in ("vehicle", "air"):
        return "engine"
    if shot.motion == "slide":
        return "wash" if concept.kind in ("boat", "sea") else "scrape"
    if shot.motion == "grow":
        return "falling tone" if shot.direction > 0 else "rising tone"
    if shot.motion == "rest":
        return VOICES.get(concept.kind, SETTINGS[shot.setting].ambience)
    return {"spin": "tick", "shake": "rattle", "hide": "rustle", "appear": "chime"}.get(shot.motion, "whoosh")


def noun_phrase(tongue: Language, rng: np.random.Generator, actor: Actor, count: int, size: str, case: str) -> str:
    """The actor's name with article or number, size and colour."""
    names = thing(actor.concept).names[tongue.code]
    noun = names[0] if rng.random() < 0.6 else names[int(rng.integers(len(names)))]
    colour = None if actor.colour == OWN else COLOURS16[actor.colour]
    tint = "" if colour is None else _pick(rng, tongue.colours(colour))
    word = _pick(rng, tongue.sizes[size]) if size in tongue.sizes else ""
    return tongue.noun_phrase(Said(noun, colour, tint, word, count, case))


def place_key(shot: Shot) -> str:
    """ "left" or "right" for a single thing that stands to that side, else ""."""
    alone = shot.count == 1 and shot.partner is None and shot.motion in ("rest", "bounce", "fall", "shake")
    if not alone or shot.camera != "still" or abs(shot.subject.x - 0.5) < 0.1:
        return ""
    return "left" if shot.subject.x < 0.5 else "right"


def tell(shot: Shot, rng: np.random.Generator, language: str = "en", held_out: bool = False) -> str:
    """One of the many ways to say what `shot` shows. `held_out` uses the openings that training never sees."""
    tongue = LANGUAGES[language]
    single = shot.count == 1 and not shot.relation and shot.motion not in ("grow", "collide", "orbit")
    subject = noun_phrase(tongue, rng, shot.subject, shot.count, shot.size if single else "", "nom")
    names = {"{b}": "", "{a}": "", "{c}": tongue.covers.get(shot.cover, "")}
    if shot.partner is not None:
        state = rng.bit_generator.state
        names["{b}"] = noun_phrase(tongue, rng, shot.partner, 1, "", "dat")
        rng.bit_generator.state = state
        names["{a}"] = noun_phrase(tongue, rng, shot.partner, 1, "", "acc")
    verbs = tongue.verbs[verb_key(shot)]
    parts = {
        "np": subject,
        "rel": _pick(rng, tongue.relations[shot.relation]) if shot.relation else "",
        "verb": verbs[int(rng.integers(len(verbs)))][shot.count > 1],
        "place": _pick(rng, tongue.places[place_key(shot)]) if place_key(shot) else "",
        "setting": _pick(rng, tongue.settings[SETTINGS[shot.setting].name]) if rng.random() < 0.9 else "",
    }
    still = shot.media == "still"
    pattern = _pick(rng, tongue.still if still else tongue.moving)
    body = re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], pattern)
    if still:
        openings = tongue.openings_held if held_out else tongue.openings
    else:
        openings = tongue.openings_clip_held if held_out else tongue.openings_clip
    opening = _pick(rng, openings) if pattern.startswith("{np}") or not still else ""
    extras = []
    if style_name(shot.subject) == "line" and rng.random() < 0.75:
        extras.append(_pick(rng, tongue.line))
    if shot.camera != "still" and rng.random() < 0.8:
        extras.append(_pick(rng, tongue.cameras[shot.camera]))
    if shot.media == "av" and rng.random() < 0.67:
        extras.append(_pick(rng, tongue.sounds[sound_key(shot)]))
    text = tongue.comma.join((body, *extras))
    for name, said in names.items():
        text = text.replace(name, said)
    return _tidy(opening + text, tongue)


def _tidy(text: str, tongue: Language) -> str:
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"[,，]\s*(?=[,，])", "", text).strip(" ,:，")
    text = re.sub(r"\s+([,，:])", r"\1", text)
    if tongue.code == "fr":
        return re.sub(r"\bd'(?=(deux|trois|quatre)\b)", "de ", text)
    if tongue.code == "es":
        return text.replace(" de el ", " del ")
    if tongue.code == "zh":
        return re.sub(r"\s+", "", text).replace(",", "，").replace(":", "：")
    return text


def words(language: str) -> tuple[str, ...]:
    """Every phrase the language's captions are made of, for a vocabulary: nouns, colours, and all tables."""
    tongue = LANGUAGES[language]
    tables = (tongue.sizes, tongue.places, tongue.relations, tongue.settings, tongue.cameras, tongue.sounds)
    found = [phrase for table in tables for phrases in table.values() for phrase in phrases]
    found += [verb for pairs in tongue.verbs.values() for pair in pairs for verb in pair]
    found += [*tongue.covers.values(), *tongue.line, *tongue.openings, *tongue.openings_clip]
    for concept in concepts():
        for noun in concept.names[language]:
            for colour in (None, *COLOURS16):
                for count in (1, 2, 3, 4):
                    tint = "" if colour is None else tongue.colours(colour)[0]
                    cases = (Said(noun, colour, tint, "", count, case) for case in ("nom", "acc", "dat"))
                    found += map(tongue.noun_phrase, cases)
    found += [phrase for colour in COLOURS16 for phrase in tongue.colours(colour)]
    return tuple(dict.fromkeys(re.sub(r"\{\w\}", "", phrase) for phrase in found))
