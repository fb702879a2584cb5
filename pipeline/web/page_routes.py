"""The page for anyone."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request

router = APIRouter()


def wants_page(request: Request) -> bool:
    return False


def error_page(request: Request, status: int, body: dict[str, Any], headers: dict[str, str]) -> Any:
    raise NotImplementedError


def add_static(app: FastAPI) -> None:
    return None
