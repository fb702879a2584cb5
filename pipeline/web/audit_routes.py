"""`/v1/audit`: the log for auditors: signed heads, entries, and proofs that anybody can check without this service.

A key sees its own tenant's entries, and all of them with the scope `audit-all`: see :mod:`.audit_seeing`."""

from __future__ import annotations

import base64
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import select

from ...errors import InputError, LogError, ServiceError
from ...provenance.by_request import search
from ...provenance.database import session
from ...provenance.log.merkle import leaf_hash
from ...provenance.log.search import Query as Wanted
from ...provenance.log.search import parse_time
from ...provenance.log.sequencer import AuditLog
from ...provenance.tables import LogCheckpoint
from .audit_seeing import seen, sees
from .callers import Auditor
from .records_routes import opened_log
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/audit", tags=["audit"])
SPAN = 20_000
"""Entries that one request looks through at most; the answer says where to go on."""
HEAD: dict[str, Any] = {
    "object": "audit.head",
    "size": 120,
    "root": "3q2+7wAAAA…",
    "checkpoint": "filigrana.org/log/1a2b\n120\n3q2+7w…\n\n— filigrana.org/log/1a2b …\n",
    "keys": ["filigrana.org/log/1a2b+3c4d5e6f+…"],
}
ENTRY: dict[str, Any] = {"index": 7, "entry": {"type": "release", "time": "2026-11-24T12:00:00Z"}}
_ONE_ENTRY = {**ENTRY, "leaf": "eyJ…", "leaf_hash": "3q2+7wAAAA…", "withheld": False}
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 404, 429, 500, 503), ERROR)
Index = Annotated[int, Query(ge=0, le=1 << 62)]


def _example(description: str, example: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {"application/json": {"example": example}}}, **_ERRORS}


@router.get(
    "/head", summary="The signed head", operation_id="getAuditHead", responses=_example("the newest checkpoint", HEAD)
)
def head(request: Request, _caller: Auditor) -> dict[str, Any]:
    """A checkpoint over all entries, signed now if there are new ones. Scope: `audit`."""
    log = _log(request)
    if log.size() == 0:
        raise _none("the log is empty")
    note = log.checkpoint()
    return {"object": "audit.head", **_of_note(note), "checkpoint": note, "keys": [str(key) for key in log.keys]}


