"""The port to whatever looks into a file, and its adapters: in confined children, or in this process."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ...provenance.finding import Evidence, Finding
from ...provenance.identity import AssetId
from ...provenance.verify import Asked
from ..installation import Installation


class Inspector(Protocol):
    """Blocks, and may be called from several threads. The answer is a finding as in docs/verify.md, in English."""

    def inspect(self, path: Path, *, at: datetime | None = None, sidecar: Path | None = None) -> dict[str, Any]: ...


class ConfinedInspector:
    """In confined children: what the service runs with."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def inspect(self, path: Path, *, at: datetime | None = None, sidecar: Path | None = None) -> dict[str, Any]:
        return self._installation.inspector.inspect(path, at=at, sidecar=sidecar)


class HereInspector:
    """In this very process: without limits of memory and time of its own."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def inspect(self, path: Path, *, at: datetime | None = None, sidecar: Path | None = None) -> dict[str, Any]:
        return self._installation.verifier().verify(path, Asked(at=at, sidecar=sidecar)).as_dict()


def in_language(answer: dict[str, Any], language: str) -> dict[str, Any]:
    """The same finding told in ``language``: what an inspector answers is English."""
    asset, at = answer.get("asset_id"), answer.get("at")
    finding = Finding(
        file=answer["file"],
        finding=answer["finding"],
        asset_id=None if asset is None else AssetId.parse(asset),
        trust=answer["trust"],
        match=answer["match"],
        evidence=tuple(Evidence(e["technique"], e["status"], e["detail"]) for e in answer["evidence"]),
        seconds=answer["seconds"],
        signer=answer["signer"],
        time=answer["time"],
        at=None if at is None else datetime.fromisoformat(at),
        made_by=answer.get("made_by"),
        media=answer.get("media"),
        record=answer.get("record"),
    )
    told = finding.as_dict(language)
    said = {key: told[key] for key in ("headline", "explanation", "conclude", "not_conclude")}
    meanings = [{**old, "meaning": new["meaning"]} for old, new in zip(answer["evidence"], told["evidence"], strict=True)]
    return {**answer, **said, "evidence": meanings, "language": language}
