"""From judged frames to finished bytes: label, mark, encode, sign, and read everything back.

A pure sequence over files in the request's own folder: nothing here is released or recorded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import ReadBackError
from ..provenance.credentials import Credentials, read_credentials
from ..provenance.identity import AssetId
from ..provenance.labels import read_label, xmp_packet
from ..provenance.manifest import AI_SOURCE_TYPES, SOURCE_TYPE_URI, Statement, definition
from ..provenance.media import (
    AIGC_BESIDE,
    SIDECAR_MIMES,
    Frame,
    Kind,
    Limits,
    MediaFile,
    MediaInfo,
    SoundMeter,
    encode_clip,
    encode_picture,
    encode_sound,
    open_media,
    read_sound,
    read_xmp,
)
from ..provenance.preview import Preview, PreviewMaker
from ..provenance.sidecar import read_sidecar, sidecar_of, sidecar_path
from ..provenance.signing import SIGNER_SECONDS, Signer, sign_file
from ..provenance.trust import TrustLists
from ..provenance.watermark.base import Codec, Detection, SoundCodec
from ..provenance.watermark.registry import Layer, mark_layers, read_layer
from .labelled import ReleaseLabels
from .soundtrack import marked, sound_binding, sound_detection


@dataclass(frozen=True)
class Material:
    """What is to be finished. ``keep``: alpha, ICC and EXIF of a sealed picture. ``sound``: whose sound track goes
    in. ``source``: the file that came in, for sound alone and as the parent of a sealed asset. ``components``: what
    was put into it."""

    kind: Kind
    frames: Iterable[Frame]
    rate: Fraction | None = None
    sound: MediaFile | None = None
    keep: dict[str, Any] | None = None
    source: MediaFile | None = None
    components: tuple[MediaFile, ...] = ()

    @property
    def has_sound(self) -> bool:
        track = self.source if self.kind == "audio" else self.sound
        return track is not None and track.info.sound is not None


@dataclass(frozen=True)
class Finished:
    """A signed file that was read back. ``sha256``: hex, of its bytes. ``detection``: of the pictures' mark, or of the
    sound's where there are no pictures. ``sidecar``: the file with the manifest store, where it is not embedded."""

    path: Path
    sha256: str
    size: int
    info: MediaInfo
    store: bytes
    credentials: Credentials
    detection: Detection | None
    preview: Preview | None
    sidecar: Path | None = None


