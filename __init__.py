"""Filigrana: from a prompt to a released picture, clip or sound that anyone can check.

The names below are imported when they are first used, so that `import filigrana` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import FiligranaError
    from .pipeline.api import Pipeline, Watermark, verify
    from .pipeline.policies import judge_prompt
    from .pipeline.request import Held, Refusal, Release
    from .pipeline.settings import Settings, load_settings
    from .provenance.identity import AssetId
    from .provenance.log.sequencer import AuditLog
    from .provenance.verify import Finding
    from .provenance.watermark.base import Detection
    from .safety.decision import Decision, Verdict

_HOMES = {
    "AssetId": "provenance.identity",
    "AuditLog": "provenance.log.sequencer",
    "Decision": "safety.decision",
    "Detection": "provenance.watermark.base",
    "FiligranaError": "errors",
    "Finding": "provenance.verify",
    "Held": "pipeline.request",
    "Pipeline": "pipeline.api",
    "Refusal": "pipeline.request",
    "Release": "pipeline.request",
    "Settings": "pipeline.settings",
    "Verdict": "safety.decision",
    "Watermark": "pipeline.api",
    "judge_prompt": "pipeline.policies",
    "load_settings": "pipeline.settings",
    "verify": "pipeline.api",
}

__all__ = [
    "AssetId",
    "AuditLog",
    "Decision",
    "Detection",
    "FiligranaError",
    "Finding",
    "Held",
    "Pipeline",
    "Refusal",
    "Release",
    "Settings",
    "Verdict",
    "Watermark",
    "judge_prompt",
    "load_settings",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("filigrana")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'filigrana' has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
