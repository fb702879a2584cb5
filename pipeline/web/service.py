"""What all routes share, and how a request reaches it."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request

from ...errors import ServiceError
from ..fetching import FetchLimits, fetch_to
from ..installation import Installation
from .desk import Desk
from .inspecting import Inspector
from .rating import KeyRates
from .receiving import Upload, receive_form
from .spooling import Spool
from .streams import Streams

FILES = ("file", "sidecar")
MAX_SIDECAR = 16 << 20
FETCHES = 8
"""Addresses that are asked at once; as many may wait."""


@dataclass
class Service:
    """``stopping``: whether the server is on its way out, so that streams end; ``draining``: whether it will be soon,
    so that nothing new should come."""

    installation: Installation
    inspector: Inspector
    desk: Desk
    spool: Spool
    streams: Streams
    stopping: Callable[[], bool] = lambda: False
    draining: Callable[[], bool] = lambda: False
    key_rates: KeyRates = field(default_factory=KeyRates)
    fetches: Desk = field(default_factory=lambda: Desk(FETCHES, FETCHES))
    """Where addresses are asked: they may take their time, and no file that is here already waits for them."""

    @property
    def fetch_limits(self) -> FetchLimits:
        return FetchLimits.of(self.installation.settings)

    def close(self) -> None:
        self.desk.close()
        self.fetches.close()
        self.spool.close()


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


@dataclass
class Given:
    """What a request gives to look at. ``name``: as it may be shown."""

    path: Path
    name: str
    sidecar: Path | None
    fields: dict[str, str]


@asynccontextmanager
async def given(request: Request) -> AsyncIterator[Given]:
    """The file of a multipart request, or what the URL in its field `url` names. Gone when the block ends."""
    here = service(request)
    here.desk.check()
    with here.spool.open() as folder:
        upload = await receive_form(request, folder, FILES)
        sidecar = _sidecar(upload)
        url = upload.fields.get("url", "")
        path = upload.files.get("file")
        if path is not None and url:
            raise ServiceError("a file and a URL: give one of them", param="file", code="service.file")
        if path is not None:
            yield Given(path, shown_name(upload.names["file"]), sidecar, upload.fields)
        elif url:
            path = await fetched(here, url, folder)
            yield Given(path, shown_name(url.split("?")[0].rsplit("/", 1)[-1] or url), sidecar, upload.fields)
        else:
            raise ServiceError("there is no file in the field `file`", param="file", code="service.file")


async def fetched(here: Service, url: str, folder: Path, most: int | None = None) -> Path:
    """``most``: bytes, below the setting's own limit."""
    path, limits = folder / "fetched", here.fetch_limits
    if most is not None:
        limits = replace(limits, bytes=min(most, limits.bytes))
    await here.fetches.do(lambda: fetch_to(path, url, limits))
    return path


async def looked_into(
    here: Service, given: Given, at: datetime | None, language: str = "en", *, thumbnail: bool = False
) -> dict[str, Any]:
    """The finding. ``thumbnail``: with a small picture of the file, base64 of a JPEG, where it has one."""
    answer = await here.desk.do(
        lambda: here.inspector.inspect(given.path, at=at, sidecar=given.sidecar, language=language, thumbnail=thumbnail)
    )
    return {**answer, "file": given.name}


def _sidecar(upload: Upload) -> Path | None:
    path = upload.files.get("sidecar")
    if path is not None and path.stat().st_size > MAX_SIDECAR:
        raise ServiceError("a sidecar has 16 MiB at most", status=413, param="sidecar", code="service.too_large")
    return path


def moment(text: str | None) -> datetime | None:
    """RFC 3339 with its zone, as `at` is given. Raises ServiceError."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: in UTC it is before the year 1, or after 9999
        pass
    raise ServiceError("a time is written like 2026-11-24T12:00:00Z", param="at", code="service.at")


def plain(text: object, most: int = 300) -> str:
    """A stranger's text on one line: characters that turn the reading direction or control a terminal are shown as
    what they are, and not obeyed."""
    out = []
    for char in str(text)[: most + 1]:
        kind = unicodedata.category(char)
        hidden = kind in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and char not in "\u200c\u200d"
        out.append(f"⟨{ord(char):04X}⟩" if hidden else char)
    return "".join(out[:most]) + ("…" if len(out) > most else "")


def shown_name(name: str) -> str:
    """The last part of what a client calls its file."""
    return plain(name.replace("\\", "/").rsplit("/", 1)[-1], 120) or "file"
