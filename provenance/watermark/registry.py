"""The codecs that this installation knows, by the name that stands in a manifest's soft binding."""

from __future__ import annotations

from ...errors import WatermarkError
from .base import Codec
from .imwatermark import ALG, DwtDctSvd

DEFAULT = ALG


def codec(alg: str = DEFAULT, key: bytes | None = None) -> Codec:
    """The codec of that name. ``key``: None for the published detection key."""
    if alg != ALG:
        raise WatermarkError(f"there is no watermark codec {alg!r}", hint=f"Known: {ALG}")
    return DwtDctSvd(key)


def all_codecs(key: bytes | None = None) -> list[Codec]:
    """Every codec to look for: with an organisation's key where one is set, else with the published one."""
    return [codec(ALG, key)]
