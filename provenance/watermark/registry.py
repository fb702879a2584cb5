"""The codecs that this installation knows, by the name that stands in a manifest's soft binding."""

from __future__ import annotations

from ...errors import WatermarkError
from . import dft, imwatermark
from .base import Codec, SoundCodec

DEFAULT = dft.ALG

_CODECS: dict[str, type[Codec]] = {dft.ALG: dft.Dft, imwatermark.ALG: imwatermark.DwtDctSvd}


def codec(alg: str = DEFAULT, key: bytes | None = None) -> Codec:
    """The codec of that name. ``key``: None for the published detection key."""
    make = _CODECS.get(alg)
    if make is None:
        raise WatermarkError(f"there is no watermark codec {alg!r}", hint=f"Known: {', '.join(_CODECS)}")
    return make(key)  # type: ignore[call-arg]


def all_codecs(key: bytes | None = None) -> list[Codec]:
    """Every codec to look for, the default first: with an organisation's key where one is set, else with the published
    one."""
    return [codec(alg, key) for alg in _CODECS]


def sound_codec(key: bytes | None = None) -> SoundCodec:
    """The codec of sounds."""
    from .audio import LogSpectralQim

    return LogSpectralQim(key)
