"""Second layers in verification: what the manifest claims of them is checked; a tag may lead back where nothing else
does.

A tag of 32 bits is no id: it names candidates, and a candidate counts only where its preview shows what the copy shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import WatermarkError
from .comparing import Comparison
from .finding import Evidence
from .identity import AssetId
from .media import MediaFile
from .preview import Preview, compare
from .records import AssetRecord
from .resolver_port import Resolver
from .watermark.registry import Layer, read_layer
from .watermark.tags import TagCodec, neighbours, tag_text

_WRONG_BITS = 1
"""Forgiven in a blind look-up: with a million assets, 0.8 % of unrelated pictures find a candidate, which its preview
then rules out."""


def claimed_layers(
    layers: Sequence[Layer], claims: dict[str, str], media: MediaFile, asset_id: AssetId | None, key: bytes | None
) -> tuple[list[Evidence], list[str]]:
    """Evidence for each layer that the manifest claims, and what contradicts it. ``asset_id``: the manifest's own."""
    evidence, contradictions = [], []
    for layer in layers:
        claimed = claims.get(layer.alg)
        if claimed is None or asset_id is None:
            continue
        try:
            reading = read_layer(layer, media.frames(), asset_id, key)
        except WatermarkError as error:
            evidence.append(Evidence("watermark", "warning", f"{layer.alg} could not be looked for: {error.message}"))
            continue
        if reading.value != claimed:
            contradictions.append(f"the manifest claims {layer.alg} {claimed}, which is not {asset_id}'s")
        elif not reading.reads:
            contradictions.append(f"the manifest claims {layer.alg} {claimed}, and it is not in the pixels")
        else:
            evidence.append(Evidence("watermark", "ok", f"{claimed} ({layer.alg}, p {reading.p_value:.1e})"))
    return evidence, contradictions


def found_by_tag(
    layers: Sequence[Layer], resolvers: Sequence[Resolver], media: MediaFile
) -> tuple[AssetRecord, Resolver, Comparison, str] | None:
    """The one asset that a tag layer points to and whose preview agrees with the copy: (record, who knows it, how the
    copy compares, the layer's name)."""
    for layer in layers:
        if not isinstance(layer, TagCodec):
            continue
        try:
            detection = layer.detect(media.frames())
        except WatermarkError:
            continue
        if detection.tag is None:
            continue
        for resolver in resolvers:
            for tag in neighbours(detection.tag, _WRONG_BITS):
                record = resolver.by_binding(layer.alg, tag_text(tag))
                preview = None if record is None else resolver.preview(record.asset_id)
                if record is None or preview is None:
                    continue
                size = (record.height, record.width) if record.height and record.width else None
                stored = Preview(preview.data, preview.width, preview.height)
                comparison = compare(stored, media.frames(), None, size, record.duration)
                if comparison.match != "different":
                    return record, resolver, comparison, layer.alg
    return None
