"""`/v1/policies`: by which rules things are judged here. Terms and thresholds, which help whoever evades them, stay
inside."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ...errors import PolicyError, ServiceError
from ...safety.policy import Pack, builtin_names
from ..policies import load_tested_pack
from .callers import Anyone
from .service import Service, service
from .verify_routes import ERROR

router = APIRouter(prefix="/v1/policies", tags=["policies"])
EXAMPLE: dict[str, Any] = {
    "object": "policy",
    "id": "newsroom",
    "version": "1.4.0",
    "digest": "9f86d081884c7d65…",
    "title": "Newsroom",
    "in_force": True,
}
RULE: dict[str, Any] = {
    "id": "PUB-001",
    "title": "Real public figures",
    "hazard": "pub",
    "side": "prompt",
    "verdict": "review",
    "reason": "The prompt asks for a real public figure.",
    "override": True,
    "approvals": 2,
}


@router.get(
    "",
    summary="The policy packs of this installation",
    operation_id="listPolicies",
    responses={
        200: {
            "description": "the pack in force first, then the built-in ones",
            "content": {"application/json": {"example": {"object": "list", "data": [EXAMPLE]}}},
        },
        **dict.fromkeys((401, 403, 429, 503), ERROR),
    },
)
def index(request: Request, _caller: Anyone) -> dict[str, Any]:
    """Which pack judges now, and which others there are. Any scope but `metrics`."""
    here = service(request)
    return {"object": "list", "data": [_row(pack, in_force) for pack, in_force in _packs(here)]}


@router.get(
    "/{policy_id}",
    summary="A policy pack with its rules",
    operation_id="getPolicy",
    responses={
        200: {
            "description": "the pack",
            "content": {"application/json": {"example": {**EXAMPLE, "description": "…", "rules": [RULE]}}},
        },
        **dict.fromkeys((401, 403, 404, 429, 503), ERROR),
    },
)
def one(request: Request, policy_id: str, _caller: Anyone) -> dict[str, Any]:
    """What its rules say, and what they lead to. Any scope but `metrics`."""
    for pack, in_force in _packs(service(request)):
        if pack.ref.id == policy_id:
            names = ("id", "title", "hazard", "side", "verdict", "reason", "override", "approvals", "status", "version")
            rules = [{name: getattr(rule, name) for name in names} for rule in pack.rules]
            document = pack.document
            return {
                **_row(pack, in_force),
                "description": document.description,
                "review": {
                    "approvals": document.review.approvals,
                    "hours": document.review.hours,
                    "appeal_days": document.review.appeal_days,
                },
                "rules": rules,
            }
    raise ServiceError("there is no such policy here", status=404, param="policy_id", code="service.not_found")


def _packs(here: Service) -> list[tuple[Pack, bool]]:
    """Raises ServiceError (503) while no policy is in force: nothing is judged then, either."""
    try:
        current = here.installation.pack
    except PolicyError as error:
        raise ServiceError("no policy is in force", status=503, code=error.code, retry_after=30) from None
    others = [load_tested_pack(name) for name in builtin_names()]
    return [(current, True), *((pack, False) for pack in others if pack.ref.id != current.ref.id)]


def _row(pack: Pack, in_force: bool) -> dict[str, Any]:
    ref = pack.ref
    return {
        "object": "policy",
        "id": ref.id,
        "version": ref.version,
        "digest": ref.digest,
        "title": pack.document.title,
        "in_force": in_force,
    }
