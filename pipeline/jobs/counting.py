"""Counters in the database: what workers on any machine did, counted with the job itself, so that none is lost or
counted twice."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ...provenance.database import session
from ...provenance.service_tables import ServiceCounter
from ..request import Outcome, Release
from .model import Lease

Counts = Mapping[tuple[str, str], float]
"""(name, labels) -> by how much; labels are `name=value`, with commas between."""


def counts_of(lease: Lease, outcome: Outcome) -> dict[tuple[str, str], float]:
    """What is counted of one outcome: verdicts, seconds and joules."""
    kind = lease.job.kind
    found: dict[tuple[str, str], float] = {}
    if isinstance(outcome, Release):
        found["joules", f"kind={kind}"] = outcome.energy.joules or 0.0
        worst = max((d for d in (outcome.prompt_decision, outcome.decision) if d), key=lambda d: d.verdict)
        found["verdicts", f"verdict={worst.verdict.word},code="] = 1.0
    else:
        found["verdicts", f"verdict={outcome.decision.verdict.word},code={outcome.code}"] = 1.0
    for stage, seconds in outcome.stages.items():
        found["stage_seconds", f"stage={stage}"] = seconds
        found["stage_count", f"stage={stage}"] = 1.0
    return found


def add(opened: Session, counts: Counts) -> None:
    """In one order everywhere, so that two workers never wait for each other in a ring."""
    if not counts:
        return
    insert = postgresql.insert if opened.get_bind().dialect.name == "postgresql" else sqlite.insert
    for (name, labels), value in sorted(counts.items()):
        row = insert(ServiceCounter).values(name=name[:64], labels=labels[:256], value=value)
        more = {"value": ServiceCounter.value + row.excluded.value}
        opened.execute(row.on_conflict_do_update(index_elements=["name", "labels"], set_=more))


def read(engine: Engine) -> dict[tuple[str, str], float]:
    with session(engine) as opened:
        return {(row.name, row.labels): row.value for row in opened.scalars(select(ServiceCounter))}
