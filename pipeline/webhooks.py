"""Webhooks: where a tenant hears of its jobs, and the messages that go there, as Standard Webhooks has them.

A message is a row that is written with the job's end. Whoever delivers takes it for a while, as a job is taken; it is
tried until it is taken with 2xx, at growing distances, and given up after a day and a half. A receiver may get one
twice, and sees that by `webhook-id`.
"""

from __future__ import annotations

import base64
import builtins
import hmac
import json
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, join, select

from ..errors import FetchError, FiligranaError, InputError, ServiceError
from ..provenance.database import current_revision, session, turn
from ..provenance.log.canonical import time_text
from ..provenance.service_tables import Webhook, WebhookDelivery
from ..provenance.tables import now
from ..provenance.vault import Vault
from .fetching import FetchLimits, check_url, post
from .installation import Installation
from .jobs.announcing import EVENTS
from .jobs.rows import clock_of

_log = logging.getLogger("filigrana.webhooks")
MOST = 20
"""Webhooks of one tenant."""
PAUSES = (5, 30, 120, 600, 3600, 6 * 3600, 12 * 3600, 16 * 3600)
"""Seconds after each try that failed; after the last of them there is one more try."""
HELD = 60_000
"""Milliseconds for which a message is in the hands of one deliverer."""
AT_ONCE, SHARE = 16, 4
"""Messages that are on their way at one moment: in all, and of one tenant, whose receivers may be slow or dead."""
POLL = 1.0
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
            row = change.session.get(Webhook, ident, with_for_update=True)
            if row is None or row.tenant != tenant:
                raise _none()
            change.session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == ident))
            change.session.delete(row)
            change.append(self._entry("removed", ident, tenant, Vault(change.session).actor(subject)))

    def list(self, tenant: str) -> list[Hook]:
        query = select(Webhook).where(Webhook.tenant == tenant).order_by(Webhook.created_at, Webhook.id)
        with self._house.ledger.reading() as opened:
            return [_hook(row) for row in opened.scalars(query)]

    def deliveries(self, tenant: str, ident: str, limit: int) -> builtins.list[dict[str, Any]]:
        """What became of the youngest messages."""
        with self._house.ledger.reading() as opened:
            hook = opened.get(Webhook, ident)
            if hook is None or hook.tenant != tenant:
                raise _none()
            query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == ident)
            query = query.order_by(WebhookDelivery.created_at.desc()).limit(limit)
            return [
                {
                    "object": "webhook.delivery",
                    "id": f"msg_{row.id}",
                    "event": row.event,
                    "job": row.body["data"]["job"],
                    "state": row.state,
                    "attempts": row.attempts,
                    "status": row.status,
                    "created_at": row.created_at.isoformat(),
                    "ended_at": None if row.ended_at is None else row.ended_at.isoformat(),
                }
                for row in opened.scalars(query)
            ]

    def _entry(self, act: str, ident: str, tenant: str, actor: str) -> dict[str, object]:
        return {
            "type": "webhook",
            "time": time_text(self._house.clock()),
            "act": act,
            "webhook": ident,
            "tenant": tenant,
            "actor": actor,
        }


@dataclass(frozen=True)
class _Message:
    id: UUID
    tenant: str
    url: str
    secret: bytes
    body: dict[str, Any]
    attempts: int


