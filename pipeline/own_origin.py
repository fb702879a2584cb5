"""Whether a file that is to be sealed as a photograph says itself that it is none: its mark leads to an asset that was
released here as something else.

The seal puts its own mark over the old one, and signs what it is told. Without this look a generated picture whose
label was taken off would come back as captured by a camera, verified, under our own name. Whoever sealed a file as
`unknown` cannot take that way in two steps, either.
"""

from __future__ import annotations

from ..errors import InputError, WatermarkError
from ..provenance.catalog import Catalog
from ..provenance.identity import AssetId
from ..provenance.media import MediaFile
from .parts import Parts
from .soundtrack import sound_detection


def check_photograph(parts: Parts, media: MediaFile) -> None:
    """Raises InputError for what was released here, and not as a photograph."""
    for asset_id in _marks(parts, media):
        with parts.ledger.reading() as opened:
            record = Catalog(opened).by_asset_id(asset_id)
        if record is not None and record.source_type != "camera":
            raise InputError(
                f"the file carries the mark of {asset_id}, which was not released here as a photograph",
                code="input.source_type.marked",
                hint="Seal it as what it is: ai, composite, or unknown.",
            )


def _marks(parts: Parts, media: MediaFile) -> list[AssetId]:
    from ..provenance.watermark.registry import codec, sound_codec

    finisher = parts.finisher()
    # Under an organisation's own key, and under the published one, with which it may have released before.
    published = finisher.key is not None
    found = [sound_detection(each, media) for each in (finisher.sound_codec, *([sound_codec()] if published else []))]
    if media.info.kind != "audio":
        for each in (finisher.codec, *([codec()] if published else [])):
            try:
                found.append(each.detect(media.frames()))
            except WatermarkError:
                continue  # too small for any mark: the seal says so itself
    return [one.asset_id for one in found if one is not None and one.asset_id is not None]
