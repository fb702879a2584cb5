"""From a job to a request of the engine, and from its outcome to what is told."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ...errors import FiligranaError, GenerationError, InputError, LogError, PolicyError, ReleaseError
from ..engine import Engine
from ..generators.remote import AWAY, BUSY
from ..request import GenerateRequest, Held, News, Outcome, Progress, Refusal, SealRequest, no_news
from ..run import StageError
from .incoming import FILE, Incoming
from .model import Job


def made(
    engine: Engine,
    job: Job,
    texts: dict[str, str],
    intent: UUID,
    tell: Progress,
    incoming: Incoming | None,
    news: News = no_news,
) -> Outcome:
    """Does what the job asks for, under this intent. Raises InputError where it cannot be done any more."""
    subject = job.subject
    if subject is None:
        raise InputError("the subject of this job was erased", code="provenance.erased")
    if not set(job.texts) - {"rewrite"} <= set(texts):
        raise InputError("the texts of this job were erased", code="provenance.erased")
    fields = {key: value for key, value in job.request.items() if not key.startswith("_")}
    fields["profiles"] = tuple(fields.pop("profiles", ()))
    if job.kind == "seal":
        if incoming is None:
            raise InputError("this worker sees no uploaded files", code="input.job_file")
        path = incoming.checked(str(job.request.get(FILE)))
        return engine.seal(SealRequest(path, **fields, subject=subject, intent=intent), tell, news)
    size = fields.pop("size", None)
    words: dict[str, Any] = {name: text for name, text in texts.items() if name != "rewrite"}
    request = GenerateRequest(
        **words,
        **fields,
        size=None if size is None else (int(size[0]), int(size[1])),
        subject=subject,
        intent=intent,
    )
    return engine.generate(request, tell, news)


def refused(outcome: Refusal) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What is told of a refusal. An offered rewrite holds words of the prompt, so it is kept sealed."""
    told, texts = outcome.as_dict(), {}
    if outcome.decision.rewrite is not None:
        texts["rewrite"] = outcome.decision.rewrite.prompt
        told["rewrite"] = {"digest": outcome.decision.rewrite.digest}
    return ("held" if isinstance(outcome, Held) else "refused"), told, texts


TOLD = (
    "provenance.watermark.too_small", "provenance.watermark.too_long", "provenance.watermark.rate",
    "provenance.watermark.not_finite", "release.profile",
)  # fmt: skip
"""Codes of what is wrong with a file, or with what it became: these messages speak of it alone."""
ASKED = (
    "generate.size", "generate.option", "generate.media", "generate.best_of", "generate.refused", "generate.empty",
    "generate.remote", AWAY, BUSY,
)  # fmt: skip
"""Codes of generators whose messages speak of what was asked, or name nothing of the inside. All others may quote what
a library says of folders, devices and processes."""


def failure(error: Exception) -> dict[str, Any]:
    """Code and message. Messages of the inside may name folders and servers: those stay inside."""
    if not isinstance(error, FiligranaError):
        return {"code": "internal", "message": "the job failed"}
    if isinstance(error, (InputError, PolicyError)) or error.code in (*TOLD, *ASKED):
        return {"code": error.code, "message": error.message, "hint": error.hint}
    return {"code": error.code, "message": "the job failed"}


def again(error: Exception) -> bool:
    """Whether another try may go better: what came from outside of the request."""
    away = isinstance(error, ReleaseError) and error.code.startswith("release.store")
    away = away or (isinstance(error, GenerationError) and error.code in (AWAY, BUSY))
    return away or isinstance(error, (StageError, LogError)) or not isinstance(error, FiligranaError)
