"""The service's description as it really answers: FastAPI writes of its own that wrong parameters are answered with
422, and in another shape than ours."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from .verify_routes import ERROR

_ANYWHERE = ("400", "429", "503")
"""What the guards around every route answer: a request that is none, one too many, more connections than there are, or
a database that is away."""
_NOT_OURS = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> None:
    """Makes ``app`` describe itself so."""

    theirs = app.openapi

    def openapi() -> dict[str, Any]:
        made = app.openapi_schema is None
        found = theirs()
        return _as_answered(found) if made else found

    app.openapi = openapi  # type: ignore[method-assign]


def _as_answered(found: dict[str, Any]) -> dict[str, Any]:
    for operations in found["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            if "422" in answers and _NOT_OURS[0] in str(answers["422"]):
                del answers["422"]
            for status in _ANYWHERE:
                answers.setdefault(status, dict(ERROR))
            operation["responses"] = dict(sorted(answers.items()))
    for name in _NOT_OURS:
        found.get("components", {}).get("schemas", {}).pop(name, None)
    return found
