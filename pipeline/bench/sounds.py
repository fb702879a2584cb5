"""The test sounds of the watermark bench: openly licensed, from Debian packages or made here from a seed.

Speech: people recorded for Asterisk (16 kHz), and the voices of flite and espeak-ng reading our own sentences. Music:
recorded pieces of three packages, and our own seeded compositions played by fluidsynth with a free sound font.
Effects: interface and game sounds in a row, and seeded synthesis of impacts, rain, wind, engines, bells. A package
that is not installed is named and left out.

Every sound belongs to the tuning or to the test half for good: by the first hex digit of its SHA-256, as the
photographs do. For a recording that is the digest of the file; for what is made here, of its recipe (programs of
another version play it a little differently, and it must not change sides for that).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from .sounds_made import BANDS, EFFECTS, RATE, compose

Samples = NDArray[np.float32]
Kind = Literal["speech", "music", "effects"]
Split = Literal["tuning", "test"]

SECONDS = 12.0
"""Length of each sound: ten seconds to judge, and room to cut at a random place."""


@dataclass(frozen=True, slots=True)
class Sound:
    """``samples``: float32 (n, channels), full scale 1. ``source``: the Debian package or program. ``sha256``: of the
    recorded file or of the recipe."""

    name: str
    kind: Kind
    source: str
    licence: str
    sha256: str
    rate: int
    samples: Samples

    @property
    def split(self) -> Split:
        return split_of(self.sha256)


def split_of(sha256: str) -> Split:
    """The rule of the photographs: the first hex digit below 8 is for tuning, the rest for the test."""
    return "tuning" if int(sha256[0], 16) < 8 else "test"


def collect(seconds: float = SECONDS) -> tuple[list[Sound], list[str]]:
    """Every sound that can be had on this machine, each of ``seconds``, and a line for each package that is missing."""
    sounds: list[Sound] = []
    missing: list[str] = []
    for package, licence, kind, folder, pattern, most in _RECORDED:
        found = list(_recorded(package, licence, kind, Path(folder), pattern, most, seconds))
        sounds += found
        if not found:
            missing.append(f"{package}: no {kind} under {folder} (apt-get install {package})")
    for program, make in (("espeak-ng", _espeak), ("flite", _flite), ("fluidsynth", _fluidsynth)):
        if shutil.which(program) is None:
            missing.append(f"{program}: not installed (apt-get install {program})")
            continue
        sounds += make(seconds)
    if not Path(_SOUND_FONT).is_file():
        missing.append("fluid-soundfont-gm: not installed, so fluidsynth has nothing to play with")
    sounds += _synthetic(seconds)
    return sounds, missing


# ── recordings ───────────────────────────────────────────────────────────────────────────────────────────────────
# package, licence, kind, folder, pattern, at most so many (the longest first)
_ASTERISK = "/usr/share/asterisk/sounds"
_THEMES = "/usr/share/sounds"
_GAMES = "/usr/share/games"
_RECORDED: tuple[tuple[str, str, Kind, str, str, int], ...] = (
    ("asterisk-core-sounds-en-g722", "CC-BY-SA-3.0", "speech", f"{_ASTERISK}/en_US_f_Allison", "*.g722", 8),
    ("asterisk-core-sounds-es-g722", "CC-BY-SA-3.0", "speech", f"{_ASTERISK}/es_MX_f_Allison", "*.g722", 4),
    ("asterisk-core-sounds-fr-g722", "CC-BY-SA-3.0", "speech", f"{_ASTERISK}/fr_CA_f_June", "*.g722", 4),
    ("asterisk-core-sounds-it-g722", "CC-BY-3.0", "speech", f"{_ASTERISK}/it_IT_m_Carlo", "*.g722", 6),
    ("asterisk-core-sounds-ru-g722", "CC-BY-3.0", "speech", f"{_ASTERISK}/ru_RU_f_IvrvoiceRU", "*.g722", 4),
    ("lomiri-sounds", "CC-BY-SA-3.0 and others", "music", f"{_THEMES}/lomiri/ringtones", "*.ogg", 16),
    ("extremetuxracer-data", "GPL-2+", "music", f"{_GAMES}/etr/music", "*.ogg", 6),
    ("colobot-common-sounds", "GPL-3+", "music", f"{_GAMES}/colobot/music", "*.ogg", 8),
    ("colobot-common-sounds", "GPL-3+", "effects", f"{_GAMES}/colobot/sounds", "*.wav", 60),
    ("alsa-utils", "GPL-2", "effects", f"{_THEMES}/alsa", "*.wav", 8),
    ("sound-theme-freedesktop", "CC-BY-SA-3.0 and others", "effects", f"{_THEMES}/freedesktop/stereo", "*.oga", 30),
    ("oxygen-sounds", "LGPL-3.0-or-later", "effects", _THEMES, "Oxygen-*.ogg", 24),
)
_RAW = {".g722": "g722"}


def decode(path: Path) -> tuple[Samples, int]:
    """A sound file whole, as float32 (n, channels), with its rate."""
    with av.open(str(path), format=_RAW.get(path.suffix)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp")
        blocks: list[NDArray[Any]] = []
        for frame in container.decode(stream):
            blocks += [each.to_ndarray() for each in resampler.resample(frame)]
        blocks += [each.to_ndarray() for each in resampler.resample(None)]
        rate = stream.rate
    return np.ascontiguousarray(np.concatenate(blocks, axis=1).T, np.float32), int(rate)


def _recorded(
    package: str, licence: str, kind: Kind, folder: Path, pattern: str, most: int, seconds: float
) -> Iterator[Sound]:
    files = sorted(folder.glob(pattern), key=lambda path: (-path.stat().st_size, path.name))[:most]
    if kind == "effects":
        yield from _medleys(package, licence, sorted(files), seconds)
        return
    for path in files:
        samples, rate = decode(path)
        if len(samples) >= seconds * rate:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            # The middle: beginnings of music are faded in, and say less.
            start = int((len(samples) - seconds * rate) // 2)
            cut = samples[start : start + int(seconds * rate)]
            yield Sound(f"{folder.name}/{path.name}", kind, package, licence, digest, rate, cut)


def _medleys(package: str, licence: str, files: list[Path], seconds: float) -> Iterator[Sound]:
    """Short effects in a row, a little pause between them, cut into pieces of the wanted length. The digest is that
    of the files' digests."""
    parts: list[Samples] = []
    names: list[str] = []
    digest, rate, length = hashlib.sha256(), 0, 0
    for path in files:
        samples, own = decode(path)
        if rate not in (0, own):
            continue
        rate = own
        # At most three seconds of each, so that no piece is one sound alone.
        stereo = np.repeat(samples, 2, axis=1)[: 3 * rate] if samples.shape[1] == 1 else samples[: 3 * rate, :2]
        parts += [stereo, np.zeros((rate // 10, 2), np.float32)]
        length += len(stereo) + rate // 10
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        names.append(path.stem)
        if length >= seconds * rate:
            cut = np.concatenate(parts)[: int(seconds * rate)]
            yield Sound(f"{names[0]}…{names[-1]}", "effects", package, licence, digest.hexdigest(), rate, cut)
            parts, names, digest, length = [], [], hashlib.sha256(), 0


# ── voices ───────────────────────────────────────────────────────────────────────────────────────────────────────
_TEXTS = {
    "en": "The harbour was quiet when the first boat came in. Nobody had expected it before noon, and the men on the "
    "pier put down their cups and looked at each other. It carried salt, letters, and one passenger who did not speak.",
    "de": "Am frühen Morgen lag der Hafen still. Niemand hatte das Boot vor Mittag erwartet, und die Männer am Kai "
    "stellten ihre Tassen ab und sahen einander an. Es brachte Salz, Briefe und einen Gast, der nicht sprach.",
    "fr": "Le port était calme quand le premier bateau arriva. Personne ne l'attendait avant midi, et les hommes sur "
    "le quai posèrent leurs tasses en se regardant. Il portait du sel, des lettres et un passager muet.",
    "es": "El puerto estaba en calma cuando llegó el primer barco. Nadie lo esperaba antes del mediodía, y los hombres "
    "del muelle dejaron sus tazas y se miraron. Traía sal, cartas y un pasajero que no hablaba.",
}
_ESPEAK = (("en-us+f2", "en"), ("en-gb+m3", "en"), ("de+m1", "de"), ("fr+f4", "fr"), ("es+m7", "es"), ("de+f3", "de"))
_FLITE = ("slt", "rms", "awb", "kal16")


def _spoken(name: str, source: str, licence: str, command: list[str], text: str, seconds: float) -> Sound:
    """``command`` gets the name of the file to write at its end."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "voice.wav"
        subprocess.run([*command, str(target)], check=True, capture_output=True)
        samples, rate = decode(target)
    wanted = int(seconds * rate)
    repeated = np.tile(samples, (-(-wanted // max(len(samples), 1)), 1))[:wanted]
    digest = hashlib.sha256(f"{source} {name} {text}".encode()).hexdigest()
    return Sound(name, "speech", source, licence, digest, rate, repeated)


def _espeak(seconds: float) -> list[Sound]:
    return [
        _spoken(f"espeak-{voice}", "espeak-ng", "GPL-3+", ["espeak-ng", "-v", voice, words, "-w"], words, seconds)
        for voice, words in ((voice, _TEXTS[language]) for voice, language in _ESPEAK)
    ]


def _flite(seconds: float) -> list[Sound]:
    text = _TEXTS["en"]
    return [
        _spoken(f"flite-{voice}", "flite", "CMU, BSD-like", ["flite", "-voice", voice, "-t", text, "-o"], text, seconds)
        for voice in _FLITE
    ]


# ── compositions ─────────────────────────────────────────────────────────────────────────────────────────────────
_SOUND_FONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"


def _fluidsynth(seconds: float) -> list[Sound]:
    if not Path(_SOUND_FONT).is_file():
        return []
    sounds = []
    for seed in range(len(BANDS)):
        score = compose(seed)
        with tempfile.TemporaryDirectory() as folder:
            midi, wav = Path(folder) / "score.mid", Path(folder) / "played.wav"
            midi.write_bytes(score)
            command = ["fluidsynth", "-ni", "-g", "0.7", "-r", "48000", "-F", str(wav), _SOUND_FONT, str(midi)]
            subprocess.run(command, check=True, capture_output=True)
            samples, rate = decode(wav)
        digest = hashlib.sha256(score).hexdigest()
        licence = "MIT (sound font), composition our own"
        cut = samples[: int(seconds * rate)]
        sounds.append(Sound(f"composition-{seed}", "music", "fluidsynth", licence, digest, rate, cut))
    return sounds


# ── synthetic effects ────────────────────────────────────────────────────────────────────────────────────────────
def _synthetic(seconds: float) -> list[Sound]:
    sounds = []
    for name, make in EFFECTS.items():
        for seed in range(3):
            n = int(seconds * RATE)
            wave = make(np.random.default_rng(seed), n)
            scaled = (0.5 * wave / np.abs(wave).max()).astype(np.float32)[:, None]
            digest = hashlib.sha256(f"effect {name} {seed}".encode()).hexdigest()
            sounds.append(Sound(f"{name}-{seed}", "effects", "seeded synthesis", "Apache-2.0", digest, RATE, scaled))
    return sounds
