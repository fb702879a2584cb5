"""The facts of one file, from what was observed of it: a release and a stranger's copy are seen in the same way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ...errors import MediaError
from ..credentials import Credentials
from ..foreign import ForeignLabels, from_xmp, source_types
from ..labelling import audible
from ..labelling.measured import claimed_label
from ..labelling.measuring import measure_stream
from ..labelling.places import read_all
from ..labelling.visible import plate
from ..labels import read_label
from ..media import Limits, MediaFile, read_sound, read_xmp
from .facts import FileFacts


def gather(
    media: MediaFile,
    credentials: Credentials,
    limits: Limits,
    marks: Iterable[tuple[str, str | None]],
    *,
    resolved: str | None = None,
    released: bool = False,
    sha256: str | None = None,
) -> FileFacts:
    """Decodes the first seconds once more, for the label. Raises MediaError where that is not possible."""
    info = media.info
    packet = read_xmp(media.path, info.mime)
    facts = FileFacts(
        kind=info.kind,
        mime=info.mime,
        width=info.width,
        height=info.height,
        duration=info.duration,
        sound=info.sound is not None,
        sha256=sha256,
        xmp=_xmp(packet),
        aigc=read_all(media.path, info.mime, packet, limits),
        marks=tuple(marks),
        resolved=resolved,
        released=released,
        **_signed(credentials),
    )
    if info.kind == "audio":
        heard = audible.find(read_sound(media))
        return replace(facts, heard=None if heard is None else heard.at)
    claimed = claimed_label(facts.said)
    if claimed is not None:
        seen = measure_stream(media.frames(), claimed, plate(claimed.text, claimed.capital))
        facts = replace(facts, visible=seen)
    return facts


def _signed(credentials: Credentials) -> dict[str, Any]:
    history = credentials.history
    nodes = {node.id: node for node in history.nodes}
    first = history.nodes[0] if history.nodes else None
    parts = [
        (edge.relationship, nodes[edge.target].title, nodes[edge.target].kind, nodes[edge.target].state)
        for edge in history.edges
        if first is not None and edge.source == first.id and edge.target in nodes
    ]
    return {
        "state": credentials.state,
        "trust": credentials.trust,
        "signer": credentials.signer,
        "time": credentials.time,
        "time_trust": credentials.time_trust,
        "manifest": credentials.label,
        "generator": credentials.generator,
        "model": credentials.model,
        "source_type": credentials.source_type,
        "actions": tuple((a.action, a.when) for a in first.actions) if first is not None else (),
        "failures": credentials.failures,
        "bindings": credentials.soft_bindings,
        "ingredients": tuple(sorted(parts)),  # c2pa-rs gives them in any order
        "record": credentials.record,
    }


def _xmp(packet: str | None) -> dict[str, str] | None:
    if packet is None:
        return None
    names = ("source_type", "system", "system_version", "prompt", "prompt_writer")
    found = {name: value for name, value in from_xmp(packet).items() if name in names and value}
    several = source_types(packet)
    if len(several) > 1:
        found["source_types"] = " ".join(several)
    label = read_label(packet)
    return found | ({"asset_id": label.asset_id} if label.asset_id else {})


def brought(credentials: Credentials, labels: ForeignLabels) -> dict[str, Any]:
    """What a file that is to be sealed already carries, for the record: what of it must not get lost (R7)."""
    found: dict[str, Any] = {}
    if credentials.state != "absent":
        found["credentials"] = credentials.label or credentials.state
    if labels.aigc:
        found["aigc"] = dict(labels.aigc).get("ContentProducer", "")
    return found


def facts_or_none(*args: Any, **options: Any) -> FileFacts | None:
    """As :func:`gather`, where a file that breaks off on a second look has no facts."""
    try:
        return gather(*args, **options)
    except MediaError:
        return None