@dataclass(frozen=True)
class Encoded:
    """An encoded file that is not signed yet. ``bindings``: (algorithm, value) of each mark that it carries. ``said``:
    what the record in its manifest says of its labels."""

    path: Path
    bindings: tuple[tuple[str, str], ...]
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finisher:
    """The tools of finishing. ``tsa``: gives the URL of a time-stamp authority while its block lasts.
    ``layers``: further marks over the default one; ``key``: an organisation's, None for the published one.
    ``embed_limit``: bytes up to which credentials are embedded; a larger file gets them in a sidecar.
    ``signer_seconds``: that the signer may take.
    ``before_signing``: raises where the key must not sign, such as a revoked one. ``labels``: what the chosen profiles
    ask for."""

    codec: Codec
    sound_codec: SoundCodec
    signer: Signer
    tsa: Callable[[], AbstractContextManager[str]]
    trust: TrustLists
    limits: Limits
    organisation: str
    layers: tuple[Layer, ...] = ()
    key: bytes | None = None
    embed_limit: int = 2 << 30
    signer_seconds: float = SIGNER_SECONDS
    before_signing: Callable[[], None] = lambda: None
    labels: ReleaseLabels = field(default_factory=ReleaseLabels)

    def encode(self, material: Material, statement: Statement, work: Path, tick: Callable[[int], None]) -> Encoded:
        """Labels, marks and encodes into ``work``. The label is in the file before anything is signed."""
        labels = self.labels.begin(statement, material.source, self.trust, self.limits, self.organisation)
        xmp = xmp_packet(
            statement.asset_id,
            statement.source_type,
            statement.made_at,
            system=statement.model.name if statement.model else self.organisation,
            version=statement.model.version if statement.model else statement.version,
            prompt=statement.prompt,
            writer=self.labels.prompt_writer,
            aigc=None if statement.mime in AIGC_BESIDE else labels.aigc,
        )
        target = work / "encoded"
        meter = SoundMeter()
        if material.kind == "audio":
            if material.source is None:
                raise ReadBackError("there is no sound to seal")
            heard = labels.heard(read_sound(material.source))
            sound = marked(self.sound_codec, meter.watch(heard), statement.asset_id)
            encode_sound(sound, target, statement.mime, material.source, xmp=xmp, aigc=labels.aigc)
            bound = self._sound_binding(target, statement, required=meter.must_carry)
            return Encoded(target, bound, labels.said())
        ident, shown = statement.asset_id, labels.seen(material.frames)
        frames = _counted(mark_layers(self.layers, self.codec.embed(shown, ident), ident, self.key), tick)
        own = (self.codec.alg, str(ident))
        if material.kind == "image":
            frame = next(frames, None)
            if frame is None:
                raise ReadBackError("there is no picture to mark")
            keep = labels.kept(material.keep)
            target.write_bytes(encode_picture(frame.rgb, statement.mime, xmp=xmp, keep=keep))
            return Encoded(target, (own, *self._layer_bindings(target, ident)), labels.said())
        track = None
        if material.sound is not None and material.sound.info.sound is not None:
            track = marked(self.sound_codec, meter.watch(read_sound(material.sound)), statement.asset_id)
        rate = material.rate or Fraction(25)
        encode_clip(frames, target, statement.mime, rate=rate, sound=track, xmp=xmp, aigc=labels.aigc)
        bound = self._sound_binding(target, statement, required=meter.must_carry)
        return Encoded(target, (own, *bound, *self._layer_bindings(target, ident)), labels.said())

    def _layer_bindings(self, encoded: Path, asset_id: AssetId) -> tuple[tuple[str, str], ...]:
        """Second layers are claimed where they read back from the encoded file; a weak one may not, and is left out."""
        media, found = open_media(encoded, self.limits), []
        for layer in self.layers:
            reading = read_layer(layer, media.frames(), asset_id, self.key)
            if reading.reads:
                found.append((reading.alg, reading.value))
        return tuple(found)

    def _sound_binding(self, encoded: Path, statement: Statement, *, required: bool) -> tuple[tuple[str, str], ...]:
        media = open_media(encoded, self.limits)
        return sound_binding(self.sound_codec, media, statement.asset_id, required=required)

    def sign(self, encoded: Path, statement: Statement, material: Material, target: Path) -> bytes:
        parent = None
        if material.source is not None:
            parent = (material.source.path, material.source.info.mime)
        self.before_signing()
        embed = statement.mime not in SIDECAR_MIMES and encoded.stat().st_size <= self.embed_limit
        with self.tsa() as url:
            store = sign_file(
                encoded,
                target,
                statement.mime,
                definition(statement),
                self.signer,
                tsa_url=url,
                parent=parent,
                components=[(media.path, media.info.mime) for media in material.components],
                trust=self.trust,
                embed=embed,
                signer_seconds=self.signer_seconds,
            )
        if not embed:
            sidecar_path(target).write_bytes(store)
        return store

    def read_back(self, path: Path, store: bytes, statement: Statement, tick: Callable[[int], None]) -> Finished:
        """Opens the finished bytes as a stranger would, and checks every claim. Raises ReadBackError."""
        sidecar = sidecar_of(path)
        beside = None if sidecar is None else read_sidecar(sidecar)
        credentials = read_credentials(path, statement.mime, self.trust, manifest_store=beside)
        if credentials.state != "trusted":
            raise ReadBackError(
                f"the signed file does not verify as trusted here ({credentials.state}: "
                f"{', '.join(credentials.failures) or credentials.detail or 'signer not on the claim trust list'})",
                code="provenance.readback.signature",
            )
        if credentials.time_trust == "none":
            raise ReadBackError("the time-stamp is missing or not trusted here", code="provenance.readback.timestamp")
        _check_source_type(credentials, statement)
        media = open_media(path, self.limits)
        packet = read_xmp(path, statement.mime)
        label = read_label(packet) if packet else None
        if label is None or label.asset_id != str(statement.asset_id):
            raise ReadBackError("the XMP does not carry this asset's id", code="provenance.readback.metadata")
        if label.source_type != SOURCE_TYPE_URI[statement.source_type]:
            raise ReadBackError("the XMP does not carry the source type", code="provenance.readback.metadata")
        claimed = dict(credentials.soft_bindings)
        if claimed != dict(statement.bindings):
            raise ReadBackError("the manifest does not carry the watermarks", code="provenance.readback.watermark")
        detection, preview = None, None
        if media.info.kind != "audio":
            maker = PreviewMaker()
            watched = _Watched(media, maker, tick)
            detection = self.codec.detect(watched)
            # A codec that has enough stops asking; the rest is still decoded, so that a file that breaks off is
            # never released, and so that the preview covers the whole clip.
            for _ in watched:
                pass
            preview = maker.preview()
            _check_mark(detection, claimed.get(self.codec.alg), statement)
        heard = sound_detection(self.sound_codec, media)
        sound_bound = self.sound_codec.alg in dict(statement.bindings)
        if sound_bound:
            _check_mark(heard, claimed.get(self.sound_codec.alg), statement)
        seen = [(self.codec.alg, detection), (self.sound_codec.alg, heard)]
        if media.info.kind == "audio" and sound_bound:
            detection = heard
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.labels.check(media, credentials, statement, self.limits, seen)
        return Finished(path, digest, path.stat().st_size, media.info, store, credentials, detection, preview, sidecar)


def _check_mark(detection: Detection | None, claimed: str | None, statement: Statement) -> None:
    """The mark must be there, be this asset's, and be what the manifest claims."""
    own = str(statement.asset_id)
    if detection is not None and claimed == own and str(detection.asset_id) == own and math.isfinite(detection.score):
        return
    other = None if detection is None else detection.asset_id
    score = 0.0 if detection is None else detection.score
    raise ReadBackError(
        f"the watermark cannot be read back ({f'it says {other}' if other else 'none found'}, score {score:.1f})",
        code="provenance.readback.watermark",
        hint="The file carries another asset's mark: seal its original instead."
        if other
        else "The picture may leave the mark no room (too flat or too dark). Try another seed or size.",
    )


def _check_source_type(credentials: Credentials, statement: Statement) -> None:
    uri = SOURCE_TYPE_URI[statement.source_type]
    expected = uri if statement.source_type in AI_SOURCE_TYPES else None
    if credentials.source_type != expected:
        raise ReadBackError("the manifest does not carry the source type", code="provenance.readback.metadata")


def _counted(frames: Iterable[Frame], tick: Callable[[int], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        tick(count)
        yield frame


class _Watched:
    """The frames of the finished file, each frame of which the preview sees too. An iterator, not a generator, so
    that whoever stops early leaves the rest to be read."""

    def __init__(self, media: MediaFile, maker: PreviewMaker, tick: Callable[[int], None]) -> None:
        self._frames, self._maker, self._tick, self._count = media.frames(), maker, tick, 0

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = next(self._frames)
        self._count += 1
        self._tick(self._count)
        self._maker.look(frame.shown)
        return frame
