"""The tables of the service: jobs and whose they are, keys and sessions, webhooks, counters.

Deletable, all of them: what happened is in the log. Times of leases are milliseconds since 1970 by the database's own
clock, so that workers on several machines agree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
)
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, BigKey, Json, UtcTime, now

JOB_STATES = ("queued", "running", "released", "refused", "held", "failed", "cancelled")
JOB_KINDS = ("generate", "seal")


class Job(Base):
    """One thing to make. ``request`` has no texts: those are sealed under the subject's key, and ``texts`` names them.

    ``attempts`` counts leases; attempt n works under an intent whose id follows from the job's and n (see
    `pipeline.jobs.fence`). ``outcome`` is what a caller is told at the end, ``mime`` the request's, to list by."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN {JOB_STATES!r}", name="state"),
        CheckConstraint(f"kind IN {JOB_KINDS!r}", name="kind"),
        Index("ix_jobs_next", "state", "rank", "place"),
        Index("ix_jobs_tenant_state", "tenant", "state"),
        Index("ix_jobs_tenant_place", "tenant", "place"),
        Index("ix_jobs_tenant_mime_place", "tenant", "mime", "place"),
        Index("ix_jobs_asset_id", "asset_id"),
        Index("ix_jobs_api_key_state", "api_key", "state"),
        Index("ix_jobs_ended_at", "ended_at"),
    )

    place: Mapped[int] = mapped_column(BigKey, primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    tenant: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(ForeignKey("subject_keys.subject", ondelete="SET NULL"))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    rank: Mapped[int] = mapped_column(Integer, default=0)
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    texts: Mapped[dict[str, Any]] = mapped_column(Json)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    run_after: Mapped[int] = mapped_column(BigInteger, default=0)
    lease: Mapped[UUID | None] = mapped_column()
    lease_until: Mapped[int | None] = mapped_column(BigInteger)
    worker: Mapped[str | None] = mapped_column(String(128))
    cancelled: Mapped[bool] = mapped_column(Boolean, default=False)
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json)
    outcome: Mapped[dict[str, Any] | None] = mapped_column(Json)
    asset_id: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    api_key: Mapped[str | None] = mapped_column(String(16))
    mime: Mapped[str | None] = mapped_column(String(64))


class JobOwner(Base):
    """Which tenant a request belongs to, and what was released for it: outlives the job, which is pruned by age.

    Written with each lease, so that no request is ever before people without its tenant. ``asset_id``,
    ``released_at`` and ``media``: of the job's release, on the row of its last attempt."""

    __tablename__ = "job_owners"
    __table_args__ = (
        Index("ix_job_owners_tenant_created_at", "tenant", "created_at"),
        Index("ix_job_owners_tenant_released_at", "tenant", "released_at"),
        Index("ix_job_owners_tenant_media_released_at", "tenant", "media", "released_at"),
    )

    intent: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID] = mapped_column(index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    asset_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    released_at: Mapped[datetime | None] = mapped_column(UtcTime)
    media: Mapped[str | None] = mapped_column(String(16))


class IdempotencyKey(Base):
    """A caller's key for one request: the same key and request give the same job again. ``fingerprint``: sha256 of
    the request, keyed, so that it tells nothing of a prompt."""

    __tablename__ = "idempotency_keys"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    job_id: Mapped[UUID] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now, index=True)


class ApiKey(Base):
    """Who may use the service. ``digest``: sha256 of the secret, which has 256 random bits and is shown once."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(256))
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)
    limits: Mapped[dict[str, Any] | None] = mapped_column(Json)


class WebSession(Base):
    """Somebody who signed in on the pages. ``digest``: sha256 of the cookie's secret. ``key_id``: of the API key that
    was shown, which ends the session when it ends; None: a person by OpenID Connect."""

    __tablename__ = "web_sessions"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key_id: Mapped[str | None] = mapped_column(String(16), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(256), index=True)
    scopes: Mapped[list[str]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    seen_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    expires_at: Mapped[datetime] = mapped_column(UtcTime, index=True)


class Webhook(Base):
    """Where a tenant hears of its jobs. ``secret``: signs what is sent there, and is shown once; ``old_secret``: the
    one before, which signs beside it until ``old_until``."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    url: Mapped[str] = mapped_column(String(2048))
    events: Mapped[list[str]] = mapped_column(Json)
    secret: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    old_until: Mapped[datetime | None] = mapped_column(UtcTime)


DELIVERY_STATES = ("waiting", "delivered", "given_up")


class WebhookDelivery(Base):
    """One message to one webhook, kept until it was taken or given up. ``due``: when it is tried next, in ms by the
    database's clock. ``status``: what the last try was answered with; 0: nothing, and ``reason`` is the code of why."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(f"state IN {DELIVERY_STATES!r}", name="state"),
        Index("ix_webhook_deliveries_due", "state", "due"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(32))
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    due: Mapped[int] = mapped_column(BigInteger, default=0)
    status: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    reason: Mapped[str | None] = mapped_column(String(64))


class ServiceCounter(Base):
    """What workers counted, written with the job that it is about. ``labels``: `name=value` pairs, in order."""

    __tablename__ = "service_counters"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    labels: Mapped[str] = mapped_column(String(256), primary_key=True)
    value: Mapped[float] = mapped_column(Double, default=0.0)
