"""`/v1/webhooks`: where a tenant wants to hear of its jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ..webhooks import Webhooks
from .asking import body_of, parsed
from .callers import Creator
from .receiving import receive_json
from .service import service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
HOOK: dict[str, Any] = {
    "object": "webhook",
    "id": "a1b2c3d4e5f6",
    "url": "https://example.org/filigrana",
    "events": ["job.released"],
    "created_at": "2026-11-24T12:00:00+00:00",
}
DELIVERY: dict[str, Any] = {
    "object": "webhook.delivery",
    "id": "msg_7b0e3c1e-5b0a-4c55-9b56-2f6a7d1f0c11",
    "event": "job.released",
    "job": "0d6e7bd2-2a7e-5d0e-8f0e-6a4f1d2c3b4a",
    "state": "delivered",
    "attempts": 1,
    "status": 204,
    "reason": None,
    "next_try_at": None,
    "created_at": "2026-11-24T12:00:00+00:00",
    "ended_at": "2026-11-24T12:00:01+00:00",
}
WAITING: dict[str, Any] = {"state": "waiting", "attempts": 0, "status": None, "ended_at": None}
Event = Literal["job.released", "job.refused", "job.held", "job.failed", "job.cancelled"]
ALL: list[Event] = ["job.released", "job.refused", "job.held", "job.failed", "job.cancelled"]


class HookAsked(BaseModel):
    """A webhook that is wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1, max_length=2048, description="http or https, on the public internet")
    events: list[Event] = Field(ALL, min_length=1, max_length=len(ALL), description="which it hears of")


@router.post(
    "",
    status_code=201,
    summary="A new webhook",
    operation_id="createWebhook",
    openapi_extra=body_of(HookAsked, {"url": "https://example.org/filigrana", "events": ["job.released"]}),
    responses={
        201: {
            "description": "the webhook, with its secret, which is shown this once",
            "content": {"application/json": {"example": {**HOOK, "secret": "whsec_…"}}},
        },
        **dict.fromkeys((400, 401, 403, 408, 409, 413, 429, 500, 503), ERROR),
    },
)
async def create(request: Request, caller: Creator) -> Any:
    """Messages are signed as Standard Webhooks has it, and tried for a day and a half. Scope: `generate`."""
    asked: HookAsked = parsed(HookAsked, await receive_json(request))
    hooks = Webhooks(service(request).installation)
    hook, secret = await asyncio.to_thread(hooks.add, caller.tenant, caller.subject, asked.url, asked.events)
    return JSONResponse({**hook.as_dict(), "secret": secret}, 201)


@router.get(
    "",
    summary="The tenant's webhooks",
    operation_id="listWebhooks",
    responses={
        200: {
            "description": "without their secrets",
            "content": {"application/json": {"example": {"object": "list", "data": [HOOK]}}},
        },
        **dict.fromkeys((401, 403, 429, 500, 503), ERROR),
    },
)
def index(request: Request, caller: Creator) -> dict[str, Any]:
    """Scope: `generate`."""
    found = Webhooks(service(request).installation).list(caller.tenant)
    return {"object": "list", "data": [hook.as_dict() for hook in found]}


@router.delete(
    "/{webhook_id}",
    summary="Ends a webhook",
    operation_id="deleteWebhook",
    responses={
        200: {
            "description": "nothing more is sent there",
            "content": {"application/json": {"example": {"object": "webhook.deleted", "id": "…", "deleted": True}}},
        },
        **dict.fromkeys((401, 403, 404, 429, 500, 503), ERROR),
    },
)
def delete(request: Request, webhook_id: str, caller: Creator) -> dict[str, Any]:
    """With what waits to be sent there. Scope: `generate`."""
    Webhooks(service(request).installation).remove(caller.tenant, webhook_id, caller.subject)
    return {"object": "webhook.deleted", "id": webhook_id, "deleted": True}


@router.get(
    "/{webhook_id}/deliveries",
    summary="What was sent there",
    operation_id="listWebhookDeliveries",
    responses={
        200: {
            "description": "the youngest first",
            "content": {"application/json": {"example": {"object": "list", "data": [DELIVERY]}}},
        },
        **dict.fromkeys((400, 401, 403, 404, 429, 500, 503), ERROR),
    },
)
def deliveries(
    request: Request, webhook_id: str, caller: Creator, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """Scope: `generate`."""
    found = Webhooks(service(request).installation).deliveries(caller.tenant, webhook_id, limit)
    return {"object": "list", "data": found}


@router.post(
    "/{webhook_id}/secret",
    summary="A new secret",
    operation_id="rotateWebhookSecret",
    responses={
        200: {
            "description": "the webhook, with its new secret, which is shown this once",
            "content": {"application/json": {"example": {**HOOK, "secret": "whsec_…"}}},
        },
        **dict.fromkeys((401, 403, 404, 429, 500, 503), ERROR),
    },
)
def rotate(request: Request, webhook_id: str, caller: Creator) -> dict[str, Any]:
    """For 24 hours messages are signed with the one before as well. Scope: `generate`."""
    hook, secret = Webhooks(service(request).installation).rotate(caller.tenant, webhook_id, caller.subject)
    return {**hook.as_dict(), "secret": secret}


@router.post(
    "/{webhook_id}/test",
    status_code=202,
    summary="Sends a message that is about no job",
    operation_id="testWebhook",
    responses={
        202: {
            "description": "it is on its way; the list of deliveries tells what became of it",
            "content": {
                "application/json": {
                    "example": {**DELIVERY, **WAITING, "event": "webhook.test", "job": None},
                }
            },
        },
        **dict.fromkeys((401, 403, 404, 429, 500, 503), ERROR),
    },
)
def test(request: Request, webhook_id: str, caller: Creator) -> dict[str, Any]:
    """Its type is `webhook.test`, whatever events the webhook hears of. Scope: `generate`."""
    return Webhooks(service(request).installation).test(caller.tenant, webhook_id)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    status_code=202,
    summary="Sends a message again",
    operation_id="retryWebhookDelivery",
    responses={
        202: {
            "description": "it is on its way, under the same id",
            "content": {"application/json": {"example": {**DELIVERY, **WAITING}}},
        },
        **dict.fromkeys((401, 403, 404, 429, 500, 503), ERROR),
    },
)
def retry(request: Request, webhook_id: str, delivery_id: str, caller: Creator) -> dict[str, Any]:
    """Also one that was taken or given up; its tries are counted anew. Scope: `generate`."""
    return Webhooks(service(request).installation).again(caller.tenant, webhook_id, delivery_id)
