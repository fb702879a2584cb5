"""What the checks of a verification saw, before anything is concluded. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import FiligranaError
from .comparing import Comparison
from .credentials import Credentials
from .finding import Evidence
from .foreign import ForeignLabels
from .identity import AssetId
from .labels import MetadataLabel
from .madeby import MadeBy, made_by
from .media import Kind
from .records import AssetRecord, LogEvidence, RevokedKey
from .synchrony import Synchrony, synchrony
from .watermark.base import Detection, Geometry

CERTAIN = 1e-9
"""The p-value under which a mark in sound is believed without its content being compared."""


@dataclass
class Observed:
    """What the checks saw. ``marks``: what each codec detected, by alg; of a sound file what the sound codecs did.

    ``sound_mark``: what the sound track of a clip carries, None where there is no track or nobody looked;
    ``sound_alg`` is the codec's name. ``has_sound``: the clip has a sound track,
    ``sound_loud`` one that could carry a mark. ``sound_bound``: the catalog says that
    the original's sound was marked. ``duration``: seconds of the file. ``notes``: checks that could not be made,
    and second layers that read; ``layer_faults``: those that the manifest claims wrongly. ``stored``: the credentials
    that the catalog kept of the asset, ``stored_faults`` what is wrong with them. ``likeness``: bits of 64.
    ``size``: bytes of the file, ``digest`` its SHA-256. ``catalog``: who knew the asset.
    ``transparent``: a picture that is not opaque everywhere. ``further``: tracks that were not looked at."""

    credentials: Credentials
    marks: dict[str, Detection] = field(default_factory=dict)
    label: MetadataLabel | None = None
    record: AssetRecord | None = None
    resolved_by: str | None = None
    log: LogEvidence | None = None
    comparison: Comparison | None = None
    exact: bool = False
    kind: Kind = "image"
    sound_mark: Detection | None = None
    sound_alg: str | None = None
    has_sound: bool = False
    sound_loud: bool = False
    sound_bound: bool = False
    duration: float | None = None
    notes: list[Evidence] = field(default_factory=list)
    layer_faults: list[str] = field(default_factory=list)
    foreign: ForeignLabels = field(default_factory=ForeignLabels)
    stored: Credentials | None = None
    stored_faults: list[str] = field(default_factory=list)
    revoked: RevokedKey | None = None
    likeness: int | None = None
    size: int = 0
    digest: bytes | None = None
    catalog: str | None = None
    has_preview: bool = False
    transparent: bool = False
    further: int = 0

    @property
    def picture_mark(self) -> Detection | None:
        return next((d for d in self.marks.values() if d.asset_id is not None), None)

    @property
    def marked_id(self) -> AssetId | None:
        mark = self.picture_mark or self.sound_mark
        return None if mark is None else mark.asset_id

    @property
    def claims(self) -> dict[str, str]:
        """The manifest's soft bindings: value by alg."""
        return dict(self.credentials.soft_bindings)

    @property
    def sound_expected(self) -> bool:
        """Whether the manifest or the catalog says that the sound was marked."""
        return self.sound_bound or (self.sound_alg is not None and self.sound_alg in self.claims)

    @property
    def made_by(self) -> MadeBy | None:
        """By the credentials of the file, or those that the catalog kept of its original, where the file shows it: a
        transplanted mark says nothing of what it was put into."""
        own = self.credentials
        if own.state == "absent" and self.stored is not None and not self.stored_faults and self.shows_original:
            # What the copy says of itself is not the record's word.
            return made_by(self.stored, ForeignLabels())
        return made_by(own, self.foreign)

    @property
    def shows_original(self) -> bool:
        """Whether the content is the asset's that was resolved, as a whole or in part."""
        if self.kind == "audio" and self.record is not None:
            # What one hears is not compared, and the finding says so; a weak mark leads nowhere.
            own = (d for d in self.marks.values() if d.asset_id == self.record.asset_id)
            return self.exact or any(d.p_value < CERTAIN for d in own)
        return self.exact or (self.comparison is not None and self.comparison.match != "different")

    def geometry(self) -> Geometry | None:
        """How the file lies on the asset that was resolved, as far as a mark of that asset tells."""
        if self.record is None:
            return None
        own = (d for d in self.marks.values() if d.asset_id == self.record.asset_id and d.geometry is not None)
        return next((d.geometry for d in own), None)

    def synchrony(self) -> Synchrony | None:
        """How the sound track lies against the pictures, where both carry the same id and tell the time."""
        pictures, sound = self.picture_mark, self.sound_mark
        if pictures is None or sound is None or pictures.asset_id != sound.asset_id:
            return None
        if pictures.timing is None or sound.timing is None:
            return None
        return synchrony(pictures.timing, sound.timing)


def claimed_id(credentials: Credentials) -> AssetId | None:
    """The asset id that the manifest's record names."""
    text = (credentials.record or {}).get("assetId")
    try:
        return AssetId.parse(text) if isinstance(text, str) else None
    except FiligranaError:
        return None
