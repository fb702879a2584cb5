"""The answer of a verification as a value, light enough for whoever only shows it: no decoder is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from .identity import AssetId

FindingWord = Literal["verified", "recovered", "intact", "altered", "contradicted", "unmarked", "unreadable"]
Status = Literal["ok", "warning", "failed", "absent"]

EXIT_CODES: dict[FindingWord, int] = {
    "verified": 0,
    "recovered": 7,
    "intact": 3,
    "unmarked": 4,
    "unreadable": 6,
    "altered": 5,
    "contradicted": 5,
}
WORST_FIRST = (1, 5, 6, 4, 3, 7, 0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One check's outcome: which technique, what it says, and a sentence about it. ``detail`` may quote the file."""

    technique: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Region:
    """A changed part, in fractions of the copy's width and height from its top left, so that it can be drawn on
    the file; ``frame`` of the preview."""

    left: float
    top: float
    right: float
    bottom: float
    frame: int = 0


@dataclass(frozen=True)
class Telling:
    """The finding in plain words: ``headline``, who, what, when and how sure, and what follows from it and what not."""

    language: str
    headline: str
    meaning: str
    explanation: tuple[str, ...]
    conclude: tuple[str, ...]
    not_conclude: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """The answer for one file. ``trust``: of the signer of a `verified` file. ``match``: how the pixels compare with
    the stored preview, where they were: same, edited, different. ``at``: the time of validation, None for now.

    ``made_by``, ``history``, ``media``, ``record``: as in docs/verify.md, plain JSON values.
    ``thumbnail``: a JPEG of the file's first picture, where it was asked for. ``facts``: as JSON values, where they
    were asked for (:class:`.reports.facts.FileFacts`). ``looked_at``: JPEGs of pictures at the file's beginning, for
    whoever reads labels. ``cpu_seconds``: that the confined child took, from its start."""

    file: str
    finding: FindingWord
    asset_id: AssetId | None
    trust: str
    match: str | None
    evidence: tuple[Evidence, ...]
    seconds: float
    regions: tuple[Region, ...] = ()
    signer: str | None = None
    time: str | None = None
    at: datetime | None = None
    made_by: dict[str, Any] | None = None
    history: dict[str, Any] = field(default_factory=lambda: {"nodes": [], "edges": [], "truncated": False})
    media: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    crjson: dict[str, Any] | None = None
    thumbnail: bytes | None = None
    facts: dict[str, Any] | None = None
    looked_at: tuple[tuple[float, bytes], ...] = ()
    cpu_seconds: float | None = None

    def named(self, name: str) -> Finding:
        """The same under the name that a person gave the file."""
        return replace(self, file=name)

    def telling(self, language: str = "en") -> Telling:
        """The finding in plain words of ``language``."""
        from .telling import tell

        return tell(self, language)

    def as_dict(self, language: str = "en") -> dict[str, Any]:
        """The answer as JSON values: the contract of `verify --json` and of `POST /v1/verify`."""
        from .words import words

        said, told = words(language), self.telling(language)
        return {
            "file": self.file,
            "finding": self.finding,
            "asset_id": None if self.asset_id is None else str(self.asset_id),
            "trust": self.trust,
            "match": self.match,
            "headline": told.headline,
            "explanation": [told.meaning, *told.explanation],
            "conclude": list(told.conclude),
            "not_conclude": list(told.not_conclude),
            "evidence": [
                {
                    "technique": e.technique,
                    "status": e.status,
                    "detail": e.detail,
                    "meaning": said(f"technique.{e.technique}.meaning"),
                }
                for e in self.evidence
            ],
            "seconds": round(self.seconds, 4),
            "signer": self.signer,
            "time": self.time,
            "at": None if self.at is None else self.at.isoformat(),
            "regions": [[r.left, r.top, r.right, r.bottom] for r in self.regions],
            "made_by": self.made_by,
            "history": self.history,
            "media": self.media,
            "record": self.record,
        }


def worst_exit_code(codes: Sequence[int]) -> int:
    return min(codes, key=WORST_FIRST.index, default=0)
