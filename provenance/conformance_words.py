"""The vocabularies that :mod:`.conformance` holds a manifest against."""

from __future__ import annotations

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_C2PA = "http://c2pa.org/digitalsourcetype/"

_SOURCE_NAMES = """
digitalCapture computationalCapture negativeFilm positiveFilm print humanEdits compositeWithTrainedAlgorithmicMedia
algorithmicallyEnhanced digitalCreation dataDrivenMedia trainedAlgorithmicMedia algorithmicMedia screenCapture
virtualRecording composite compositeCapture compositeSynthetic
"""
SOURCES = frozenset(
    {_IPTC + name for name in _SOURCE_NAMES.split()} | {_C2PA + "empty", _C2PA + "trainedAlgorithmicData"}
)
AI_SOURCES = frozenset(
    {
        _IPTC + "trainedAlgorithmicMedia",
        _IPTC + "compositeWithTrainedAlgorithmicMedia",
        _C2PA + "trainedAlgorithmicData",
    }
)
_ACTION_NAMES = """
addedText adjustedColor changedSpeed color_adjustments converted created cropped deleted drawing dubbed edited
edited.metadata enhanced filtered opened orientation placed published redacted removed repackaged resized
resized.proportional transcoded translated trimmed unknown watermarked watermarked.bound watermarked.unbound
"""
ACTIONS = frozenset("c2pa." + name for name in _ACTION_NAMES.split())
"""Table of actions, 18.15. `c2pa.watermarked` is among them, and deprecated: a control of its own finds it."""
DEPRECATED = frozenset(
    {
        "c2pa.actions",
        "c2pa.ingredient",
        "c2pa.ingredient.v2",
        "c2pa.training-mining",
        "c2pa.endorsement",
        "stds.schema-org.CreativeWork",
        "stds.schema-org.ClaimReview",
        "stds.exif",
        "stds.iptc",
    }
)
BMFF = frozenset({"video/mp4", "video/quicktime", "audio/mp4", "image/avif", "image/heic", "image/heif"})
SIGNATURES = frozenset({"es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"})
