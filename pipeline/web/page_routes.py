"""The page for anyone. Works as a plain form; scripts only add progress, dropping and pasting."""

from __future__ import annotations

import asyncio
import base64
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.staticfiles import StaticFiles

from ...provenance.catalog import Catalog
from ...provenance.database import session
from ...provenance.identity import AssetId
from ...provenance.records import PreviewImage
from ...provenance.words import languages, words
from . import languages as choosing
from .records_routes import opened_log
from .service import Service, given, looked_into, moment, plain, service
from .showing import shown, size_text

router = APIRouter()
PART = "x-filigrana-part"
_LANG = Annotated[str | None, Query(max_length=16)]


@cache
def templates() -> Environment:
    return Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@router.get("/", include_in_schema=False)
@router.get("/verify", include_in_schema=False)
def index(request: Request, lang: _LANG = None) -> Response:
    return _page(request, "index.html", 200, lang)


@router.post("/verify", include_in_schema=False)
async def verify(request: Request, lang: _LANG = None, at: str | None = None) -> Response:
    """The same form, sent: the whole page with the finding, or only the finding for a script that asks for it."""
    here, language = service(request), _language(request, lang)
    async with given(request) as file:
        when = moment(at or file.fields.get("at"))
        answer = await looked_into(here, file, when, language, thumbnail=True)
        said = words(language)
        view = shown(answer, said, await asyncio.to_thread(_preview, here, answer))
        view["html_data"] = _download(view, said)
        part = request.headers.get(PART) == "result"
        return _page(request, "_result.html" if part else "result.html", 200, lang, view=view)


def _preview(here: Service, answer: dict[str, Any]) -> PreviewImage | None:
    """The original's, where the finding led to one of this catalog: not for a mark on something else."""
    if answer.get("asset_id") is None or not answer.get("record") or answer["match"] == "different":
        return None
    log = opened_log(here.installation)
    if log is None:
        return None
    with session(log.engine) as opened:
        return Catalog(opened).preview(AssetId.parse(answer["asset_id"]))


def _download(view: dict[str, Any], said: Any) -> str:
    """The answer as one HTML file that needs nothing else."""
    style = Markup((Path(str(_static())) / "page.css").read_text("utf-8"))  # noqa: S704  our own file
    page = (
        templates()
        .get_template("report.html")
        .render(t=said, lang=said.language, view=view, style=style, url=None, error=None)
    )
    return base64.b64encode(page.encode()).decode()


def _page(request: Request, name: str, status: int, lang: str | None, **values: Any) -> Response:
    language = _language(request, lang)
    here = service(request)
    most = here.installation.settings.serve_max_bytes
    text = (
        templates()
        .get_template(name)
        .render(
            t=words(language),
            lang=language,
            languages=[(code, words(code)("language")) for code in languages()],
            asked=f"?lang={language}" if lang else "",
            most=most,
            most_text=size_text(most),
            **{"view": None, "error": None, **values},
        )
    )
    return Response(
        text, status, {"Content-Language": language, "Vary": "Accept-Language"}, media_type="text/html; charset=utf-8"
    )


def _language(request: Request, lang: str | None) -> str:
    return choosing.preferred(lang, request.headers.get("accept-language", ""))


def wants_page(request: Request) -> bool:
    """Whether an error is for a person."""
    if request.url.path.startswith(("/v1/", "/c2pa/", "/.well-known/")):
        return False
    return "text/html" in request.headers.get("accept", "") or request.headers.get(PART) == "result"


def error_page(request: Request, status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    lang = request.query_params.get("lang")
    said = words(_language(request, lang))
    known = {413: said("page.too_large", size=size_text(service(request).installation.settings.serve_max_bytes))}
    known |= {503: said("page.busy"), 429: said("page.busy")}
    message = known.get(status, plain(body["error"]["message"]))
    part = request.headers.get(PART) == "result"
    error = {"message": message, "code": body["error"]["code"]}
    answer = _page(request, "_error.html" if part else "index.html", status, lang, error=error)
    answer.headers.update(headers)
    return answer


def _static() -> Any:
    return resources.files(__package__) / "static"


def add_static(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=str(_static())), name="static")
