"""The tables of the service: jobs, idempotency keys, and the keys of those who may use it.

Deletable, all of them: what happened is in the log. Times of leases are milliseconds since 1970 by the database's own
clock, so that workers on several machines agree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, BigKey, Json, UtcTime, now

JOB_STATES = ("queued", "running", "released", "refused", "held", "failed", "cancelled")
JOB_KINDS = ("generate", "seal")


class Job(Base):
    """One thing to make. ``request`` has no texts: those are sealed under the subject's key, and ``texts`` names them.

    ``attempts`` counts leases; attempt n works under an intent whose id follows from the job's and n (see
    `pipeline.jobs.fence`). ``outcome`` is what a caller is told at the end."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN {JOB_STATES!r}", name="state"),
        CheckConstraint(f"kind IN {JOB_KINDS!r}", name="kind"),
        Index("ix_jobs_next", "state", "rank", "place"),
        Index("ix_jobs_tenant_state", "tenant", "state"),
        Index("ix_jobs_tenant_place", "tenant", "place"),
        Index("ix_jobs_asset_id", "asset_id"),
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
