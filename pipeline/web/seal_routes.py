"""`POST /v1/seal`: a finished file becomes a job that judges, marks, signs and releases it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from ...errors import ServiceError
from ...provenance.media import MIME_BY_SUFFIX
from ..access import Caller
from ..jobs.incoming import FILE
from ..jobs.model import HIGHEST, Job, Order
from ..labelled import ReleaseLabels
from . import awaiting
from .asking import Labelled, ordered, parsed
from .callers import Creator
from .images_routes import Key
from .jobs_routes import EXAMPLE
from .receiving import Upload, is_form, receive_form, receive_json
from .service import Service, fetched, service
from .verify_routes import ERROR

router = APIRouter(tags=["seal"])
FILES = ("file",)
FORMATS = {suffix.removeprefix("."): mime for suffix, mime in MIME_BY_SUFFIX.items()}
BODY_EXAMPLE = {"url": "https://example.org/photo.jpg", "source_type": "camera"}


class SealAsked(Labelled):
    """What is said of a file that is to be sealed."""

    source_type: Literal["camera", "ai", "composite", "unknown"] = Field(
        description="what the file is: only `ai` and `composite` are labelled as made by AI"
    )
    format: str | None = Field(None, pattern=f"^({'|'.join(FORMATS)})$", description="of the sealed file; else its own")
    user: str | None = Field(None, pattern=r"^[\w.@:+-]{1,100}$", description="your user")
    priority: int = Field(0, ge=0, le=HIGHEST, description="the higher goes first")
    url: str | None = Field(None, min_length=1, max_length=2048, description="where the file is fetched from")

    def order(self, caller: Caller, file: str, key: str | None, labels: ReleaseLabels) -> Order:
        """``file``: its sha256, under which it waits."""
        mime = None if self.format is None else FORMATS[self.format]
        request = {"source_type": self.source_type, "mime": mime, FILE: file, **self.labels(labels)}
        return ordered(caller, "seal", request, {}, self.priority, key, self.user)


def _body() -> dict[str, Any]:
    schema = SealAsked.model_json_schema()
    form = {**schema, "properties": {**schema["properties"], "file": {"type": "string", "format": "binary"}}}
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": {**schema, "required": ["source_type", "url"]}, "example": BODY_EXAMPLE},
    }
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/v1/seal",
    status_code=202,
    summary="Seals a finished file",
    operation_id="seal",
    openapi_extra=_body(),
    responses={
        202: {"description": "the job", "content": {"application/json": {"example": {**EXAMPLE, "kind": "seal"}}}},
        **dict.fromkeys((400, 401, 403, 408, 409, 413, 415, 429, 500, 503), ERROR),
    },
)
async def seal(request: Request, caller: Creator, key: Key = None) -> Any:
    """Takes a file (`multipart/form-data`), or fetches it (`url`), and answers with the job at once: see
    `/v1/jobs/{job_id}`. What it released lies at `/v1/assets/{asset_id}/content`. Scope: `generate`."""
    here = service(request)
    with here.spool.open() as folder:
        asked, path = await _given(here, request, folder)
        name = await asyncio.to_thread(here.installation.incoming.name, path)
        order = asked.order(caller, name, key, here.installation.labels)
        await asyncio.to_thread(here.installation.jobs.admit, order)  # before the file is kept
        await asyncio.to_thread(here.installation.incoming.take, path, name)
    job, _ = await asyncio.to_thread(here.installation.jobs.put, order)
    return JSONResponse(await asyncio.to_thread(_shown, here, job, caller), 202)


def _shown(here: Service, job: Job, caller: Caller) -> dict[str, Any]:
    return awaiting.shown(here, awaiting.up_to_date(here, job), caller)


async def _given(here: Service, request: Request, folder: Path) -> tuple[SealAsked, Path]:
    """What was asked, and the file in the spool. Raises ServiceError, FetchError."""
    upload, said = Upload(), {}
    if is_form(request):
        upload = await receive_form(request, folder, FILES)
        said = dict(upload.fields)
    else:
        said = await receive_json(request)
    asked: SealAsked = parsed(SealAsked, {k: v for k, v in said.items() if v != ""}, strict=not upload.fields)
    path = upload.files.get("file")
    if (path is None) == (asked.url is None):
        raise ServiceError("give a file in the field `file`, or a `url`", param="file", code="service.file")
    if path is None:
        path = await fetched(here, str(asked.url), folder)
    if path.stat().st_size == 0:
        raise ServiceError("the file is empty", param="file", code="service.file")
    return asked, path
