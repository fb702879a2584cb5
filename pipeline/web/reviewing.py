"""The desk behind the service: which cases a tenant's reviewers see, and what they decide.

A reviewer sees the requests of the key's tenant alone; what was asked for at the command line belongs to the tenant
`default`. Deciding is written down here; a worker goes on with what was approved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from ...errors import InputError, ServiceError
from ...provenance.vault import DEFAULT_TENANT
from ..access import Caller
from ..review import Desk
from ..review_case import Case, ReviewError, spelled
from ..review_showing import row, shown
from ..reviewing import kept_file, sweep_quietly
from ..terms import liftable
from ..waiting import stamping_parts
from .records_routes import opened_log
from .service import Service

MOST, SEEN = 200, 2000
"""How many cases a list shows, of so many of the tenant's that are looked at."""


def desk(here: Service) -> Desk:
    """After what nobody decided in time was refused. Raises ServiceError where nothing was ever made."""
    house = here.installation
    if opened_log(house) is None:
        raise _none()
    sweep_quietly(stamping_parts(house))
    return Desk(house.ledger, house.pack)


def cases(here: Service, caller: Caller, status: str | None, *, appeals: bool, mine: bool) -> list[dict[str, Any]]:
    """The tenant's, the most urgent first."""
    whose = caller.subject if mine else None
    found = desk(here).cases(status=status, mine=whose, appeals=appeals, limit=SEEN, tenant=caller.tenant)
    return [row(case) for case in found[:MOST]]


def case(here: Service, caller: Caller, text: str) -> dict[str, Any]:
    """All that a reviewer needs, with whether a file was kept. Raises ServiceError (404) for another tenant's."""
    at = desk(here)
    found = _found(here, at, caller, text)
    extra = {"has_file": _has_file(at, found), "mime": _mime(here, found), "own": _own(found, caller),
             "liftable": liftable(found.entry)}  # fmt: skip
    return shown(at, found) | extra


def file(here: Service, caller: Caller, text: str) -> tuple[Path, str]:
    """The held file and its type, after it was held against the log."""
    at = desk(here)
    found = _found(here, at, caller, text)
    if not _has_file(at, found):
        raise ServiceError("no file of this request is kept here", status=404, code="review.no_file")
    return kept_file(stamping_parts(here.installation), found), _mime(here, found)


def decide(
    here: Service, caller: Caller, text: str, decision: Literal["approve", "reject"], reason: str
) -> dict[str, Any]:
    """One person's decision. Whoever approves approves of a file that is still what it was."""
    at = desk(here)
    found = _found(here, at, caller, text)
    if _own(found, caller):
        raise ReviewError("whoever asked for this work does not decide on it", code="review.own")
    if decision == "approve":
        if _has_file(at, found):
            kept_file(stamping_parts(here.installation), found)
        return row(at.approve(found.intent, caller.subject, reason))
    return row(at.reject(found.intent, caller.subject, reason))


def assign(here: Service, caller: Caller, text: str, to: str) -> dict[str, Any]:
    at = desk(here)
    return row(at.assign(_found(here, at, caller, text).intent, to, caller.subject))


def _found(here: Service, at: Desk, caller: Caller, text: str) -> Case:
    try:
        intent = UUID(text)
    except ValueError:
        raise _none() from None
    if not _belongs(here, intent, caller):
        raise _none()
    try:
        return at.case(intent)
    except InputError:
        raise _none() from None


def _belongs(here: Service, intent: UUID, caller: Caller) -> bool:
    owner = here.installation.jobs.owner(intent)
    return caller.tenant == (DEFAULT_TENANT if owner is None else owner[0])


def _has_file(at: Desk, found: Case) -> bool:
    return found.kept is not None and found.here and at.needs_files(found.intent)


def _mime(here: Service, found: Case) -> str:
    request = here.installation.ledger.row(found.intent)
    return str((request.request if request is not None else {}).get("mime") or "application/octet-stream")


def _own(found: Case, caller: Caller) -> bool:
    """Whether it was asked for with this person's key, also for a user of theirs."""
    return found.subject is not None and spelled(found.subject.split("/")[0]) == spelled(caller.subject)


def _none() -> ServiceError:
    return ServiceError("there is no such review", status=404, param="request_id", code="service.not_found")