class Postman:
    """Delivers what is due, from a thread of its own. Several of them share the work."""

    def __init__(self, house: Installation, clock: Callable[[], datetime] | None = None) -> None:
        self._house, self._clock = house, clock or house.clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="filigrana-postman", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Within the time that one try takes."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._limits().seconds + 5)

    def _run(self) -> None:
        while not self._stop.wait(POLL):
            try:
                if self._house.exists and current_revision(self._house.log.engine) is not None:
                    self.deliver()
            except Exception as error:  # noqa: BLE001  the next round tries again
                _log.warning("webhooks wait: %s", getattr(error, "code", type(error).__name__))

    def deliver(self) -> int:
        """Tries everything that is due once; how many messages that were. What is slow keeps a few threads of its
        tenant, and nobody else waits for it."""
        count, under_way = 0, dict[Future[None], str]()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="filigrana-message") as pool:
            while True:
                taken = [] if self._stop.is_set() else self._take(Counter(under_way.values()))
                under_way |= {pool.submit(self._try, message): message.tenant for message in taken}
                count += len(taken)
                if not under_way:
                    return count
                for done in wait(under_way, POLL, FIRST_COMPLETED).done:
                    del under_way[done]

    def _take(self, busy: Counter[str]) -> list[_Message]:
        """``busy``: how many messages of each tenant are under way. Whose message has waited longest comes first."""
        free, taken = AT_ONCE - busy.total(), list[_Message]()
        if free <= 0:
            return taken
        with session(self._house.log.engine, write=True) as opened:
            clock = clock_of(opened)
            due = (WebhookDelivery.state == "waiting") & (WebhookDelivery.due <= clock)
            hooks = join(WebhookDelivery, Webhook, WebhookDelivery.webhook_id == Webhook.id)
            full = [tenant for tenant, count in busy.items() if count >= SHARE]
            tenants = select(Webhook.tenant).select_from(hooks).where(due, Webhook.tenant.not_in(full))
            tenants = tenants.group_by(Webhook.tenant).order_by(func.min(WebhookDelivery.due)).limit(free)
            for tenant in opened.scalars(tenants).all():
                its = select(WebhookDelivery, Webhook).select_from(hooks).where(due, Webhook.tenant == tenant)
                its = its.order_by(WebhookDelivery.due).limit(min(SHARE - busy[tenant], free - len(taken)))
                for row, hook in opened.execute(its.with_for_update(of=WebhookDelivery, skip_locked=True)).all():
                    row.attempts, row.due = row.attempts + 1, clock + HELD
                    taken.append(_Message(row.id, tenant, hook.url, hook.secret, row.body, row.attempts))
        return taken

    def _try(self, message: _Message) -> None:
        body = json.dumps(message.body, separators=(",", ":"), ensure_ascii=True).encode()
        headers = signed(message.id, message.secret, body, int(self._clock().timestamp()))
        try:
            status = post(message.url, body, headers, self._limits())
        except FetchError as error:
            _log.info("message %s was not taken: %s", message.id, error.code)
            status = 0
        try:
            self._note(message, status)
        except FiligranaError as error:
            _log.warning("message %s: %s", message.id, error.code)

    def _note(self, message: _Message, status: int) -> None:
        taken = 200 <= status < 300
        # 410 Gone: Standard Webhooks' way to say that nobody wants them any more.
        over = taken or status == 410 or message.attempts > len(PAUSES)
        with session(self._house.log.engine, write=True) as opened:
            row = opened.get(WebhookDelivery, message.id, with_for_update=True)
            if row is None or row.attempts != message.attempts or row.state != "waiting":
                return  # removed, or somebody else has it by now
            row.status = status
            if over:
                row.state, row.ended_at = ("delivered" if taken else "given_up"), now()
            else:
                row.due = clock_of(opened) + 1000 * PAUSES[message.attempts - 1]

    def _limits(self) -> FetchLimits:
        return replace(FetchLimits.of(self._house.settings), seconds=10.0, redirects=0)


def signed(message: UUID, secret: bytes, body: bytes, time: int) -> dict[str, str]:
    """The headers of Standard Webhooks: id, time in seconds, and HMAC-SHA256 over both and the body."""
    ident = f"msg_{message}"
    mac = hmac.new(secret, f"{ident}.{time}.".encode() + body, sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": ident,
        "webhook-timestamp": str(time),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def secret_text(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def _hook(row: Webhook) -> Hook:
    return Hook(row.id, row.url, tuple(row.events), row.created_at)


def _none() -> ServiceError:
    return ServiceError("there is no such webhook", status=404, param="webhook_id", code="service.not_found")
