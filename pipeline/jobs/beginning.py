"""Whether an attempt may begin: asked in the transaction that opens its intent, which is what an attempt begins with.

`fence` closes what was begun. An attempt that was not, since its worker stood still before it opened anything, could
begin at any later time: so its job is asked first, under a lock for which whoever leases the job next has to wait.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import KeyStoreError
from ...provenance.service_tables import Job, JobOwner
from ...provenance.vault import Vault
from .fence import intent_of
from .rows import lost


def may_begin(opened: Session, intent: UUID, subject: str) -> None:
    """Raises JobError (``jobs.lost``) where another attempt has the job, or none any more, KeyStoreError
    (``provenance.erased``) where whoever asked for it was erased: neither name nor texts are collected again."""
    owner = opened.get(JobOwner, intent)
    if owner is None:
        return  # no job's
    known = Vault(opened).keeps(subject)
    job = opened.scalar(select(Job).where(Job.id == owner.job_id).with_for_update(read=True))
    if job is None or job.state != "running" or intent_of(job.id, job.attempts) != intent:
        raise lost()
    if not known or job.subject is None:
        raise KeyStoreError("the subject of this job was erased", code="provenance.erased", hint="")
