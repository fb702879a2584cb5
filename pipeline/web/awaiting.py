"""Waiting for jobs without blocking anybody, and what is told of them at their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from fastapi import Request

from ...errors import FiligranaError, JobError
from ..access import Caller
from ..jobs.fence import standing
from ..jobs.model import Job
from ..review_case import spelled
from .problems import AWAY, ToldError, problem_of
from .service import Service

SLOWEST = 1.0
"""Seconds between two looks, once a job takes its time."""
_INPUT = ("input.", "generate.media", "generate.size", "provenance.watermark.too_")
"""What is wrong with the request: asking for the same again gives the same."""


def job_id(text: str) -> UUID:
    """Raises JobError for what can be no job's id, as for one that there is not."""
    try:
        return UUID(text)
    except ValueError:
        raise JobError("there is no such job", code="jobs.unknown", hint="") from None


def found(here: Service, text: str, tenant: str) -> Job:
    """The tenant's job as it stands now, also where people decided on it since it was held."""
    return up_to_date(here, here.installation.jobs.get(job_id(text), tenant))


def up_to_date(here: Service, job: Job) -> Job:
    if job.state not in ("held", "refused"):
        return job
    went_on = standing(here.installation.ledger, job)
    return job if went_on is None else here.installation.jobs.went_on(job, *went_on)


async def ended(here: Service, request: Request, jobs: Sequence[Job], seconds: float) -> list[Job]:
    """The jobs once all of them have ended, or as they are after ``seconds``, or when whoever asked has gone. A
    database that is away meanwhile is waited for like the jobs themselves: they are in it already."""
    until, pause, now = time.monotonic() + seconds, 0.05, list(jobs)
    while True:
        try:
            now = await asyncio.to_thread(here.installation.jobs.some, [job.id for job in jobs])
        except JobError as error:
            if error.code != "jobs.database":
                raise
        if all(job.ended for job in now) or time.monotonic() >= until or here.stopping():
            return now
        if await request.is_disconnected():
            return now
        await asyncio.sleep(min(pause, max(0.01, until - time.monotonic())))
        pause = min(SLOWEST, pause * 1.5)


def theirs(job: Job, subject: str) -> bool:
    """Whether it was asked for with a key of this subject, also for a user of theirs."""
    return job.subject is not None and spelled(job.subject.split("/")[0]) == spelled(subject)


def shown(here: Service, job: Job, caller: Caller) -> dict[str, Any]:
    """A job as its tenant sees it; whoever asked for it sees the text of an offered rewrite, too."""
    said = {"object": "job", **job.as_dict()}
    offered = rewrite(here, job, caller)
    if offered is not None:
        said["outcome"] = {**(job.outcome or {}), "rewrite": offered}
    return said


def outcome(here: Service, job: Job, caller: Caller) -> dict[str, Any]:
    """What came of one job, in a line of an answer."""
    told = shown(here, job, caller)
    return {"job": told["id"], "state": told["state"], **(told["outcome"] or {})}


def rewrite(here: Service, job: Job, caller: Caller) -> dict[str, str] | None:
    """Its words are those of the prompt, so they are for whoever wrote that alone."""
    digest = ((job.outcome or {}).get("rewrite") or {}).get("digest") if theirs(job, caller.subject) else None
    text = here.installation.jobs.text(job, "rewrite") if digest else None
    return None if text is None else {"prompt": text, "digest": str(digest)}


def reason(job: Job) -> tuple[str, str]:
    """Message and code for a job that ended without a release."""
    told = job.outcome or {}
    code = str(told.get("code") or f"jobs.{job.state}")
    words = " ".join(str(each) for each in told.get("reasons") or ()) or str(told.get("message") or "")
    return words or f"the job was {job.state}", code


def refused(here: Service, jobs: Sequence[Job], kind: str, caller: Caller) -> ToldError:
    """The error for jobs of which none was released or held. ``kind``: the type of a refusal."""
    job = next((job for job in jobs if job.state == "refused"), jobs[0])
    message, code = reason(job)
    more: dict[str, Any] = {"jobs": [str(each.id) for each in jobs]}
    if job.state == "refused":
        offered = rewrite(here, job, caller)
        more |= {"rewrite": offered, "request": (job.outcome or {}).get("request")}
        return ToldError(message, status=400, code=code, param="prompt", kind=kind, more=more)
    if job.state == "cancelled":
        return ToldError("the job was cancelled", status=409, code=code, more=more, headers={"X-Should-Retry": "false"})
    if code.startswith(_INPUT):
        field = "prompt" if "prompt" in code else code.rpartition(".")[2]
        param = field if field in ("prompt", "size") else "size" if "watermark" in code else None
        return ToldError(message, status=400, code=code, param=param, more=more)
    return ToldError(message, status=500, code=code, more=more, headers={"X-Should-Retry": "false"})


@contextmanager
def once(jobs: Sequence[Job], key: str | None) -> Iterator[None]:
    """Around what comes after the jobs were put: clients send again by themselves what the service could not answer,
    and without an idempotency key they would have all of it made a second time."""
    try:
        yield
    except (FiligranaError, *AWAY) as error:
        status, body, _ = problem_of(error)
        if key is not None or status < 500 or isinstance(error, ToldError):
            raise
        told, more = body["error"], {"jobs": [str(job.id) for job in jobs]}
        headers = {"X-Should-Retry": "false"}
        raise ToldError(told["message"], status=status, code=told["code"], more=more, headers=headers) from error


def waiting(jobs: Sequence[Job], key: str | None) -> ToldError:
    """The error for jobs that had not ended in time. With an idempotency key, asking again waits on for the same jobs;
    without one it would make new ones, so clients are told not to."""
    open_ = [str(job.id) for job in jobs if not job.ended]
    return ToldError(
        "not all of it was made in time: it is still being made, see /v1/jobs",
        status=504,
        code="jobs.waiting",
        more={"jobs": [str(job.id) for job in jobs], "waiting": open_},
        headers={} if key is not None else {"X-Should-Retry": "false"},
    )
