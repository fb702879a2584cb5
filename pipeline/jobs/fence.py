"""What makes a job end once: each attempt works under an intent whose id follows from the job and its number.

Before an attempt begins, all earlier ones are looked up in the outbox. One that released, refused or held is the job's
end, whoever died before saying so. One that is still under way is closed there: after that neither its worker, if it
lives, nor a recovery can release it, since the outbox refuses every further step. So a lease may be lost at any moment,
to a kill, a stopped clock or a cut network, and nothing is released twice or unrecorded. An attempt that was not begun
yet cannot be closed: see `beginning`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from ...errors import FiligranaError
from ...provenance.catalog import Catalog
from ...provenance.identity import AssetId
from ...provenance.tables import Intent
from ..ledger import Ledger
from .model import Job

_SPACE = UUID("6f1d1a0e-9c3b-5a52-8a5e-2f3f0f6c8b11")
SUPERSEDED = "jobs.superseded"


def intent_of(job: UUID, attempt: int) -> UUID:
    """The intent of attempt ``attempt``, counted from 1."""
    return uuid5(_SPACE, f"{job}:{attempt}")


def settle(ledger: Ledger, job: UUID, attempts: int) -> tuple[str, dict[str, Any]] | None:
    """Closes the first ``attempts`` attempts for good. The state and outcome of the one that ended the job, if any."""
    for attempt in range(1, attempts + 1):
        found = ended(ledger, intent_of(job, attempt))
        if found is not None:
            return found
        _close(ledger, intent_of(job, attempt))
        # it may have come to its end between the two looks
        found = ended(ledger, intent_of(job, attempt))
        if found is not None:
            return found
    return None


def ended(ledger: Ledger, intent: UUID) -> tuple[str, dict[str, Any]] | None:
    """The state that a job has by this intent, and what its caller is told; None where it decides nothing."""
    row = ledger.row(intent)
    if row is None or row.state not in ("released", "refused", "held"):
        return None
    if row.state == "released":
        return "released", _released(ledger, row)
    return row.state, {"released": False, "verdict": row.state, "request": str(intent)}


def standing(ledger: Ledger, job: Job) -> tuple[str, dict[str, Any]] | None:
    """What became of a job after it was held or refused, by people or by a time-stamp; None: nothing yet."""
    for attempt in range(job.attempts, 0, -1):
        intent = intent_of(job.id, attempt)
        row = ledger.row(intent)
        if row is None:
            continue  # it found that the one before had ended the job, and was never begun
        if row.state == "released":
            return ended(ledger, intent)
        if job.state == "held" and row.state in ("refused", "failed"):
            told = {"released": False, "verdict": "block", "code": f"review.{row.state}", "request": str(intent)}
            return row.state, {**(job.outcome or {}), **told}
        return None  # this is the one before people: an earlier one that failed, and was tried again, says nothing
    return None


def _released(ledger: Ledger, row: Intent) -> dict[str, Any]:
    with ledger.reading() as opened:
        asset = Catalog(opened).by_asset_id(AssetId(int(row.asset_id or 0)))
    if asset is None:
        raise FiligranaError("a released asset is not in the catalog", code="jobs.catalog")
    return {
        "released": True,
        "asset_id": str(asset.asset_id),
        "media": asset.media,
        "mime": asset.mime,
        "sha256": asset.sha256.hex(),
        "bytes": asset.byte_count,
        "log": {"index": asset.log_index},
    }


def _close(ledger: Ledger, intent: UUID) -> None:
    row = ledger.row(intent)
    if row is None or row.state not in ("open", "result"):
        return
    try:
        ledger.close(intent, "abandoned", code=SUPERSEDED)
    except FiligranaError:
        # whoever was faster decided it: if not, the next look finds it open, and this attempt must not begin
        again = ledger.row(intent)
        if again is not None and again.state in ("open", "result"):
            raise
