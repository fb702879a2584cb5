"""*Assets*: what a tenant released, found again, with its decision record and where it came from."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from ....errors import FiligranaError, ServiceError
from ....provenance.catalog import Catalog
from ....provenance.database import session as database
from ....provenance.identity import AssetId
from ....provenance.preview import cover
from ....provenance.records import AssetRecord
from ..contents import asset_of, content, sent
from ..releases import MEDIA, Wanted, releases
from ..service import Service, moment, plain, service
from ..showing import plain_json, shown
from .rendering import language_of, page, said_in, signed_in

router = APIRouter(include_in_schema=False)
PAGE = 24


@dataclass(frozen=True)
class Asked:
    """What the form says."""

    text: str = ""
    media: str = ""
    since: str = ""
    before: str = ""

    @classmethod
    def of(cls, query: Any) -> Asked:
        media = str(query.get("media", ""))
        return cls(
            str(query.get("q", ""))[:80].strip(), media if media in MEDIA else "",
            str(query.get("since", ""))[:10], str(query.get("before", ""))[:40],
        )  # fmt: skip


@router.get("/assets")
async def index(request: Request) -> Response:
    session = await signed_in(request, "read")
    asked = Asked.of(request.query_params)
    found, more = await asyncio.to_thread(_found, service(request), session.caller.tenant, asked)
    return page(request, "assets.html", session, wanted=asked, assets=found, more=more, media=MEDIA)


def _found(here: Service, tenant: str, asked: Asked) -> tuple[list[dict[str, Any]], str | None]:
    """The youngest first, and where the next page begins."""
    wanted = Wanted(asked.text, asked.media, _date(asked.since), _moment(asked.before))
    with database(here.installation.log.engine) as opened:
        found = releases(opened, tenant, wanted, PAGE + 1)
        catalog = Catalog(opened)
        cards = [_card(catalog, one.asset_id) for one in found[:PAGE]]
    more = found[PAGE - 1].released_at.isoformat() if len(found) > PAGE else None
    return [card for card in cards if card is not None], more


def _card(catalog: Catalog, ident: AssetId) -> dict[str, Any] | None:
    record = catalog.by_asset_id(ident)
    if record is None:
        return None
    return {**_facts(record), "preview": _preview(catalog, ident)}


def _facts(record: AssetRecord) -> dict[str, Any]:
    return {
        "id": str(record.asset_id),
        "media": record.media,
        "mime": record.mime,
        "bytes": record.byte_count,
        "sha256": record.sha256.hex(),
        "size": f"{record.width} × {record.height}" if record.width else "",
        "duration": f"{record.duration:.1f} s" if record.duration else "",
        "source_type": record.source_type.rsplit("/", 1)[-1],
        "log_index": record.log_index,
        "moment": "" if record.created_at is None else record.created_at.isoformat(),
    }


def _preview(catalog: Catalog, ident: AssetId) -> dict[str, Any] | None:
    found = catalog.preview(ident)
    if found is None:
        return None
    src = f"data:{found.mime};base64,{base64.b64encode(cover(found.data, found.height)).decode()}"
    return {"src": src, "width": found.width, "height": found.height}


@router.get("/assets/{asset_id}")
async def one(request: Request, asset_id: str) -> Response:
    session = await signed_in(request, "read")
    here = service(request)
    record, job = await asyncio.to_thread(asset_of, here, asset_id, session.caller.tenant)
    facts, decisions, text = await asyncio.to_thread(_decided, here, record)
    view = await _verified(request, here, record)
    return page(
        request, "asset.html", session,
        asset=facts, job=str(job), decisions=decisions, record=text, view=view, may_audit=session.caller.may("audit"),
    )  # fmt: skip


@router.get("/assets/{asset_id}/file")
async def file(request: Request, asset_id: str) -> Response:
    session = await signed_in(request, "read")
    here = service(request)
    return await asyncio.to_thread(lambda: sent(here, asset_of(here, asset_id, session.caller.tenant)[0]))


def _decided(here: Service, record: AssetRecord) -> tuple[dict[str, Any], list[dict[str, Any]], str | None]:
    """Facts, the decisions one by one, and the signed record as it stands."""
    with database(here.installation.log.engine) as opened:
        catalog = Catalog(opened)
        note = catalog.decision_record(record.asset_id)
        facts = {**_facts(record), "preview": _preview(catalog, record.asset_id)}
    if note is None:
        return facts, [], None
    body = note.partition("\n\n")[0]
    try:
        told = json.loads(body)
    except ValueError:
        return facts, [], plain(note, 60_000)
    return facts, [_decision(each) for each in _decisions(told)], plain_json(told)


def _decisions(told: Any) -> list[dict[str, Any]]:
    """Wherever in the record they stand."""
    if isinstance(told, dict):
        found = told.get("decisions")
        if isinstance(found, list):
            return [each for each in found if isinstance(each, dict)]
        return [each for value in told.values() for each in _decisions(value)]
    return []


def _decision(said: dict[str, Any]) -> dict[str, Any]:
    decision = said.get("decision", said)
    guards = []
    for guard in decision.get("guards", ()):
        scores = guard.get("scores") or {}
        top = max(scores.items(), key=lambda pair: float(pair[1]), default=None)
        guards.append(
            {
                "name": plain(guard.get("guard"), 40),
                "top": "" if top is None else f"{plain(top[0], 20)} {float(top[1]):.3f}",
                "error": plain(guard.get("error") or "", 80),
            }
        )
    rules = [plain(f"{rule.get('id')} {rule.get('code', '')}", 80) for rule in decision.get("rules", ())]
    return {
        "side": plain(decision.get("side"), 20),
        "verdict": plain(decision.get("verdict"), 20),
        "code": plain(decision.get("code") or "", 60),
        "guards": guards,
        "rules": rules,
    }


async def _verified(request: Request, here: Service, record: AssetRecord) -> dict[str, Any] | None:
    """What verification says of the very file; None where it is not here."""
    language = language_of(request)
    try:
        path = (await asyncio.to_thread(content, here, record)).path
        answer = await here.desk.do(
            lambda: here.inspector.inspect(path, at=None, sidecar=None, language=language, thumbnail=False)
        )
    except FiligranaError:
        return None
    return shown({**answer, "file": path.name}, said_in(language), None)


def _date(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC) if text else None
    except ValueError:
        return None


def _moment(text: str) -> dt.datetime | None:
    try:
        return moment(text)
    except ServiceError:
        return None