@router.get(
    "/heads",
    summary="Heads that were signed",
    operation_id="listAuditHeads",
    responses=_example("the newest first", {"object": "list", "data": [HEAD], "has_more": False}),
)
def heads(
    request: Request,
    _caller: Auditor,
    before: Annotated[int | None, Query(ge=0, le=1 << 62, description="smaller than this")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Each is a signed note: keep them elsewhere, and a history that is rewritten is seen. Scope: `audit`."""
    query = select(LogCheckpoint).order_by(LogCheckpoint.size.desc(), LogCheckpoint.verifier_key).limit(limit + 1)
    if before is not None:
        query = query.where(LogCheckpoint.size < before)
    with session(_log(request).engine) as opened:
        rows = [
            {
                "object": "audit.head",
                **_of_note(row.note),
                "checkpoint": row.note,
                "created_at": row.created_at.isoformat(),
            }
            for row in opened.scalars(query)
        ]
    return {"object": "list", "data": rows[:limit], "has_more": len(rows) > limit}


@router.get(
    "/entries",
    summary="Entries",
    operation_id="listAuditEntries",
    responses=_example("in order", {"object": "list", "data": [ENTRY], "size": 120, "next": 8}),
)
def entries(
    request: Request,
    caller: Auditor,
    start: Annotated[int, Query(ge=0, le=1 << 62, description="the first index that is looked at")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    type: Annotated[str | None, Query(max_length=64)] = None,  # noqa: A002  the field's own name
    intent: Annotated[str | None, Query(max_length=64, description="a request's id")] = None,
    asset: Annotated[str | None, Query(max_length=32, description="an asset's number")] = None,
    verdict: Annotated[str | None, Query(max_length=16)] = None,
    code: Annotated[str | None, Query(max_length=64)] = None,
    policy: Annotated[str | None, Query(max_length=80)] = None,
    model: Annotated[str | None, Query(max_length=128)] = None,
    since: Annotated[str | None, Query(max_length=40, description="RFC 3339")] = None,
    until: Annotated[str | None, Query(max_length=40, description="RFC 3339")] = None,
) -> dict[str, Any]:
    """Those of the key's tenant (all with `audit-all`) that say all of what is asked. `next`: where to go on; null at
    the log's end. Scope: `audit`."""
    log, jobs = _log(request), service(request).installation.jobs
    try:
        wanted = Wanted(
            type, intent, asset, verdict, code, policy, model, None,
            None if since is None else parse_time(since), None if until is None else parse_time(until),
        )  # fmt: skip
    except InputError as error:
        raise ServiceError(error.message, param="since", code=error.code) from None
    size = log.size()
    stop = size if intent is not None else min(size, start + SPAN)
    found = list(islice(seen(jobs, caller, search(log, wanted, start, stop)), limit)) if start < stop else []
    more = found[-1][0] + 1 if len(found) == limit else stop
    data = [{"index": index, "entry": entry} for index, entry in found]
    return {"object": "list", "data": data, "size": size, "next": more if more < size else None}


@router.get(
    "/entries/{index}", summary="One entry", operation_id="getAuditEntry", responses=_example("the entry", _ONE_ENTRY)
)
def entry(request: Request, index: int, caller: Auditor) -> dict[str, Any]:
    """The entry as it stands, with its leaf. Of another tenant's nothing but the leaf's hash, and `withheld`: true.
    Scope: `audit`."""
    log = _log(request)
    _there(log, index)
    found, leaf = log.entry(index), log.leaf(index)
    hidden = not sees(service(request).installation.jobs, caller, found)
    return {
        "index": index,
        "entry": None if hidden else found,
        "leaf": None if hidden else base64.b64encode(leaf).decode(),
        "leaf_hash": base64.b64encode(leaf_hash(leaf)).decode(),
        "withheld": hidden,
    }


@router.get(
    "/entries/{index}/proof",
    summary="That an entry is in the log",
    operation_id="getAuditProof",
    responses=_example(
        "the proof",
        {
            "index": 7,
            "proof": "c2sp.org/tlog-proof@v1\n…",
            "leaf_hash": "3q2+7wAAAA…",
            "withheld": False,
            "keys": HEAD["keys"],
        },
    ),
)
def proof(request: Request, index: int, caller: Auditor) -> dict[str, Any]:
    """A C2SP tlog-proof with the entry in it: it verifies offline, with the log's key alone. Of another tenant's entry
    without it, so that it verifies with `leaf_hash`. Scope: `audit`."""
    log = _log(request)
    _there(log, index)
    shown = sees(service(request).installation.jobs, caller, log.entry(index))
    return {
        "index": index,
        "proof": log.prove(index, embed_entry=shown),
        "leaf_hash": base64.b64encode(leaf_hash(log.leaf(index))).decode(),
        "withheld": not shown,
        "keys": [str(key) for key in log.keys],
    }


@router.get(
    "/consistency",
    summary="That a log only grew",
    operation_id="getAuditConsistency",
    responses=_example("the proof", {"old": 100, "new": 120, "proof": ["3q2+7wAAAA…"]}),
)
def consistency(request: Request, _caller: Auditor, old: Index, new: Index) -> dict[str, Any]:
    """The hashes (RFC 6962, 2.1.2) that show that the tree of `new` entries adds to that of `old`. Scope: `audit`."""
    log = _log(request)
    try:
        hashes = log.consistency(old, new)
    except LogError as error:
        if error.code != "log.index":
            raise
        raise ServiceError(error.message, param="new", code="log.index") from None
    return {"old": old, "new": new, "proof": [base64.b64encode(each).decode() for each in hashes]}


def _log(request: Request) -> AuditLog:
    log = opened_log(service(request).installation)
    if log is None:
        raise _none("there is no log yet")
    return log


def _there(log: AuditLog, index: int) -> None:
    if not 0 <= index < log.size():
        raise _none("there is no such entry")


def _of_note(note: str) -> dict[str, Any]:
    lines = note.split("\n")
    return {"size": int(lines[1]), "root": lines[2]}


def _none(message: str) -> ServiceError:
    return ServiceError(message, status=404, code="service.not_found")
