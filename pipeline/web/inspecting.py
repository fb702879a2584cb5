"""The port to whatever looks into a file, and the adapter to this installation's confined processes."""

from __future__ import annotations

import base64
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from ...provenance.asked import Asked
from ..installation import Installation


class Inspector(Protocol):
    """Blocks, and may be called from several threads. The answer is a finding as in docs/verify.md, told in
    ``language``; with ``thumbnail`` it has a small picture of the file besides."""

    def inspect(
        self, path: Path, *, at: datetime | None, sidecar: Path | None, language: str, thumbnail: bool
    ) -> dict[str, Any]: ...


class HouseInspector:
    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def inspect(
        self, path: Path, *, at: datetime | None, sidecar: Path | None, language: str, thumbnail: bool
    ) -> dict[str, Any]:
        finding = self._installation.inspector.verify(
            path, Asked(at, sidecar, thumbnail=thumbnail), seconds=self._installation.settings.serve_verify_seconds
        )
        answer = finding.as_dict(language)
        picture = finding.thumbnail
        return {**answer, "thumbnail": base64.b64encode(picture).decode() if picture else None} if thumbnail else answer
