"""Who or what made a file, by everything that it says of itself: one answer, and how far it is confirmed. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from .credentials import Credentials
from .foreign import AI_SOURCES, CAMERA_SOURCES, COMPOSITE_SOURCES, ForeignLabels
from .history import History, Node
from .trust import TrustLevel

Basis = Literal["c2pa", "xmp", "aigc", "exif", "embedded settings"]
Making = Literal["ai", "composite", "camera", "unknown"]
_KNOWN = AI_SOURCES | COMPOSITE_SOURCES | CAMERA_SOURCES


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
    kind: Making
    confirmed: bool
    basis: tuple[Basis, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"basis": list(self.basis)}


def made_by(credentials: Credentials, labels: ForeignLabels) -> MadeBy | None:
    """The answer from signed statements where they hold, else from plain labels; None where nothing says anything."""
    holds = credentials.state in ("trusted", "valid")
    signed = credentials if holds else Credentials("absent")
    said = _signed(signed)
    source = said.source or labels.source_type
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
    kind: Making = "composite" if said.mixed else _kind(source, labels, bool(model))
    # What a trusted signer leaves open is not confirmed by standing in the same file.
    backed = said.trusted if said.source else bool(model) or kind == "unknown"
    return MadeBy(
        generator=named,
        signer=signed.signer,
        trust=signed.trust,
        when=signed.time,
        source_type=source,
        ai={"ai": True, "composite": True, "camera": False}.get(kind),
        kind=kind,
        confirmed=signed.state == "trusted" and backed,
        basis=tuple(basis),
    )


@dataclass(frozen=True, slots=True)
class _Signed:
    """``source``: the source type that signatures state. ``trusted``: the signer of that statement is on a list.
    ``mixed``: later steps, or what it was made from, add AI to what came from elsewhere."""

    source: str | None = None
    trusted: bool = False
    mixed: bool = False


def _signed(credentials: Credentials) -> _Signed:
    """By the manifest of the file, then by its parents', up to the first that says where it is from: an editor that
    opened a picture says nothing of its source. What was only placed into it, a component, says nothing of the
    whole."""
    own = [a.source_type for node in credentials.history.nodes[:1] for a in node.actions]
    stated = [(source, credentials.state == "trusted") for source in filter(None, [credentials.source_type, *own])]
    for node in _parents(credentials.history):
        if node.state in ("trusted", "valid"):
            stated += [(a.source_type, node.state == "trusted") for a in node.actions if a.source_type]
    made = [(source, sure) for source, sure in stated if _term(source) in AI_SOURCES | COMPOSITE_SOURCES]
    known = next(((s, sure) for s, sure in stated if _term(s) in _KNOWN), stated[0] if stated else None)
    if known is None:
        return _Signed()
    if made and _term(known[0]) in CAMERA_SOURCES:
        return _Signed(*made[0], mixed=True)
    return _Signed(*known)


def _parents(history: History) -> list[Node]:
    """From the nearest on; what a liar makes a cycle of is walked once."""
    by_id = {node.id: node for node in history.nodes}
    above = {edge.source: edge.target for edge in reversed(history.edges) if edge.relationship == "parentOf"}
    found: list[Node] = []
    place = history.nodes[0].id if history.nodes else None
    while (place := above.pop(place, None) if place is not None else None) is not None and place in by_id:
        found.append(by_id[place])
    return found


def _joined(generator: str | None, model: str | None) -> str | None:
    if generator and model and model.lower() not in generator.lower():
        return f"{generator} (model {model})"
    return generator or model


def _term(source: str | None) -> str | None:
    return None if source is None else source.rstrip("/").rsplit("/", 1)[-1]


def _kind(source: str | None, labels: ForeignLabels, model: bool) -> Making:
    term = _term(source)
    if term in AI_SOURCES:
        return "ai"
    if term in COMPOSITE_SOURCES:
        return "composite"
    if term in CAMERA_SOURCES:
        return "camera"
    if model or labels.aigc_label in ("1", "2", "3") or labels.system or labels.generator:
        return "ai"
    return "camera" if labels.camera and source is None else "unknown"
