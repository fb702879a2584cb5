"""The mark in a sound: put in where there is enough sound to carry it, and claimed only where it reads back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from ..provenance.identity import AssetId
from ..provenance.media import MediaFile, SoundBlock, read_sound
from ..provenance.watermark.base import Detection, SoundCodec

_LEAST_SECONDS = 1.0
"""Shorter sounds cannot carry a mark: they go through as they came, and nothing is claimed of them."""


def marked(codec: SoundCodec, blocks: Iterable[SoundBlock], asset_id: AssetId) -> Iterator[SoundBlock]:
    """The sound with its mark, block by block; unchanged when it is too short for one."""
    stream = iter(blocks)
    head: list[SoundBlock] = []
    seconds = 0.0
    for block in stream:
        head.append(block)
        seconds += len(block.samples) / block.rate
        if seconds >= _LEAST_SECONDS:
            yield from codec.embed(chain(head, stream), asset_id)
            return
    yield from head


def sound_detection(codec: SoundCodec, media: MediaFile) -> Detection | None:
    """What the codec finds in a file's sound; None where there is no sound. The rest of the sound is decoded too, so
    that a file that breaks off is found out."""
    if media.info.sound is None:
        return None
    blocks = read_sound(media)
    found = codec.detect(blocks)
    for _ in blocks:
        pass
    return found
