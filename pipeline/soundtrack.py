"""The mark in a sound: put in where there is enough sound to carry it, and claimed only where it reads back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import av
import numpy as np
from numpy.typing import NDArray

from ..errors import ReadBackError
from ..provenance.identity import AssetId
from ..provenance.media import MediaFile, SoundBlock, read_sound
from ..provenance.watermark.base import Detection, SoundCodec
from ..safety.speech import RATE

_LEAST_SECONDS = 1.0
"""Shorter sounds cannot carry a mark: they go through as they came, and nothing is claimed of them."""


def marked(codec: SoundCodec, blocks: Iterable[SoundBlock], asset_id: AssetId) -> Iterator[SoundBlock]:
    """The sound with its mark, block by block; unchanged when it is too short for one. Raises ReadBackError when a
    codec gives back another length, or what is no number."""
    given = 0

    def counted(source: Iterable[SoundBlock]) -> Iterator[SoundBlock]:
        nonlocal given
        for block in source:
            given += len(block.samples)
            yield block

    stream, head, seconds = iter(blocks), list[SoundBlock](), 0.0
    for block in stream:
        head.append(block)
        seconds += len(block.samples) / block.rate
        if seconds >= _LEAST_SECONDS:
            break
    else:
        yield from head
        return
    made = 0
    for block in codec.embed(counted(chain(head, stream)), asset_id):
        if not np.isfinite(block.samples).all():
            raise ReadBackError("the watermark made samples that are no numbers", code="provenance.readback.sound")
        made += len(block.samples)
        yield block
    if made != given or next(stream, None) is not None:
        raise ReadBackError("the watermark changed the length of the sound", code="provenance.readback.sound")


def sound_detection(codec: SoundCodec, media: MediaFile) -> Detection | None:
    """What the codec finds in a file's sound; None where there is no sound. The rest of the sound is decoded too, so
    that a file that breaks off is found out."""
    if media.info.sound is None:
        return None
    blocks = read_sound(media)
    found = codec.detect(blocks)
    for _ in blocks:
        pass
    if not isinstance(found, Detection) or not math.isfinite(found.score):
        raise ReadBackError("the sound's watermark could not be looked for", code="provenance.readback.watermark")
    return found


def sound_binding(
    codec: SoundCodec, media: MediaFile, asset_id: AssetId, *, required: bool
) -> tuple[tuple[str, str], ...]:
    """The sound mark's algorithm and value, if it reads back from the encoded sound. Silence and very short sounds
    cannot carry one: then nothing is claimed, unless it is ``required``. Another asset's mark is an error."""
    found = sound_detection(codec, media)
    if found is None:
        return ()
    if found.asset_id == asset_id:
        return ((codec.alg, str(asset_id)),)
    if found.asset_id is not None:
        raise ReadBackError(
            f"the sound carries the mark of {found.asset_id}",
            code="provenance.readback.watermark",
            hint="Seal the original of that asset instead.",
        )
    if required:
        raise ReadBackError(
            f"the watermark cannot be read back from the sound (score {found.score:.1f})",
            code="provenance.readback.watermark",
            hint="A pure tone or a hum leaves the mark no room.",
        )
    return ()


def speech_of(media: MediaFile) -> Iterator[NDArray[np.float32]]:
    """The sound as a recogniser hears it: mono at 16 kHz, block by block. Where the channels cancel each other out, the
    first is taken: a voice must not hide in the difference."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    for block in read_sound(media):
        mixed, first = block.samples.mean(axis=1), block.samples[:, 0]
        if float((mixed**2).sum()) < 0.25 * float((first**2).sum()):
            mixed = first
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mixed, np.float32)[None], "flt", "mono")
        frame.sample_rate = block.rate
        yield from (np.asarray(each.to_ndarray()[0], np.float32) for each in resampler.resample(frame))
    yield from (np.asarray(each.to_ndarray()[0], np.float32) for each in resampler.resample(None))
