"""Released files for those whose they are, and only as the log has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi.responses import FileResponse

from ...errors import InputError, JobError, ReleaseError, ServiceError
from ...provenance.catalog import AssetRecord, Catalog
from ...provenance.database import session
from ...provenance.identity import AssetId
from ...provenance.revocations import newest_resigning
from ..jobs.model import Job
from .problems import problem
from .service import Service


@dataclass(frozen=True)
class Content:
    """A released file. ``sha256``: of its bytes as they lie there, in hex."""

    record: AssetRecord
    path: Path
    sha256: str


def asset_of(here: Service, text: str, tenant: str) -> tuple[AssetRecord, UUID]:
    """The tenant's own asset, and the id of the job that made it. Raises ServiceError (404) for any other."""
    try:
        ident = AssetId.parse(text)
    except InputError:
        raise _none() from None
    job = here.installation.jobs.of_asset(ident.value, tenant)
    with session(here.installation.log.engine) as opened:
        record = Catalog(opened).by_asset_id(ident)
    if job is None or record is None:
        raise _none()
    return record, job


def content(here: Service, record: AssetRecord) -> Content:
    """The file. Raises ServiceError where it is not there yet, or is not what was released."""
    if record.public_name is None:
        raise _none()
    try:
        path = here.installation.store.fetched(record.public_name)
        seen = path.stat()
        digest = _digest(path, seen.st_mtime_ns, seen.st_size)
    except (OSError, ReleaseError):
        # It was released a moment ago, lies on another installation of the same database, or the store is away.
        raise ServiceError(
            "the file is not here at this moment", status=503, code="service.content", retry_after=2
        ) from None
    # Asked after the file was read: what it was replaced by stands in the log before it is replaced.
    with session(here.installation.log.engine) as opened:
        again = newest_resigning(opened, record.asset_id)
    if digest not in {record.sha256.hex(), *([again.sha256.hex()] if again is not None else [])}:
        raise ServiceError("the file is not what was released", status=500, code="service.content_changed")
    return Content(record, path, digest)


def sent(here: Service, record: AssetRecord) -> FileResponse:
    """The file as an answer; ranges of it, where they are asked for."""
    file = content(here, record)
    headers = {"ETag": f'"{file.sha256}"', "Cache-Control": "private, max-age=3600"}
    return _File(file.path, media_type=record.mime, filename=file.path.name, headers=headers)


def of_job(here: Service, job: Job) -> AssetRecord:
    """What the job released. Raises JobError, or ServiceError (409), where there is nothing."""
    told = job.outcome or {}
    if job.state != "released" or "asset_id" not in told:
        raise JobError("nothing was released by this job", code="jobs.not_released", hint="")
    return asset_of(here, str(told["asset_id"]), job.tenant)[0]


class _File(FileResponse):
    """Says no to a wrong range as everything here says no."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        refused: list[int] = []

        async def plain(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                refused.append(message["status"])
                _, body, headers = problem("this range cannot be sent", message["status"], "service.range")
                said = json.dumps(body).encode()
                pairs = {"content-type": "application/json", "content-length": str(len(said)), **headers}
                sized = [pair for pair in message["headers"] if pair[0] == b"content-range"]
                told = [(name.lower().encode(), value.encode()) for name, value in pairs.items()]
                await send({**message, "headers": sized + told})
                await send({"type": "http.response.body", "body": said})
            elif not refused:
                await send(message)

        await super().__call__(scope, receive, plain)


@lru_cache(1024)
def _digest(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _none() -> ServiceError:
    return ServiceError("no such asset", status=404, param="asset_id", code="service.not_found")
