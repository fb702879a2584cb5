"""Appeals over HTTP: whoever was refused reads why, and asks people to look again. The rules are those of `appeals`.

A key appeals against what was asked for with a key of its own subject, also for a user of theirs; a tenant's other
requests can be read about, and those of other tenants are not there.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ...errors import InputError, ServiceError
from ...provenance.log.canonical import time_text
from ...provenance.vault import DEFAULT_TENANT
from ..access import Caller
from ..appeals import appeal, entries_of
from ..jobs.model import Job
from ..reasons import statement
from ..review import Desk
from ..review_case import Case, ReviewError
from .awaiting import theirs
from .reviewing import desk
from .service import Service


def told(here: Service, caller: Caller, text: str) -> dict[str, Any]:
    """Why a request was refused or held, and how an appeal against it stands. Raises ServiceError (404) for one that
    is not the tenant's, or was neither."""
    at, (intent, _) = desk(here), _owned(here, caller, text)
    try:
        said = statement(at, intent)
    except InputError:
        raise _none() from None
    return {"object": "appeal", "request": str(intent), "reasons": said, "appeal": _standing(at, intent)}


def file_one(here: Service, caller: Caller, text: str, reason: str) -> dict[str, Any]:
    """Puts it before people who did not decide on it. Raises ReviewError, as the command line does."""
    at, (intent, job) = desk(here), _owned(here, caller, text)
    subject = None if job is None else job.subject
    if job is None or subject is None or not theirs(job, caller.subject):
        raise ReviewError("an appeal is for whoever asked", code="review.appeal.who")
    try:
        case = appeal(at, intent, subject, reason)
    except InputError as error:
        if error.code == "input.review_unknown":
            raise _none() from None
        raise
    return {"object": "appeal", "request": str(intent), "reasons": statement(at, intent), "appeal": _row(case)}


def _standing(at: Desk, intent: UUID) -> dict[str, Any] | None:
    if not any(entry["type"] == "appeal.filed" for _, entry in entries_of(at, intent)):
        return None
    return _row(at.case(intent))


def _row(case: Case) -> dict[str, Any]:
    """What whoever appealed may know: neither who looks at it nor how many have."""
    return {
        "status": {"approved": "overturned", "rejected": "upheld", "expired": "upheld"}.get(case.status, case.status),
        "against": case.entry["code"],
        "deadline": time_text(case.deadline),
        "state": case.state,
        "log": {"index": case.log_index},
    }


def _owned(here: Service, caller: Caller, text: str) -> tuple[UUID, Job | None]:
    """A request of the tenant's, and the job that made it."""
    try:
        intent = UUID(text)
    except ValueError:
        raise _none() from None
    jobs = here.installation.jobs
    owner = jobs.owner(intent)
    if caller.tenant != (DEFAULT_TENANT if owner is None else owner[0]):
        raise _none()
    return intent, None if owner is None else jobs.get(owner[1])


def _none() -> ServiceError:
    return ServiceError("there is no such request", status=404, param="request_id", code="service.not_found")
