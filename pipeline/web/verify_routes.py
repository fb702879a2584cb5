"""`POST /v1/verify`: where is this file from?"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from ...errors import ServiceError
from ...provenance.words import languages
from .receiving import receive_json
from .service import Given, fetched, given, looked_into, moment, service, shown_name

router = APIRouter(tags=["verify"])

AT = Annotated[str | None, Query(description="time of validation, RFC 3339", examples=["2026-11-24T12:00:00Z"])]
LANG = Annotated[str | None, Query(max_length=16, description="language of the words: en, zh, es, fr or de")]
EXAMPLE: dict[str, Any] = {
    "file": "copy.jpg",
    "finding": "recovered",
    "asset_id": "4G7K2M9PQX0T",
    "trust": "none",
    "match": "same",
    "headline": "Origin found: a copy that lost its label, traced back to its record",
    "evidence": [{"technique": "watermark", "status": "ok", "detail": "…", "meaning": "…"}],
    "regions": [],
    "seconds": 0.06,
}
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "picture, clip or sound"},
                    "sidecar": {"type": "string", "format": "binary", "description": "its .c2pa file, if it has one"},
                    "url": {"type": "string", "format": "uri", "description": "in place of a file"},
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["url"],
                "properties": {"url": {"type": "string", "format": "uri"}},
                "example": {"url": "https://example.org/picture.jpg"},
            }
        },
    },
}
ERROR: dict[str, Any] = {
    "description": "what is wrong",
    "content": {
        "application/json": {
            "example": {"error": {"message": "…", "type": "invalid_request", "param": "file", "code": "service.file"}}
        }
    },
}


@router.post(
    "/v1/verify",
    summary="Where is this file from?",
    openapi_extra={"requestBody": BODY},
    responses={
        200: {"description": "the finding", "content": {"application/json": {"example": EXAMPLE}}},
        **dict.fromkeys((400, 408, 413, 415, 429, 503), ERROR),
    },
)
async def verify(request: Request, at: AT = None, lang: LANG = None) -> dict[str, Any]:
    """One finding with its evidence. The file is looked at and thrown away."""
    when, language = moment(at), _language(lang)
    here = service(request)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "application/json":
        asked = await receive_json(request)
        url = asked.get("url")
        if not isinstance(url, str):
            raise ServiceError("`url` is missing", param="url", code="service.url")
        with here.spool.open() as folder:
            path = await fetched(here, url, folder)
            name = shown_name(url.split("?")[0].rsplit("/", 1)[-1] or url)
            return await looked_into(here, Given(path, name, None, {}), when, language)
    async with given(request) as file:
        return await looked_into(here, file, when, language)


def _language(lang: str | None) -> str:
    if lang is not None and lang not in languages():
        raise ServiceError(f"languages are {', '.join(languages())}", param="lang", code="service.language")
    return lang or "en"
