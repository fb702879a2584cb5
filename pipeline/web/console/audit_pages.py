"""*Audit*: the log entry by entry, each with its way to the signed root, which the reader's own browser computes."""

from __future__ import annotations

import asyncio
import base64
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request, Response

from ....errors import FiligranaError, InputError, ServiceError
from ....provenance.by_request import search
from ....provenance.identity import AssetId
from ....provenance.log.merkle import leaf_hash
from ....provenance.log.note import Checkpoint
from ....provenance.log.proof import LogProof
from ....provenance.log.search import Query
from ....provenance.log.sequencer import AuditLog
from ...access import Caller
from ...released import released_asset
from ..audit_seeing import seen, sees
from ..records_routes import opened_log
from ..service import plain, service
from ..showing import plain_json
from .proof_drawing import draw
from .rendering import LANGUAGES, form_of, moved, page, signed_in

router = APIRouter(include_in_schema=False)
PAGE = 50
SPAN = 20_000
TYPES = ("intent", "decision", "result", "release", "refused", "held", "review.approved", "review.rejected",
         "appeal.filed", "access", "webhook", "erase", "expire")  # fmt: skip


@router.get("/audit")
async def index(request: Request) -> Response:
    session = await signed_in(request, "audit")
    view = await asyncio.to_thread(_listed, request, session.caller, dict(request.query_params))
    return page(request, "audit.html", session, **view, types=TYPES, report=None)


@router.get("/audit/verify")
async def verified(request: Request) -> Response:
    """The address of a form's answer, opened again, in another language, say: the page with the form."""
    await signed_in(request, "audit")
    lang = request.query_params.get("lang")
    return moved("/audit" + (f"?lang={lang}" if lang in LANGUAGES else ""))


@router.post("/audit/verify")
async def verify(request: Request) -> Response:
    """Computes the whole log again, as `audit verify` does."""
    session = await signed_in(request, "audit")
    await form_of(request, session)
    log = _log(request)
    report = await service(request).desk.do(log.verify)
    view = await asyncio.to_thread(_listed, request, session.caller, {})
    told = {"ok": report.ok, "entries": report.entries, "root": report.root}
    return page(request, "audit.html", session, **view, types=TYPES, report=told)


def _listed(request: Request, caller: Caller, asked: dict[str, str]) -> dict[str, Any]:
    """The youngest first; or, of a search, those that match before ``before``. Of the key's tenant, or all."""
    log, jobs = _log(request), service(request).installation.jobs
    size = log.size()
    before = min(size, _number(asked.get("before"), size))
    wanted, problem = {name: asked.get(name, "").strip()[:80] for name in ("type", "code", "about")}, None
    try:
        query = Query(type=wanted["type"] or None, code=wanted["code"] or None, intent=_about(log, wanted["about"]))
    except InputError:
        query, problem = Query(intent="?"), "about"
    searching = any(wanted.values())
    start = 0 if query.intent is not None else max(0, before - (SPAN if searching else PAGE))
    if searching:
        found = list(islice(seen(jobs, caller, search(log, query, start, before)), 2000))[-PAGE:]
    else:
        found = list(seen(jobs, caller, log.entries(start, before)))
    rows = [_row(number, entry) for number, entry in reversed(found)]
    first = found[0][0] if len(found) == PAGE else start
    head = _head(log) if size else None
    return {
        "entries": rows, "size": size, "head": head, "wanted": wanted, "problem": problem,
        "older": first if first > 0 else None, "searching": searching,
    }  # fmt: skip


def _head(log: AuditLog) -> dict[str, Any]:
    """The signed note, line by line as it was signed."""
    return {"lines": log.checkpoint().rstrip("\n").split("\n")}


def _about(log: AuditLog, text: str) -> str | None:
    """A request's id from itself or from the asset that it released."""
    if not text:
        return None
    if len(text) == 36:
        return text.lower()
    return str(released_asset(log, AssetId.parse(text)).intent)


def _row(number: int, entry: dict[str, Any]) -> dict[str, Any]:
    decision = entry.get("decision") if isinstance(entry.get("decision"), dict) else {}
    words = [entry.get(key) for key in ("kind", "asset_id", "act", "code", "mime")]
    words += [(decision or {}).get(key) for key in ("side", "verdict", "code")]
    return {
        "index": number,
        "type": plain(entry.get("type"), 40),
        "time": str(entry.get("time") or ""),
        "intent": plain(str(entry.get("intent") or ""), 36),
        "words": plain(" · ".join(str(word) for word in words if word), 160),
    }


@router.get("/audit/{index}")
async def one(request: Request, index: str) -> Response:
    session = await signed_in(request, "audit")
    view = await asyncio.to_thread(_proven, request, session.caller, _number(index, -1))
    return page(request, "audit_entry.html", session, **view)


def _proven(request: Request, caller: Caller, index: int) -> dict[str, Any]:
    log = _log(request)
    size = log.size()
    if not 0 <= index < size:
        raise ServiceError("there is no such entry", status=404, code="service.not_found")
    entry, leaf = log.entry(index), log.leaf(index)
    if not sees(service(request).installation.jobs, caller, entry):
        raise ServiceError("this entry belongs to another tenant", status=403, code="access.tenant")
    said: dict[str, Any] = {
        "index": index, "size": size, "row": _row(index, entry), "json": plain_json(entry), "proof": None,
        "leaf": base64.b64encode(leaf).decode(),
    }  # fmt: skip
    try:
        proof = LogProof.parse(log.prove(index, embed_entry=True))
        under = Checkpoint.open(proof.checkpoint, log.keys)
    except FiligranaError as error:
        return {**said, "trouble": error.code}
    drawing = draw(leaf_hash(leaf), index, under.size, proof.hashes, under.root)
    return {
        **said,
        "trouble": None,
        "proof": {
            "drawing": drawing,
            "hashes": " ".join(base64.b64encode(each).decode() for each in proof.hashes),
            "size": under.size,
            "root": base64.b64encode(under.root).decode(),
            "checkpoint": proof.checkpoint,
            "file": base64.b64encode(str(proof).encode()).decode(),
        },
    }


def _log(request: Request) -> AuditLog:
    log = opened_log(service(request).installation)
    if log is None:
        raise ServiceError("there is no log yet", status=404, code="service.not_found")
    return log


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else default
