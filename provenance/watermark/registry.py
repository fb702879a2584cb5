"""The codecs that this installation knows, by the name that stands in a manifest's soft binding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ...errors import WatermarkError
from ..identity import AssetId
from ..media.values import Frame
from . import dft, imwatermark
from .base import Codec, SoundCodec, alg_for
from .tags import TagCodec, agreement, tag_of, tag_text

DEFAULT = dft.ALG

_CODECS: dict[str, type[Codec]] = {dft.ALG: dft.Dft, imwatermark.ALG: imwatermark.DwtDctSvd}


def codec(alg: str = DEFAULT, key: bytes | None = None) -> Codec:
    """The codec of that name. ``key``: None for the published detection key."""
    make = next((known for name, known in _CODECS.items() if alg in (name, alg_for(name, key))), None)
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


Layer = Codec | TagCodec
"""A second mark beside the default one, so that other people's tools find something too (docs/adr/0010)."""


def _rivagan(_key: bytes | None, _allow_download: bool) -> Layer:
    from .rivagan import RivaGan

    return RivaGan()  # its tag is keyed, not its pattern


def _trustmark(_key: bytes | None, allow_download: bool) -> Layer:
    from .trustmark import TrustMark

    return TrustMark(allow_download=allow_download)  # it has no key


def _videoseal(key: bytes | None, allow_download: bool) -> Layer:
    from .videoseal import VideoSeal

    return VideoSeal(key, allow_download=allow_download)


_LAYERS: dict[str, Callable[[bytes | None, bool], Layer]] = {
    "dwtdctsvd": lambda key, _: imwatermark.DwtDctSvd(key),
    "rivagan": _rivagan,
    "trustmark": _trustmark,
    "videoseal": _videoseal,
}


def second_layers(names: Iterable[str], key: bytes | None = None, *, allow_download: bool = False) -> list[Layer]:
    """The second layers of these names, each once, in their order. Loads no model: a package that is missing is a
    WatermarkError at the first picture. ``allow_download``: lets a package fetch its weights."""
    wanted = list(dict.fromkeys(name.strip().lower() for name in names))
    unknown = [name for name in wanted if name not in _LAYERS]
    if unknown:
        raise WatermarkError(
            f"there is no watermark layer {unknown[0]!r}",
            code="provenance.watermark.layer",
            hint=f"Known: {', '.join(_LAYERS)}",
        )
    return [_LAYERS[name](key, allow_download) for name in wanted]


def mark_layers(
    layers: Iterable[Layer], frames: Iterable[Frame], asset_id: AssetId, key: bytes | None = None
) -> Iterator[Frame]:
    """Each frame with every layer in it, one frame at a time. ``frames`` carry the default codec's mark already: it
    does not notice the layers, while rivaGan reads better when it comes last (docs/adr/0010)."""
    for layer in layers:
        tag = isinstance(layer, TagCodec)
        frames = layer.embed(frames, tag_of(asset_id, key)) if tag else layer.embed(frames, asset_id)  # type: ignore[arg-type]
    yield from frames


def binding_value(layer: Layer, asset_id: AssetId, key: bytes | None = None) -> str:
    """What stands in the manifest's soft binding and in the catalog for this layer."""
    if isinstance(layer, TagCodec):
        return tag_text(tag_of(asset_id, key))
    own = getattr(layer, "binding_value", None)
    return str(own(asset_id)) if own is not None else str(asset_id)


@dataclass(frozen=True, slots=True)
class LayerReading:
    """``reads``: the layer carries this asset's id or tag. ``p_value``: the chance that it seems so by accident."""

    alg: str
    value: str
    reads: bool
    p_value: float
    seconds: float


def read_layer(layer: Layer, frames: Iterable[Frame], asset_id: AssetId, key: bytes | None = None) -> LayerReading:
    """Whether a layer carries what is expected of this asset: for reading back, and for a manifest's claim."""
    value = binding_value(layer, asset_id, key)
    if isinstance(layer, TagCodec):
        seen = layer.detect(frames)
        fit = agreement(seen, tag_of(asset_id, key))
        return LayerReading(layer.alg, value, fit.fits, fit.p_value, seen.seconds)
    found = layer.detect(frames)
    return LayerReading(layer.alg, value, found.asset_id == asset_id, found.p_value, found.seconds)
