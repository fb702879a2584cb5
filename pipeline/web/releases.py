"""A tenant's releases, the youngest first: what the page of assets and `GET /v1/assets` list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import InputError
from ...provenance.identity import AssetId
from ...provenance.service_tables import JobOwner
from ...provenance.tables import Asset

MEDIA = ("image", "video", "audio")
FEW = 500
"""Assets that are looked up one by one."""


@dataclass(frozen=True)
class Listed:
    asset_id: AssetId
    job: UUID
    released_at: datetime


@dataclass(frozen=True)
class Wanted:
    """What is looked for; what is not given does not matter. ``text``: a number, its beginning, or the sha256 of a
    file. ``after``: the last one that was seen."""

    text: str | None = None
    media: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    after: Listed | None = None


def releases(opened: Session, tenant: str, wanted: Wanted, limit: int) -> list[Listed]:
    query = select(JobOwner.asset_id, JobOwner.job_id, JobOwner.released_at).where(JobOwner.tenant == tenant)
    query = query.where(JobOwner.released_at.is_not(None))
    query = query.order_by(JobOwner.released_at.desc(), JobOwner.asset_id.desc())
    if wanted.media:
        query = query.where(JobOwner.media == wanted.media)
    if wanted.since is not None:
        query = query.where(JobOwner.released_at >= wanted.since)
    if wanted.before is not None:
        query = query.where(JobOwner.released_at < wanted.before)
    if (last := wanted.after) is not None:
        older = JobOwner.released_at < last.released_at
        beside = (JobOwner.released_at == last.released_at) & (JobOwner.asset_id < last.asset_id.value)
        query = query.where(JobOwner.released_at <= last.released_at, older | beside)
    if wanted.text:
        condition = _text(wanted.text)
        if condition is None:
            return []
        # Whether one looks up what is meant, or goes through the releases until a page is full, no planner knows.
        meant = opened.scalars(select(Asset.asset_id).where(condition).limit(FEW + 1)).all()
        if not meant:
            return []
        query = query.where(
            JobOwner.asset_id.in_(select(Asset.asset_id).where(condition) if len(meant) > FEW else meant)
        )
    rows = opened.execute(query.limit(limit)).all()
    return [Listed(AssetId(row.asset_id), row.job_id, row.released_at) for row in rows]


def release_of(opened: Session, tenant: str, text: str) -> Listed | None:
    """The tenant's release with this number."""
    try:
        ident = AssetId.parse(text)
    except InputError:
        return None
    query = select(JobOwner).where(JobOwner.asset_id == ident.value, JobOwner.tenant == tenant).limit(1)
    row = opened.scalar(query)
    return None if row is None or row.released_at is None else Listed(ident, row.job_id, row.released_at)


def _text(text: str) -> Any:
    """A condition for what somebody typed; None for what can be nothing of ours."""
    digits = text.lower()
    if len(digits) == 64 and all(c in "0123456789abcdef" for c in digits):
        return Asset.sha256 == bytes.fromhex(digits)
    letters = "".join(c for c in text.upper() if c.isalnum())
    if not 1 <= len(letters) <= 12:
        return None
    try:
        # A beginning of a number stands for all numbers that begin so.
        low, high = (AssetId.parse(letters.ljust(12, end)).value for end in ("0", "Z"))
    except InputError:
        return None
    return Asset.asset_id.between(low, high)
