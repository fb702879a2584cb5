"""The two parts of a decision record: what was known before signing, and what came of it. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

from ..provenance.log.canonical import time_text
from .energy import Energy
from .finish import Finished
from .ledger import OpenIntent
from .run import Run


def facts(
    run: Run,
    intent: OpenIntent,
    *,
    kind: str,
    source_type: str,
    policy: dict[str, str],
    energy: Energy,
    inputs: dict[str, str],
    sampling: dict[str, Any],
    time: dt.datetime,
    approved_by: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """What is known before signing. ``inputs``: digests of what the guards saw. ``approved_by``: people, where a rule
    asked for them; a machine's verdict is in the decisions."""
    return {
        "asset_id": str(intent.asset_id),
        "intent": str(intent.id),
        "kind": kind,
        "actor": intent.actor,
        "source_type": source_type,
        "time": time_text(time),
        "policy": policy,
        "commitments": intent.commitments | run.commitments,
        "decisions": list(run.decisions),
        "approved_by": list(approved_by),
        "inputs": inputs,
        "sampling": sampling,
        "energy": energy.as_dict(),
    }


def outcome(done: Finished, time: dt.datetime) -> dict[str, Any]:
    """What came of it, beside the claims of the log entry."""
    return {
        "time": time_text(time),
        "manifest_sha256": hashlib.sha256(done.store).hexdigest(),
        "signer": done.credentials.signer,
        "timestamp": done.credentials.time,
        "watermark": None if done.detection is None else {"score": f"{done.detection.score:.3f}"},
    }
