"""One finding from all the evidence: where is this file from?

Every check leaves an Evidence, whatever it says; `weighing.weigh` is pure: from what was observed to the finding.
Nothing here imports torch, opens a network connection or runs for longer than the file's own size asks for.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ManifestError, MediaError
from .asked import Asked
from .credentials import crjson_of
from .finding import EXIT_CODES, WORST_FIRST, Evidence, Finding, FindingWord, Status, worst_exit_code
from .media import Limits, MediaFile, held, open_media
from .observed import Observed
from .observing import Observer
from .resolver_port import Resolver
from .sidecar import read_sidecar
from .trust import TrustLists
from .watermark.base import Codec, SoundCodec
from .watermark.registry import Layer
from .weighing import weigh


class Verifier:
    """Checks files against what it was configured with: trust lists, watermark codecs, resolvers.

    ``codecs``: for pictures, in the order in which they are asked; ``sound_codecs``: for sound files and the sound
    tracks of clips; ``layers``: second layers, under ``key``."""

    def __init__(
        self,
        trust: TrustLists,
        codecs: Sequence[Codec],
        resolvers: Sequence[Resolver] = (),
        limits: Limits | None = None,
        sound_codecs: Sequence[SoundCodec] = (),
        layers: Sequence[Layer] = (),
        key: bytes | None = None,
    ) -> None:
        self._trust, self._limits = trust, limits or Limits()
        asked = {codec.alg for codec in codecs}
        self._observer = Observer(
            trust,
            tuple(codecs),
            tuple(resolvers),
            self._limits,
            tuple(sound_codecs),
            tuple(layer for layer in layers if layer.alg not in asked),
            key,
        )

    def verify(self, path: Path, asked: Asked | None = None) -> Finding:
        """The finding for one file. Bad bytes give `unreadable`, never an exception."""
        started = time.perf_counter()
        asked = asked or Asked()
        try:
            media = held(open_media(path, self._limits))
            store = read_sidecar(asked.sidecar) if asked.sidecar is not None else None
            observed = self._observer.observe(media, store, asked)
        except (MediaError, ManifestError) as error:
            return unreadable(path, error.message, time.perf_counter() - started)
        finding, asset_id, evidence = weigh(observed)
        comparison, credentials = observed.comparison, observed.credentials
        signer = observed.stored if finding == "recovered" and observed.stored is not None else credentials
        made = observed.made_by
        history = credentials.history
        stands_for = observed.stored is not None and not observed.stored_faults and observed.shows_original
        if not history.nodes and observed.stored is not None and stands_for:
            history = observed.stored.history
        return Finding(
            str(path),
            finding,
            asset_id,
            credentials.trust if finding == "verified" else "none",
            comparison.match if comparison else ("same" if observed.exact else None),
            tuple(evidence),
            time.perf_counter() - started,
            comparison.regions if comparison else (),
            signer.signer,
            signer.time,
            at=asked.at,
            made_by=None if made is None else made.as_dict(),
            history=history.as_dict(),
            media=_media(media, observed),
            record=_record(observed),
            crjson=crjson_of(path, media.info.mime, self._trust, store) if asked.crjson else None,
            thumbnail=_thumbnail(media) if asked.thumbnail else None,
            facts=_facts(media, observed, self._limits) if asked.facts else None,
            looked_at=tuple(_beginning(media)) if asked.facts else (),
        )


def unreadable(path: Path, reason: str, seconds: float) -> Finding:
    """The finding for what could not be read, or took more than it may."""
    return Finding(str(path), "unreadable", None, "none", None, (Evidence("media", "failed", reason),), seconds)


def _facts(media: MediaFile, observed: Observed, limits: Limits) -> dict[str, Any] | None:
    from .reports.gathering import facts_or_none

    found = [(alg, detection.asset_id) for alg, detection in observed.marks.items()]
    if observed.sound_alg is not None and observed.sound_mark is not None:
        found.append((observed.sound_alg, observed.sound_mark.asset_id))
    facts = facts_or_none(
        media,
        observed.credentials,
        limits,
        [(alg, None if ident is None else str(ident)) for alg, ident in found],
        resolved=None if observed.record is None else str(observed.record.asset_id),
        released=observed.exact,
        sha256=None if observed.digest is None else observed.digest.hex(),
    )
    return None if facts is None else facts.to_json()


_MOMENTS = (0.0, 1.0, 2.0)
"""Seconds at which whoever reads a clip's label looks."""


def _beginning(media: MediaFile) -> Iterator[tuple[float, bytes]]:
    """JPEGs of 1600 px at most, made in the confined process for readers outside of it. Of a clip that ends before the
    last moment, its last picture too: one of two seconds has none at 2.0."""
    waiting, passed = list(_MOMENTS), None
    for frame in media.frames():
        if not waiting:
            return
        if float(frame.time) + 1e-6 < waiting[0]:
            passed = frame
            continue
        waiting.pop(0)
        passed = None
        yield float(frame.time), _legible(frame.shown)
    if passed is not None:
        yield float(passed.time), _legible(passed.shown)


def _legible(rgb: NDArray[np.uint8]) -> bytes:
    picture, out = Image.fromarray(rgb), io.BytesIO()
    picture.thumbnail((1600, 1600))
    picture.save(out, "JPEG", quality=92, subsampling=0)
    return out.getvalue()


def _thumbnail(media: MediaFile) -> bytes | None:
    """A JPEG of 640 px at most: made in the confined process, so that nobody else decodes the file for a picture."""
    first = next(iter(media.frames()), None)
    if first is None:
        return None
    picture, out = Image.fromarray(first.shown), io.BytesIO()
    picture.thumbnail((640, 640))
    picture.save(out, "JPEG", quality=82)
    return out.getvalue()


def _media(media: MediaFile, observed: Observed) -> dict[str, Any]:
    info = media.info
    return {
        "kind": info.kind,
        "mime": info.mime,
        "width": info.width or None,
        "height": info.height or None,
        "duration": info.duration,
        "bytes": observed.size,
        "sha256": None if observed.digest is None else observed.digest.hex(),
    }


def _record(observed: Observed) -> dict[str, Any] | None:
    record = observed.record
    if record is None:
        return None
    mark = observed.picture_mark or observed.sound_mark
    own = mark if mark is not None and mark.asset_id == record.asset_id else None
    return {
        "asset_id": str(record.asset_id),
        "media": record.media,
        "mime": record.mime,
        "created_at": None if record.created_at is None else record.created_at.isoformat(timespec="seconds"),
        "source_type": record.source_type,
        "resolved_by": observed.resolved_by,
        "catalog": observed.catalog,
        "has_preview": observed.has_preview,
        "trust": "none" if observed.stored is None else observed.stored.trust,
        "p_value": None if own is None else own.p_value,
    }


__all__ = [
    "EXIT_CODES",
    "WORST_FIRST",
    "Asked",
    "Evidence",
    "Finding",
    "FindingWord",
    "Observed",
    "Status",
    "Verifier",
    "unreadable",
    "weigh",
    "worst_exit_code",
]
