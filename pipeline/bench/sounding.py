"""The sound section: the sound codec against the attacks of `sound_attacks`, on the sounds of `sounds`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from ...errors import FiligranaError
from ...provenance.identity import AssetId
from ...provenance.watermark.base import SoundBlock, SoundCodec
from .pictures import Split

BARS = {
    "AAC 64k": 0.98,
    "MP3 128k": 0.98,
    "Opus 64k": 0.98,
    "16 kHz": 0.98,
    "noise 20 dB": 0.98,
    "3 s crop": 0.98,
    "speed +2 %": 0.98,
    "speed -2 %": 0.98,
}


def sound_codec() -> SoundCodec | None:
    """The registry's codec for sound, None in a version that has none."""
    from ...provenance.watermark import registry

    make = getattr(registry, "sound_codec", None)
    return None if make is None else make()


@cache
def _sounds() -> tuple[Any, ...]:
    from .sounds import collect

    return tuple(collect()[0])


def chosen(split: Split) -> list[Any]:
    """The sounds of a split, in the order of their digests."""
    return sorted((s for s in _sounds() if s.split == split), key=lambda s: str(s.sha256))


def sound_units(split: Split, count: int | None) -> list[tuple[str, int, str]]:
    """(codec, index, name) of each sound to measure. Where there is no codec for sound, one unit that says so."""
    codec = sound_codec()
    if count == 0:
        return []
    if codec is None:
        return [("none", 0, "")]
    return [(codec.alg, i, str(sound.name)) for i, sound in enumerate(chosen(split)[:count])]


def attacks() -> dict[str, Any]:
    """By name. The 3 s crop is cut at a random place of the marked sound."""
    from .sound_attacks import ATTACKS, cropped

    return {"3 s crop": partial(cropped, seconds=3.0), **ATTACKS}


def _blocks(samples: Any, rate: int) -> Iterator[SoundBlock]:
    for start in range(0, len(samples), rate):
        yield SoundBlock(np.ascontiguousarray(samples[start : start + rate], np.float32), rate)


def measure_sound(index: int, split: Split, seed: int) -> dict[str, Any]:
    """Marks one sound and detects it after each attack."""
    codec = sound_codec()
    if codec is None:
        raise FiligranaError("this version has no watermark codec for sound", code="bench.sound")
    sound = chosen(split)[index]
    label = zlib.crc32(str(sound.name).encode())
    asset_id = AssetId(int(np.random.default_rng([seed, label]).integers(0, 1 << 60)))
    marked = np.concatenate([b.samples for b in codec.embed(_blocks(sound.samples, sound.rate), asset_id)])
    change = marked - sound.samples[: len(marked)]
    power = float(np.mean(np.square(sound.samples, dtype=np.float64)))
    snr = 10 * np.log10(power / max(1e-20, float(np.mean(np.square(change, dtype=np.float64)))))
    out: dict[str, Any] = {}
    for name, attack in attacks().items():
        rng = np.random.default_rng([seed, label, zlib.crc32(name.encode())])
        samples, rate = attack(marked, sound.rate, rng)
        found = codec.detect(_blocks(samples, rate))
        wrong = found.asset_id is not None and found.asset_id != asset_id
        out[name] = {"exact": found.asset_id == asset_id, "wrong": wrong, "score": round(float(found.score), 3)}
    about = {"family": sound.kind, "source": sound.source, "licence": sound.licence, "rate": sound.rate}
    return {"sound": sound.name, **about, "snr": round(float(snr), 2), "attacks": out}
