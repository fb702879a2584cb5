"""Jobs that were held or refused, and what people, a deadline or a time-stamp made of them since.

Whoever looks at such a job sees how it stands now. But its message, its place in the list of assets and the counts must
not wait for somebody to look: a worker writes the end down as soon as the outbox has it.
"""

from __future__ import annotations

from sqlalchemy import select

from ...provenance.database import session
from ...provenance.service_tables import Job, JobOwner
from ...provenance.tables import Intent, Review
from ..installation import Installation
from .fence import standing
from .rows import reported

AT_ONCE = 200


def follow(house: Installation) -> int:
    """How many jobs went on. Each is written down once, whoever else does the same at this moment."""
    owned = select(Job.id).join(JobOwner, JobOwner.job_id == Job.id).join(Intent, Intent.id == JobOwner.intent)
    decided = owned.where(Job.state == "held", Intent.state.in_(("released", "refused", "failed")))
    overturned = (
        owned.join(Review, Review.intent_id == Intent.id)
        .where(Job.state == "refused", Review.kind == "appeal", Intent.state == "released")
    )  # fmt: skip
    count = 0
    with reported():
        with session(house.jobs.engine) as opened:
            found = list(dict.fromkeys([*opened.scalars(decided), *opened.scalars(overturned)]))
        # All of them: a job whose first try failed, and whose second is before people, is found each time and stays,
        # and must not take the place of one that can go on.
        for start in range(0, len(found), AT_ONCE):
            for job in house.jobs.some(found[start : start + AT_ONCE]):
                went_on = standing(house.ledger, job)
                if went_on is not None:
                    house.jobs.went_on(job, *went_on)
                    count += 1
    return count
