"""Captions of shots: true in five languages, grammatical where a rule can be tested, varied, some held out."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from filigrana.tests.small_world import draw, plain_atlas
from filigrana.training.world.atlas import Atlas
from filigrana.training.world.colours import COLOURS16, OWN
from filigrana.training.world.concepts import concepts, number
from filigrana.training.world.settings import SETTINGS
from filigrana.training.world.shots import CAMERAS, COVERS, MOTIONS, Shot, sample_shot
from filigrana.training.world.telling import place_key, sound_key, tell, verb_key
from filigrana.training.world.tongues import LANGUAGES
from filigrana.training.world.tongues.base import Said

CODES = sorted(LANGUAGES)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return plain_atlas()


def shots(atlas: Atlas, seed: int, count: int, media: str = "av") -> list[Shot]:
    rng = np.random.default_rng(seed)
    return [sample_shot(rng, atlas, media) for _ in range(count)]


def said(phrase: str, text: str) -> bool:
    """Whether every fixed piece of the phrase is in the text."""
    flat = re.sub(r"\s", "", text) if re.search(r"[\u4e00-\u9fff]", text) else text
    return all(piece.strip() in flat for piece in re.split(r"\{\w\}", phrase))


@pytest.mark.parametrize("code", CODES)
def test_a_language_has_words_for_everything(code: str) -> None:
    tongue = LANGUAGES[code]
    assert set(tongue.settings) == {setting.name for setting in SETTINGS}
    assert set(tongue.cameras) == set(CAMERAS) - {"still"}
    assert set(tongue.covers) == set(COVERS)
    assert {key.split()[0] for key in tongue.verbs} - {"shrink"} == set(MOTIONS)
    assert {setting.ambience for setting in SETTINGS} <= set(tongue.sounds)
    assert set(tongue.sounds) == set(LANGUAGES["en"].sounds)
    assert all(concept.names[code] for concept in concepts())


@pytest.mark.parametrize("code", CODES)
def test_no_two_concepts_share_a_name(code: str) -> None:
    names = Counter(noun.one for concept in concepts() for noun in concept.names[code])
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("code", CODES)
def test_captions_say_what_is_shown_and_what_it_does(atlas: Atlas, code: str) -> None:
    rng = np.random.default_rng(40)
    tongue = LANGUAGES[code]
    for shot in shots(atlas, 41, 400):
        text = tell(shot, rng, code)
        nouns = concepts()[shot.subject.concept].names[code]
        forms = [part for n in nouns for part in ((n.one, n.extra) if shot.count == 1 and code == "de" else (n.one,))]
        assert any(form in text for form in (forms if shot.count == 1 else [n.many for n in nouns]))
        assert any(said(verbs[shot.count > 1], text) for verbs in tongue.verbs[verb_key(shot)])
        if shot.partner is not None:
            names = concepts()[shot.partner.concept].names[code]
            assert any(n.one in text or (code == "de" and n.extra in text) for n in names)
        if shot.relation:
            assert any(said(phrase, text) for phrase in tongue.relations[shot.relation])
        if shot.cover:
            assert tongue.covers[shot.cover] in text
        if shot.count > 1:
            assert {
                "en": ("two", "three", "four"),
                "zh": ("两", "三", "四"),
                "es": ("dos", "tres", "cuatro"),
                "fr": ("deux", "trois", "quatre"),
                "de": ("zwei", "drei", "vier"),
            }[code][shot.count - 2] in text
        assert "{" not in text
        assert "  " not in text


@pytest.mark.parametrize("code", CODES)
def test_sound_camera_and_setting_are_said_truly_or_not_at_all(atlas: Atlas, code: str) -> None:
    rng = np.random.default_rng(42)
    tongue = LANGUAGES[code]
    heard = seen = where = moved = 0
    drawn = shots(atlas, 43, 400)
    for shot in drawn:
        text = tell(shot, rng, code)
        heard += any(text.endswith(phrase) for phrase in tongue.sounds[sound_key(shot)])
        where += any(said(phrase, text) for phrase in tongue.settings[SETTINGS[shot.setting].name])
        moved += shot.camera != "still"
        if shot.camera == "still":
            assert not any(phrase in text for phrases in tongue.cameras.values() for phrase in phrases)
        else:
            seen += any(phrase in text for phrase in tongue.cameras[shot.camera])
    assert 0.5 < heard / len(drawn) < 0.8
    assert 0.8 < where / len(drawn) < 1
    assert 0.6 < seen / moved < 0.95


@pytest.mark.parametrize("code", CODES)
def test_a_silent_clip_and_a_still_say_nothing_of_sound(atlas: Atlas, code: str) -> None:
    rng = np.random.default_rng(44)
    phrases = [p for key, ps in LANGUAGES[code].sounds.items() for p in ps if key != "none"]
    for media in ("still", "clip"):
        for shot in shots(atlas, 45, 60, media):
            text = tell(shot, rng, code)
            assert not any(text.endswith((", " + p, "，" + p)) for p in phrases)


@pytest.mark.parametrize("code", CODES)
def test_one_shot_is_told_in_many_ways(atlas: Atlas, code: str) -> None:
    rng = np.random.default_rng(46)
    shot = draw(atlas, 47, 1, motion="bounce", count=1, relation="", size="large")[0]
    assert len({tell(shot, rng, code) for _ in range(300)}) >= 60


def test_a_colour_is_said_when_it_is_not_the_things_own(atlas: Atlas) -> None:
    rng = np.random.default_rng(48)
    for shot in shots(atlas, 49, 200, "still"):
        if shot.subject.colour != OWN:
            colour = COLOURS16[shot.subject.colour]
            text = tell(shot, rng)
            assert any(word in text for word in (colour.name, *colour.also))
            assert colour.de in tell(shot, rng, "de")
            assert colour.zh in tell(shot, rng, "zh")


def test_left_and_right_are_where_the_thing_stands(atlas: Atlas) -> None:
    rng = np.random.default_rng(50)
    for shot in shots(atlas, 51, 200, "still"):
        if place_key(shot):
            assert (place_key(shot) == "left") == (shot.subject.x < 0.5)
            assert f"on the {place_key(shot)}" in tell(shot, rng)


def test_held_out_openings_are_never_in_training_captions(atlas: Atlas) -> None:
    rng = np.random.default_rng(52)
    for code, tongue in LANGUAGES.items():
        kept = (*tongue.openings_held, *tongue.openings_clip_held)
        assert not set(kept) & {*tongue.openings, *tongue.openings_clip}
        for media in ("still", "clip", "av"):
            for shot in shots(atlas, 53, 60, media):
                assert not tell(shot, rng, code).startswith(kept)


def test_the_evaluation_s_captions_differ_and_name_their_subject(atlas: Atlas) -> None:
    from filigrana.training.evaluate_shots import cases

    asked = [case for media in ("still", "clip", "av") for case in cases(atlas, media, 100)]
    assert len({case.text for case in asked}) > 290
    assert {case.shot.media for case in asked} == {"still", "clip", "av"}
    assert {case.shot.motion for case in asked} == set(MOTIONS)
    for case in asked:
        names = concepts()[case.shot.subject.concept].names.values()
        assert case.shot.held_out
        assert any(form in case.text for nouns in names for noun in nouns for form in (noun.one, noun.many))


@pytest.mark.parametrize(
    ("code", "icon", "colour", "size", "count", "case", "phrase"),
    [
        ("en", "orange-circle", "orange", "", 1, "nom", "an orange ball"),
        ("en", "unicorn", None, "", 1, "nom", "a unicorn"),
        ("en", "hourglass-done", None, "", 1, "nom", "an hourglass"),
        ("en", "mouse", "grey", "", 3, "nom", "three grey mice"),
        ("es", "house", "red", "pequeño", 2, "nom", "dos casas rojas pequeñas"),
        ("es", "eagle", "white", "", 1, "nom", "un águila blanca"),
        ("fr", "house", "white", "petit", 1, "nom", "une petite maison blanche"),
        ("fr", "horse", "brown", "", 4, "nom", "quatre chevaux marron"),
        ("de", "dog", "red", "klein", 1, "nom", "ein kleiner roter Hund"),
        ("de", "lion", "yellow", "", 1, "dat", "einem gelben Löwen"),
        ("de", "cat", "pink", "", 1, "acc", "eine rosa Katze"),
        ("de", "dog", "black", "", 1, "acc", "einen schwarzen Hund"),
        ("de", "automobile", "blue", "", 3, "nom", "drei blaue Autos"),
        ("zh", "dog", "red", "小小的", 2, "nom", "两只小小的红色的狗"),
    ],
)
def test_words_agree(code: str, icon: str, colour: str | None, size: str, count: int, case: str, phrase: str) -> None:
    tongue = LANGUAGES[code]
    noun = concepts()[number(icon)].names[code][0]
    tint = next((c for c in COLOURS16 if c.name == colour), None)
    word = "" if tint is None else tongue.colours(tint)[0]
    assert tongue.noun_phrase(Said(noun, tint, word, size, count, case)) == phrase
