"""Who or what made a file, by everything that it says of itself: one answer, and how far it is confirmed. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .credentials import Credentials
from .foreign import AI_SOURCES, CAMERA_SOURCES, COMPOSITE_SOURCES, ForeignLabels
from .trust import TrustLevel

Basis = Literal["c2pa", "xmp", "aigc", "exif", "embedded settings"]


@dataclass(frozen=True, slots=True)
class MadeBy:
    """``generator``: the program or model that is named. ``confirmed``: a signature that holds says so, by a signer
    of ``trust``; everything else is what anybody could have written. ``ai``: True, False, or None where nothing says.
    ``kind``: ai, composite, camera or unknown. ``basis``: which labels say so."""

    generator: str | None
    signer: str | None
    trust: TrustLevel
    when: str | None
    source_type: str | None
    ai: bool | None
    kind: Literal["ai", "composite", "camera", "unknown"]
    confirmed: bool
    basis: tuple[Basis, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"basis": list(self.basis)}


def made_by(credentials: Credentials, labels: ForeignLabels) -> MadeBy | None:
    """The answer from signed statements where they hold, else from plain labels; None where nothing says anything."""
    holds = credentials.state in ("trusted", "valid")
    signed = credentials if holds else Credentials("absent")
    source = signed.source_type or _deeper(signed) or labels.source_type
    basis: list[Basis] = []
    if holds:
        basis.append("c2pa")
    if labels.source_type or labels.system or (labels.software and not labels.camera):
        basis.append("xmp")
    if labels.aigc:
        basis.append("aigc")
    if labels.camera:
        basis.append("exif")
    if labels.generator:
        basis.append("embedded settings")
    if not basis:
        return None
    model = signed.model if signed.model not in (None, "not stated") else None
    plain = " ".join(filter(None, (labels.system, labels.system_version))) or labels.generator
    producer = dict(labels.aigc).get("ContentProducer")
    named = _joined(signed.generator, model) or plain or producer or labels.camera or labels.software
    kind = _kind(source, labels, bool(model))
    return MadeBy(
        generator=named,
        signer=signed.signer,
        trust=signed.trust,
        when=signed.time,
        source_type=source,
        ai={"ai": True, "composite": True, "camera": False}.get(kind),
        kind=kind,
        confirmed=signed.state == "trusted",
        basis=tuple(basis),
    )


def _joined(generator: str | None, model: str | None) -> str | None:
    if generator and model and model.lower() not in generator.lower():
        return f"{generator} (model {model})"
    return generator or model


def _deeper(credentials: Credentials) -> str | None:
    """An editor that opened an AI picture says nothing of its source: its parent's manifest does."""
    for node in credentials.history.nodes[1:]:
        for action in node.actions:
            if action.source_type and node.state in ("trusted", "valid"):
                return action.source_type
    return None


def _kind(source: str | None, labels: ForeignLabels, model: bool) -> Literal["ai", "composite", "camera", "unknown"]:
    term = None if source is None else source.rstrip("/").rsplit("/", 1)[-1]
    if term in AI_SOURCES:
        return "ai"
    if term in COMPOSITE_SOURCES:
        return "composite"
    if term in CAMERA_SOURCES:
        return "camera"
    if model or labels.aigc_label in ("1", "2", "3") or labels.system or labels.generator:
        return "ai"
    return "camera" if labels.camera and source is None else "unknown"
