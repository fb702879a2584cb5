"""What the rules look at: what one file's final bytes show, and what its installation can show beside them. Values.

The first part is gathered where strangers' files are read (`gathering`), and crosses from the confined process as
plain JSON; what does not parse on the way back is no fact.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..labelling.measured import Measured

_TEXT = 400
OTHER_TERMS = frozenset({
    "digitalCapture", "computationalCapture", "multiFrameComputationalCapture", "negativeFilm", "positiveFilm", "print",
    "minorHumanEdits", "humanEdits", "compositeCapture", "algorithmicallyEnhanced", "dataDrivenMedia",
    "softwareImage", "digitalArt", "digitalCreation", "screenCapture", "empty",
})  # fmt: skip
"""IPTC's digital source types (and C2PA's `empty`) that are not of AI-made media. Any other word may well be of it:
misspelt, of another language, or of a later list."""


@dataclass(frozen=True)
class FileFacts:
    """``state``, ``time_trust`` and what else is of the credentials: see :class:`.credentials.Credentials`.

    ``ingredients``: (relationship, title, kind, state) of what the file was made from. ``xmp``: the packet's fields.
    ``aigc``: (place, text) of each AIGC label. ``marks``: (algorithm, asset id or None). ``resolved``: the asset that
    a catalog knows the file as; ``released``: these are its released bytes. ``visible``: the label on the picture.
    ``heard``: seconds to the Morse label in sound, None without one. ``sound``: there is a sound track."""

    kind: str = "image"
    mime: str = ""
    width: int = 0
    height: int = 0
    duration: float | None = None
    sound: bool = False
    sha256: str | None = None
    state: str = "absent"
    trust: str = "none"
    signer: str | None = None
    time: str | None = None
    time_trust: str = "none"
    manifest: str | None = None
    generator: str | None = None
    model: str | None = None
    source_type: str | None = None
    actions: tuple[tuple[str, str | None], ...] = ()
    failures: tuple[str, ...] = ()
    bindings: tuple[tuple[str, str], ...] = ()
    ingredients: tuple[tuple[str, str, str, str], ...] = ()
    record: dict[str, Any] | None = None
    xmp: dict[str, str] | None = None
    aigc: tuple[tuple[str, str], ...] = ()
    marks: tuple[tuple[str, str | None], ...] = ()
    resolved: str | None = None
    released: bool = False
    visible: Measured | None = None
    heard: float | None = None

    @property
    def said(self) -> dict[str, Any]:
        """The record in the file's manifest, where its signature holds: else it is only what somebody wrote."""
        return self.record or {} if self.state == "trusted" else {}

    @property
    def asset_id(self) -> str | None:
        found = (self.record or {}).get("assetId")
        return found if isinstance(found, str) else None

    @property
    def declared(self) -> str | None:
        """The source type's last part, by the credentials, else by the XMP."""
        uri = self.source_type or (self.xmp or {}).get("source_type")
        return uri.rstrip("/").rsplit("/", 1)[-1] if uri else None

    @property
    def said_types(self) -> tuple[str, ...]:
        """The last part of every source type that anything in the file names."""
        xmp = self.xmp or {}
        uris = [self.source_type or "", xmp.get("source_type") or "", *(xmp.get("source_types") or "").split()]
        return tuple(dict.fromkeys(uri.rstrip("/").rsplit("/", 1)[-1] for uri in uris if uri))

    @property
    def ai(self) -> bool:
        """Whether duties of AI-made media apply: unless the file says that it is none, in known words, and nothing in
        it says otherwise. What says nothing of itself may well be AI-made, and whoever has it checked thinks so."""
        if self.said_types:
            return bool(self.aigc) or not set(self.said_types) <= OTHER_TERMS
        return self.said.get("declared") not in ("camera", "unknown")

    @property
    def had(self) -> dict[str, Any]:
        """What the file that was sealed had brought along, as the signed record says."""
        source = self.said.get("source")
        had = source.get("had") if isinstance(source, dict) else None
        return had if isinstance(had, dict) else {}

    def to_json(self) -> dict[str, Any]:
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return found | {"visible": None if self.visible is None else self.visible.as_dict()}

    @classmethod
    def from_json(cls, value: object) -> FileFacts:
        """Raises ValueError for what is not in form. What is missing, as in what an older program wrote, is unknown."""
        if not isinstance(value, dict):
            raise ValueError("no facts")
        try:
            found: dict[str, Any] = {}
            for name, plain in _PLAIN.items():
                given = value.get(name)
                if given is not None:
                    if not isinstance(given, plain) or isinstance(given, bool) is not (plain is bool):
                        raise ValueError(name)
                    found[name] = given[:_TEXT] if isinstance(given, str) else given
            for name, width in _ROWS.items():
                rows = value.get(name) or []
                found[name] = tuple(_row(row, width, name) for row in rows[:400])
            found["failures"] = tuple(str(code)[:_TEXT] for code in (value.get("failures") or [])[:100])
            for name in ("record", "xmp"):
                if value.get(name) is not None and not isinstance(value[name], dict):
                    raise ValueError(name)
                found[name] = value.get(name)
            if value.get("visible") is not None:
                found["visible"] = Measured.from_dict(value["visible"])
            return cls(**found)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("no facts") from error


_PLAIN: dict[str, Any] = {
    "kind": str, "mime": str, "width": int, "height": int, "duration": (int, float), "sound": bool, "sha256": str,
    "state": str, "trust": str, "signer": str, "time": str, "time_trust": str, "manifest": str, "generator": str,
    "model": str, "source_type": str, "resolved": str, "released": bool, "heard": (int, float),
}  # fmt: skip
_ROWS = {"actions": 2, "bindings": 2, "ingredients": 4, "aigc": 2, "marks": 2}
_LONG = {"aigc": 8 << 10}


def _row(row: object, width: int, name: str) -> tuple[Any, ...]:
    if not isinstance(row, list | tuple) or len(row) != width:
        raise ValueError(name)
    return tuple(None if item is None else str(item)[: _LONG.get(name, _TEXT)] for item in row)


@dataclass(frozen=True)
class HouseFacts:
    """What the installation shows beside the file. None: nobody could look, so the rule stays open.

    ``answer``: the public detector's answer to this file. ``service``: what the detector takes, as
    {"upload", "url", "api": bool, "address": str or None}. ``proof``: (holds, what it says) of the log's inclusion
    proof. ``retention``: {"days": int or None, "erasure": str, "logged": bool}. ``lists_apart``: no root is both on a
    claim list and on a time-stamp list. ``robustness``: what the report in use says it is of. ``refusals``: (how many
    were looked at, what is wrong with them)."""

    answer: dict[str, Any] | None = None
    service: dict[str, Any] | None = None
    proof: tuple[bool, str] | None = None
    retention: dict[str, Any] | None = None
    lists_apart: bool | None = None
    robustness: dict[str, Any] | None = None
    refusals: tuple[int, tuple[str, ...]] | None = None
    notes: tuple[str, ...] = field(default=())
