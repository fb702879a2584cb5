"""Who wants to hear of a job's end: messages to webhooks, put down in the transaction of the end itself."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...provenance.log.canonical import time_text
from ...provenance.service_tables import Job, Webhook, WebhookDelivery
from ...provenance.tables import now

EVENTS = ("job.released", "job.refused", "job.held", "job.failed", "job.cancelled")
_TOLD = ("released", "asset_id", "media", "mime", "sha256", "bytes", "verdict", "code", "request", "log", "energy")
"""What a message says of an outcome: no reasons, which may repeat what was asked for."""


def announce(opened: Session, row: Job) -> None:
    """One message to each webhook of the tenant that asked for this event."""
    event = f"job.{row.state}"
    hooks = opened.scalars(
        # One that is removed at this moment goes before, and hears nothing, or after, and takes its message along.
        select(Webhook).where(Webhook.tenant == row.tenant).with_for_update(read=True, key_share=True)
    )
    wanted = [hook for hook in hooks if event in hook.events]
    for hook in wanted:
        opened.add(WebhookDelivery(id=uuid4(), webhook_id=hook.id, event=event, body=message(row, event)))


def message(row: Job, event: str) -> dict[str, Any]:
    """The body of a message, in the shape of Standard Webhooks: type, timestamp, data."""
    told = row.outcome or {}
    return {
        "type": event,
        "timestamp": time_text(row.ended_at or now()),
        "data": {
            "job": str(row.id),
            "kind": row.kind,
            "state": row.state,
            "outcome": {name: told[name] for name in _TOLD if name in told},
        },
    }
