"""*Create*: a prompt, then the work as it happens, and what came of it with its reasons."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from ....errors import JobError, ServiceError
from ...access import Caller
from ...jobs.fence import intent_of
from ...jobs.model import Job
from .. import appealing, awaiting
from ..asking import MIMES, Here, ImagesAsked, VideoAsked, parsed
from ..contents import of_job, sent
from ..events import EventStream, changes
from ..service import Service, plain, service
from ..showing import plain_json
from ..videos_routes import percent
from .rendering import form_of, moved, page, session_of, signed_in
from .sessions import Session
from .status_pages import unattended

router = APIRouter(include_in_schema=False)
STAGES = ("judge prompt", "generate", "judge output", "encode", "sign", "publish")
SEALING = ("judge output", "encode", "sign", "publish")
_FIELDS = ("seed", "steps", "best_of", "negative_prompt", "accept_rewrite", "visible_label")
RECENT = 12


@router.get("/create")
async def show(request: Request) -> Response:
    session = await signed_in(request, "generate")
    again = request.query_params.get("again")
    given = await asyncio.to_thread(_again, service(request), session.caller, again) if again else {}
    return await _form(request, session, given, None)


def _again(here: Service, caller: Caller, text: str) -> dict[str, str]:
    """What was asked for, to be changed and asked again: by whoever asked alone."""
    try:
        job = here.installation.jobs.get(awaiting.job_id(text), caller.tenant)
    except JobError:
        return {}
    prompt = _own_prompt(here, job, caller)
    if prompt is None:
        return {}
    return {"prompt": prompt, "media": _media_kind(job), **({"sound": "1"} if job.request.get("sound") else {})}


def _own_prompt(here: Service, job: Job, caller: Caller) -> str | None:
    return here.installation.jobs.text(job, "prompt") if job.subject == caller.subject else None


def _media_kind(job: Job) -> str:
    return "video" if str(job.request.get("mime", "")).startswith("video/") else "image"


async def _form(request: Request, session: Session, given: dict[str, str], error: ServiceError | None) -> Response:
    here = service(request)
    recent = await asyncio.to_thread(_recent, here, session.caller)
    said = {"prompt": "", "media": "image", **given}
    return page(
        request, "create.html", session, 400 if error else 200,
        given=said, error=error, model=here.installation.settings.model, recent=recent,
        labelled=here.installation.labels.wanted is not None, once=secrets.token_urlsafe(16),
    )  # fmt: skip


@router.post("/create")
async def order(request: Request) -> Response:
    """The form becomes a job; its own page shows what becomes of it."""
    session = await signed_in(request, "generate")
    fields = await form_of(request, session)
    here = service(request)
    try:
        job = await asyncio.to_thread(_put, here, session, fields)
    except ServiceError as error:
        if error.status not in (400, 403, 429):
            raise
        return await _form(request, session, fields, error)
    return moved(f"/work/{job.id}")


def _put(here: Service, session: Session, fields: dict[str, str]) -> Job:
    settled, key = Here.of(here.installation), _once(fields)
    body: dict[str, Any] = {"prompt": fields.get("prompt", "").replace("\r\n", "\n")}
    body |= {name: fields[name] for name in _FIELDS if fields.get(name)}
    if fields.get("media") == "video":
        video: VideoAsked = parsed(VideoAsked, {**body, "sound": "sound" in fields}, strict=False)
        wanted = video.one(session.caller, settled, key)
    else:
        picture: ImagesAsked = parsed(ImagesAsked, body, strict=False)
        wanted = picture.order(session.caller, settled, key, {"mime": MIMES["png"]})
    return here.installation.jobs.put(wanted)[0]


def _once(fields: dict[str, str]) -> str | None:
    """An idempotency key of the form as it was shown and filled in: a second click is no second job, and what was
    changed before it is sent again is one."""
    if not fields.get("once"):
        return None
    filled = sorted((name, value) for name, value in fields.items() if name != "csrf")
    return hashlib.sha256(json.dumps(filled).encode()).hexdigest()


@router.get("/work/{job_id}")
async def work(request: Request, job_id: str) -> Response:
    """A job as it stands; a script follows it to its end."""
    session = await signed_in(request, "generate", "read")
    here = service(request)
    job = await asyncio.to_thread(awaiting.found, here, job_id, session.caller.tenant)
    view = await asyncio.to_thread(_view, here, job, session.caller)
    view |= await asyncio.to_thread(_appeal, here, job, session.caller)
    view["stuck"] = job.state == "queued" and await asyncio.to_thread(unattended, here) is not None
    return page(request, "work.html", session, job=view, may_create=session.caller.may("generate"))


@router.get("/work/{job_id}/events")
async def events(request: Request, job_id: str) -> Response:
    """As `/v1/jobs/{job_id}/events`, for whoever is signed in."""
    session = await signed_in(request, "generate", "read")
    here = service(request)
    queue, ident = here.installation.jobs, awaiting.job_id(job_id)
    await asyncio.to_thread(queue.get, ident, session.caller.tenant)
    here.streams.open(session.caller.key)
    told = changes(
        lambda: queue.get(ident, session.caller.tenant), _told, here, lambda: session_of(request) is not None
    )
    return EventStream(told, here.streams, session.caller.key)


def _told(job: Job) -> dict[str, Any]:
    progress = job.progress or {}
    return {"state": job.state, "stage": progress.get("stage"), "percent": percent(job), "ended": job.ended,
            "preview": progress.get("preview")}


@router.get("/work/{job_id}/content")
async def content(request: Request, job_id: str) -> Response:
    session = await signed_in(request, "generate", "read")
    here = service(request)

    def file() -> Response:
        return sent(here, of_job(here, awaiting.found(here, job_id, session.caller.tenant)))

    return await asyncio.to_thread(file)


@router.post("/work/{job_id}/cancel")
async def cancel(request: Request, job_id: str) -> Response:
    session = await signed_in(request, "generate")
    await form_of(request, session)
    here = service(request)
    job = await asyncio.to_thread(here.installation.jobs.cancel, awaiting.job_id(job_id), session.caller.tenant)
    return RedirectResponse(f"/work/{job.id}", 303)


@router.post("/work/{job_id}/appeal")
async def appeal(request: Request, job_id: str) -> Response:
    """As `POST /v1/appeals/{request_id}`, for whoever is signed in."""
    session = await signed_in(request, "generate")
    fields = await form_of(request, session)
    here = service(request)

    def file() -> Job:
        job = awaiting.found(here, job_id, session.caller.tenant)
        appealing.file_one(here, session.caller, str(intent_of(job.id, job.attempts)), fields.get("reason", ""))
        return job

    return moved(f"/work/{(await asyncio.to_thread(file)).id}")


def _appeal(here: Service, job: Job, caller: Caller) -> dict[str, Any]:
    """Whether this person may appeal against what became of the job, or how the appeal stands."""
    told: dict[str, Any] = {}
    if awaiting.theirs(job, caller.subject) and job.state in ("refused", "held"):
        with suppress(ServiceError):  # nothing was ever asked of the engine
            told = appealing.told(here, caller, str(intent_of(job.id, job.attempts)))
    stands = told.get("appeal") or {}
    may = caller.may("generate") and not stands and told.get("reasons", {}).get("appeal", {}).get("open") is True
    return {"may_appeal": may and job.state == "refused", "appealed": stands.get("status")}


def _recent(here: Service, caller: Caller) -> list[dict[str, Any]]:
    """The tenant's last jobs; of one's own with the prompt, by which people tell them apart."""
    return [
        {"id": str(job.id), "kind": job.kind, "state": job.state, "created_at": job.created_at.isoformat(),
         "prompt": _own_prompt(here, job, caller) if job.kind == "generate" else None}
        for job in here.installation.jobs.list(caller.tenant, None, RECENT)
    ]  # fmt: skip


def _view(here: Service, job: Job, caller: Caller) -> dict[str, Any]:
    """The prompt, and words made of it, are shown to whoever wrote it alone."""
    told = awaiting.shown(here, job, caller)
    outcome = told["outcome"] or {}
    message, code = awaiting.reason(job)
    stage = (job.progress or {}).get("stage")
    stages = STAGES if job.kind == "generate" else SEALING
    reached = stages.index(stage) if stage in stages else -1
    done = job.state == "released"
    seconds = outcome.get("stages") or {}
    return {
        "id": str(job.id),
        "kind": job.kind,
        "state": job.state,
        "ended": job.ended,
        "percent": percent(job),
        "stages": [
            {
                "name": name,
                "state": "done" if done or number < reached else "now" if number == reached else "next",
                "seconds": f"{float(seconds[name]):.2f} s" if name in seconds else "",
            }
            for number, name in enumerate(stages)
        ],
        "asset": outcome.get("asset_id"),
        "media": outcome.get("media"),
        "verdict": outcome.get("verdict"),
        "code": code if job.ended and not done else None,
        "reasons": [plain(each, 600) for each in outcome.get("reasons") or ()] or [plain(message)],
        "policy": outcome.get("policy"),
        "energy": outcome.get("energy"),
        "rewrite": awaiting.rewrite(here, job, caller),
        "prompt": _own_prompt(here, job, caller),
        "candidates": _candidates(outcome.get("details") or {}),
        "request": outcome.get("request"),
        "labelled": job.request.get("labelled") is True,
        "attempts": job.attempts,
        "media_kind": _media_kind(job),
        "json": plain_json(outcome),
        "created_at": job.created_at.isoformat(),
    }


def _candidates(details: dict[str, Any]) -> list[dict[str, Any]]:
    """Of best-of-N: each sample's seed and how well it agreed with the prompt, the one that was kept first."""
    found = [each for each in details.get("candidates") or () if isinstance(each, dict)]
    scored = [(float(each.get("agreement", each.get("score", 0)) or 0), each) for each in found]
    best = max((score for score, _ in scored), default=0.0)
    return [
        {"seed": str(each.get("seed", "")), "score": f"{score:.3f}", "kept": score == best}
        for score, each in sorted(scored, key=lambda pair: -pair[0])
    ]
