"""Webhooks: where a tenant hears of its jobs, what is sent there, and the secrets that it is signed with.

A message is a row that is written with the job's end (`jobs.announcing`); `postman` delivers it.
"""

from __future__ import annotations

import base64
import builtins
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..errors import InputError, ServiceError
from ..provenance.database import turn
from ..provenance.log.canonical import time_text
from ..provenance.service_tables import Webhook, WebhookDelivery
from ..provenance.tables import now
from ..provenance.vault import Vault
from .fetching import FetchLimits, check_url
from .installation import Installation
from .jobs.announcing import EVENTS

MOST = 20
"""Webhooks of one tenant."""
GRACE = timedelta(hours=24)
"""For which messages are signed with the secret before as well, so that receivers can change over."""
TEST = "webhook.test"
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Hook:
    """A webhook without its secret."""

    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        return {
            "object": "webhook",
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "created_at": self.created_at.isoformat(),
        }


class Webhooks:
    """The webhooks of an installation. Making and removing one is an entry of the log."""

    def __init__(self, house: Installation) -> None:
        self._house = house

    def add(self, tenant: str, subject: str, url: str, events: Sequence[str]) -> tuple[Hook, str]:
        """A new one, and its secret, which is shown once. Raises InputError, FetchError, ServiceError."""
        unknown = [event for event in events if event not in EVENTS]
        if unknown or not events:
            raise InputError(f"events are {', '.join(EVENTS)}", code="input.events")
        check_url(url, FetchLimits.of(self._house.settings).allowed)
        secret = secrets.token_bytes(32)
        ident = "".join(secrets.choice(_LETTERS) for _ in range(12))
        row = Webhook(id=ident, tenant=tenant, url=url, events=sorted(set(events)), secret=secret, created_at=now())
        with self._house.ledger.change() as change:
            turn(change.session, f"webhooks of {tenant}")  # those who count at once do not pass the number together
            have = change.session.scalars(select(Webhook.id).where(Webhook.tenant == tenant)).all()
            if len(have) >= MOST:
                raise ServiceError(f"a tenant has {MOST} webhooks at most", status=409, code="webhooks.full")
            change.session.add(row)
            change.append(self._entry("added", ident, tenant, Vault(change.session).actor(subject)))
        return _hook(row), secret_text(secret)

    def remove(self, tenant: str, ident: str, subject: str) -> None:
        """With its messages. Raises ServiceError where there is none."""
        with self._house.ledger.change() as change:
            row = _found(change.session, tenant, ident, lock=True)
            change.session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == ident))
            change.session.delete(row)
            change.append(self._entry("removed", ident, tenant, Vault(change.session).actor(subject)))

    def rotate(self, tenant: str, ident: str, subject: str) -> tuple[Hook, str]:
        """A new secret, which is shown once; the one before signs beside it for `GRACE`. Raises ServiceError."""
        secret = secrets.token_bytes(32)
        with self._house.ledger.change() as change:
            row = _found(change.session, tenant, ident, lock=True)
            row.old_secret, row.old_until, row.secret = row.secret, self._house.clock() + GRACE, secret
            change.append(self._entry("rotated", ident, tenant, Vault(change.session).actor(subject)))
            return _hook(row), secret_text(secret)

    def list(self, tenant: str) -> list[Hook]:
        query = select(Webhook).where(Webhook.tenant == tenant).order_by(Webhook.created_at, Webhook.id)
        with self._house.ledger.reading() as opened:
            return [_hook(row) for row in opened.scalars(query)]

    def deliveries(self, tenant: str, ident: str, limit: int) -> builtins.list[dict[str, Any]]:
        """What became of the youngest messages. Raises ServiceError."""
        with self._house.ledger.reading() as opened:
            _found(opened, tenant, ident)
            query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == ident)
            query = query.order_by(WebhookDelivery.created_at.desc(), WebhookDelivery.id).limit(limit)
            return [_delivery(row) for row in opened.scalars(query)]

    def test(self, tenant: str, ident: str) -> dict[str, Any]:
        """A message that is about no job; one at a time: while it waits, it is the same one that is tried again.
        Raises ServiceError."""
        with self._house.ledger.change() as change:
            _found(change.session, tenant, ident, lock=True)
            query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == ident, WebhookDelivery.event == TEST)
            row = change.session.scalar(query.where(WebhookDelivery.state == "waiting").limit(1))
            if row is None:
                body = {"type": TEST, "timestamp": time_text(self._house.clock()), "data": {"webhook": ident}}
                row = WebhookDelivery(id=uuid4(), webhook_id=ident, event=TEST, body=body, created_at=now())
                change.session.add(row)
            return _now(change.session, row)

    def again(self, tenant: str, ident: str, message: str) -> dict[str, Any]:
        """Sends one message anew, also one that was taken or given up. Raises ServiceError."""
        with self._house.ledger.change() as change:
            _found(change.session, tenant, ident)
            row = change.session.get(WebhookDelivery, _message_id(message), with_for_update=True)
            if row is None or row.webhook_id != ident:
                raise _no_message()
            return _now(change.session, row)

    def _entry(self, act: str, ident: str, tenant: str, actor: str) -> dict[str, object]:
        return {
            "type": "webhook",
            "time": time_text(self._house.clock()),
            "act": act,
            "webhook": ident,
            "tenant": tenant,
            "actor": actor,
        }


def secret_text(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def secrets_of(row: Webhook, moment: datetime) -> tuple[bytes, ...]:
    """What a message is signed with at ``moment``, the newest first."""
    if row.old_secret is None or row.old_until is None or moment >= row.old_until:
        return (row.secret,)
    return row.secret, row.old_secret


def _hook(row: Webhook) -> Hook:
    return Hook(row.id, row.url, tuple(row.events), row.created_at)


def _delivery(row: WebhookDelivery) -> dict[str, Any]:
    waits = row.state == "waiting" and row.attempts > 0
    return {
        "object": "webhook.delivery",
        "id": f"msg_{row.id}",
        "event": row.event,
        "job": row.body["data"].get("job"),
        "state": row.state,
        "attempts": row.attempts,
        "status": row.status,
        "reason": row.reason,
        "next_try_at": datetime.fromtimestamp(row.due / 1000, UTC).isoformat() if waits else None,
        "created_at": row.created_at.isoformat(),
        "ended_at": None if row.ended_at is None else row.ended_at.isoformat(),
    }


def _message_id(text: str) -> UUID:
    try:
        return UUID(text.removeprefix("msg_"))
    except ValueError:
        raise _no_message() from None


def _no_message() -> ServiceError:
    return ServiceError("there is no such message", status=404, param="delivery_id", code="service.not_found")


def _now(opened: Session, row: WebhookDelivery) -> dict[str, Any]:
    row.state, row.attempts, row.due, row.status, row.reason, row.ended_at = "waiting", 0, 0, None, None, None
    opened.flush()
    return _delivery(row)


def _found(opened: Session, tenant: str, ident: str, *, lock: bool = False) -> Webhook:
    row = opened.get(Webhook, ident, with_for_update=lock or None)
    if row is None or row.tenant != tenant:
        raise ServiceError("there is no such webhook", status=404, param="webhook_id", code="service.not_found")
    return row
