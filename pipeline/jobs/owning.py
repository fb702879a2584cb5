"""Whose a request is, and whose an asset: the tenant's whose job it came from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from ...provenance.database import session
from ...provenance.service_tables import JobOwner
from ...provenance.tables import Intent
from .rows import reported


class Owners:
    """On the database of the queue."""

    engine: Engine

    def of_asset(self, asset: int, tenant: str) -> UUID | None:
        """The tenant's job that this asset came from; it may be pruned by now, or not know yet that people let go on
        what was held."""
        its = select(JobOwner.job_id).where(JobOwner.tenant == tenant)
        released = (Intent.asset_id == asset) & (Intent.state == "released")
        with self._reading() as opened:
            found = opened.scalar(its.where(JobOwner.asset_id == asset).limit(1))
            return found or opened.scalar(its.join(Intent, Intent.id == JobOwner.intent).where(released).limit(1))

    def owner(self, intent: UUID) -> tuple[str, UUID] | None:
        """Tenant and job of a request; None for one that no job made."""
        with self._reading() as opened:
            row = opened.get(JobOwner, intent)
            return None if row is None else (row.tenant, row.job_id)

    def owners(self, intents: Collection[UUID]) -> dict[UUID, str]:
        """The tenants of requests; of one that no job made there is none."""
        with self._reading() as opened:
            rows = opened.execute(select(JobOwner.intent, JobOwner.tenant).where(JobOwner.intent.in_(intents)))
            return {intent: str(tenant) for intent, tenant in rows}

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with reported(), session(self.engine) as opened:
            yield opened
