"""Delivers the messages of webhooks, signed as Standard Webhooks has it.

Whoever delivers takes a message for a while, as a job is taken; it is tried until it is taken with 2xx, at growing
distances, and given up after a day and a half. A receiver may get one twice, and sees that by `webhook-id`.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import func, join, select

from ..errors import FetchError, FiligranaError, code_of
from ..provenance.database import current_revision, session
from ..provenance.service_tables import Webhook, WebhookDelivery
from ..provenance.tables import now
from .fetching import FetchLimits, post
from .installation import Installation
from .jobs.rows import clock_of
from .webhooks import secrets_of

_log = logging.getLogger("filigrana.webhooks")
PAUSES = (5, 30, 120, 600, 3600, 6 * 3600, 12 * 3600, 16 * 3600)
"""Seconds after each try that failed; after the last of them there is one more try."""
HELD = 60_000
"""Milliseconds for which a message is in the hands of one deliverer."""
AT_ONCE, SHARE = 16, 4
"""Messages that are on their way at one moment: in all, and of one tenant, whose receivers may be slow or dead."""
POLL = 1.0


@dataclass(frozen=True)
class _Message:
    id: UUID
    tenant: str
    url: str
    secrets: tuple[bytes, ...]
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
                _log.warning("webhooks wait: %s", code_of(error))

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
                    secrets = secrets_of(hook, self._clock())
                    taken.append(_Message(row.id, tenant, hook.url, secrets, row.body, row.attempts))
        return taken

    def _try(self, message: _Message) -> None:
        body = json.dumps(message.body, separators=(",", ":"), ensure_ascii=True).encode()
        headers = signed(message.id, message.secrets, body, int(self._clock().timestamp()))
        try:
            status, reason = post(message.url, body, headers, self._limits()), None
        except FetchError as error:
            status, reason = 0, error.code
            _log.info("message %s was not taken: %s", message.id, reason)
        try:
            self._note(message, status, reason)
        except FiligranaError as error:
            _log.warning("message %s: %s", message.id, error.code)

    def _note(self, message: _Message, status: int, reason: str | None) -> None:
        taken = 200 <= status < 300
        # 410 Gone: Standard Webhooks' way to say that nobody wants them any more.
        over = taken or status == 410 or message.attempts > len(PAUSES)
        with session(self._house.log.engine, write=True) as opened:
            row = opened.get(WebhookDelivery, message.id, with_for_update=True)
            if row is None or row.attempts != message.attempts or row.state != "waiting":
                return  # removed, or somebody else has it by now
            row.status, row.reason = status, reason
            if over:
                row.state, row.ended_at = ("delivered" if taken else "given_up"), now()
            else:
                row.due = clock_of(opened) + 1000 * PAUSES[message.attempts - 1]

    def _limits(self) -> FetchLimits:
        return replace(FetchLimits.of(self._house.settings), seconds=10.0, redirects=0)


def signed(message: UUID, secrets: Sequence[bytes], body: bytes, time: int) -> dict[str, str]:
    """The headers of Standard Webhooks: id, time in seconds, and for each secret HMAC-SHA256 over both and the body."""
    ident = f"msg_{message}"
    said = f"{ident}.{time}.".encode() + body
    macs = [base64.b64encode(hmac.new(secret, said, sha256).digest()).decode() for secret in secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": ident,
        "webhook-timestamp": str(time),
        "webhook-signature": " ".join(f"v1,{mac}" for mac in macs),
    }
