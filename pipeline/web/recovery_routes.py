"""The C2PA Soft Binding Resolution API 2.4, under `/c2pa/v1`: from a mark to the manifest that a copy lost."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ...errors import ManifestError, ServiceError
from ...provenance.identity import AssetId
from ...provenance.repository import Held, Repository, active_only
from . import recovery_models as shapes
from .receiving import is_form, receive_bytes, receive_file, receive_form
from .records_routes import opened_log
from .recovery_receipts import receipt_of, verified
from .service import Given, Service, fetched, looked_into, service
from .verify_routes import ERROR

BASE = "/c2pa/v1"
VERSION = "2.4.0"
MAX_STORE = 16 << 20
C2PA = "application/c2pa"
router = APIRouter(prefix=BASE, tags=["recovery"])
_ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 403, 404, 409, 413, 429, 503), ERROR)
Most = Annotated[int, Query(ge=1, le=100, description="at most so many manifests")]
Label = Annotated[str, Query(max_length=256)]
_FILE = {"schema": {"type": "string", "format": "binary"}}


def _repository(here: Service) -> Repository | None:
    log = opened_log(here.installation)
    return None if log is None else Repository(log)


_BEARER = HTTPBearer(auto_error=False, description="the setting `resolver_token`")


def may_write(request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
    """Whoever shows the token of the setting `resolver_token`. Raises ServiceError (403)."""
    token = service(request).installation.settings.resolver_token
    given = b"" if shown is None else shown.credentials.encode()
    if token is None or not hmac.compare_digest(given, token.get_secret_value().encode()):
        raise ServiceError("this needs the repository's token", status=403, code="service.token")


Writer = Depends(may_write)


# ── query ────────────────────────────────────────────────────────────────────────────────────────────────────────
@router.get("/matches/byBinding", response_model_exclude_none=True, responses=_ERRORS, operation_id="queryByBinding")
def by_binding(
    request: Request,
    value: Annotated[shapes.Value, Query()],
    alg: Annotated[shapes.Alg, Query()],
    maxResults: Most = 10,
) -> shapes.Matches:
    """Manifests that carry this soft binding."""
    repository = _repository(service(request))
    found = repository.by_binding(alg, value, maxResults) if repository is not None else []
    return _matches(found, 100)


@router.post(
    "/matches/byBinding", response_model_exclude_none=True, responses=_ERRORS, operation_id="queryByLargeBinding"
)
def by_large_binding(request: Request, query: shapes.Query, maxResults: Most = 10) -> shapes.Matches:
    """The same, for values that are too long for an address."""
    return by_binding(request, query.value, query.alg, maxResults)


@router.post(
    "/matches/byContent",
    response_model_exclude_none=True,
    responses=_ERRORS,
    operation_id="queryByContent",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILE["schema"]}}},
                **dict.fromkeys(("image/*", "video/*", "audio/*", "application/octet-stream"), _FILE),
            },
        }
    },
)
async def by_content(
    request: Request,
    maxResults: Most = 10,
    hintAlg: Annotated[str | None, Query(max_length=128)] = None,  # noqa: ARG001  every mark is looked for anyway
    hintValue: Annotated[str | None, Query(max_length=2048)] = None,  # noqa: ARG001
) -> shapes.Matches:
    """Manifests of the picture, clip or sound that is the body."""
    here = service(request)
    here.desk.check()
    with here.spool.open() as folder:
        if is_form(request):
            path = (await receive_form(request, folder, ("file",))).files.get("file")
        else:
            path = folder / "file"
            await receive_file(request, path)
        if path is None or not path.stat().st_size:
            raise ServiceError("there is no file", param="file", code="service.file")
        return await _of_content(here, path, maxResults)


@router.post(
    "/matches/byReference", response_model_exclude_none=True, responses=_ERRORS, operation_id="queryByReference"
)
async def by_reference(request: Request, query: shapes.Reference, maxResults: Most = 10) -> shapes.Matches:
    """Manifests of the file at a public address."""
    here = service(request)
    here.desk.check()
    with here.spool.open() as folder:
        path = await fetched(here, query.referenceUrl, folder, query.assetLength)
        return await _of_content(here, path, maxResults)


async def _of_content(here: Service, path: Path, most: int) -> shapes.Matches:
    finding = await looked_into(here, Given(path, "file", None, {}), None)
    repository = _repository(here)
    if repository is None or finding.get("asset_id") is None or finding["match"] == "different":
        return _matches([], 0)
    found = repository.of_asset(AssetId.parse(finding["asset_id"]))
    return _matches(found[:most], 70 if finding["match"] == "edited" else 100)


def _matches(labels: list[str], score: int) -> shapes.Matches:
    return shapes.Matches(matches=[shapes.Match(manifestId=label, similarityScore=score) for label in labels])


# ── fetch ────────────────────────────────────────────────────────────────────────────────────────────────────────
@router.get(
    "/manifests/{manifestId}",
    response_class=Response,
    operation_id="getManifestById",
    responses={**_ERRORS, 200: {"description": "the manifest store", "content": {C2PA: _FILE}}},
)
def manifest(request: Request, manifestId: str, returnActiveManifest: bool = False) -> Response:
    """The manifest store that this manifest is the active one of, or this manifest alone."""
    held = _held(request, manifestId)
    data = active_only(held) if returnActiveManifest else held.store
    return Response(data, media_type=C2PA, headers={"Content-Disposition": 'attachment; filename="manifest.c2pa"'})


@router.get(
    "/manifests/{manifestId}/receipts",
    response_model_exclude_none=True,
    responses=_ERRORS,
    operation_id="getManifestReceipt",
)
def receipt(request: Request, manifestId: str) -> shapes.Receipt:
    """The log's proof that the manifest was released, or taken in, here."""
    here, held = service(request), _held(request, manifestId)
    return receipt_of(here.installation, held, BASE)


@router.post(
    "/manifests/{manifestId}/receipts",
    response_model_exclude_none=True,
    responses=_ERRORS,
    operation_id="verifyManifestReceipt",
)
def check_receipt(request: Request, manifestId: str, given: shapes.Receipt) -> shapes.VerifiedReceipt:
    """Whether a receipt holds."""
    return verified(service(request).installation, _held(request, manifestId), given)


def _held(request: Request, label: str) -> Held:
    repository = _repository(service(request))
    held = repository.manifest(label) if repository is not None and len(label) <= 256 else None
    if held is None:
        raise ServiceError("this manifest is not known here", status=404, param="manifestId", code="service.not_found")
    return held


# ── store ────────────────────────────────────────────────────────────────────────────────────────────────────────
@router.post(
    "/manifests",
    status_code=201,
    response_model_exclude_none=True,
    dependencies=[Writer],
    responses=_ERRORS,
    operation_id="storeManifest",
    openapi_extra={"requestBody": {"required": True, "content": {C2PA: _FILE}}},
)
async def store(request: Request, returnReceipt: bool = False) -> shapes.Created:
    """Keeps a manifest store of another maker, if its signature holds."""
    here = service(request)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != C2PA:
        raise ServiceError(f"a manifest store is sent as {C2PA}", status=415, code="service.media_type")
    data = await receive_bytes(request, MAX_STORE)
    held = await here.desk.do(lambda: _stored(here, data))
    made = receipt_of(here.installation, held, BASE) if returnReceipt else None
    return shapes.Created(manifestId=held.label, receipt=made)


def _stored(here: Service, data: bytes) -> Held:
    try:
        return Repository(here.installation.log).add(data, here.installation.trust)
    except ManifestError as error:
        raise _refused(error, "body") from None


@router.delete(
    "/manifests/{manifestId}",
    status_code=204,
    response_class=Response,
    dependencies=[Writer],
    responses=_ERRORS,
    operation_id="deleteManifest",
)
def remove(request: Request, manifestId: str) -> Response:
    """Gives up a manifest that was stored here. What was released here stays."""
    _held(request, manifestId)
    try:
        Repository(service(request).installation.log).remove(manifestId)
    except ManifestError as error:
        raise _refused(error, "manifestId") from None
    return Response(status_code=204)


@router.post("/bindings", status_code=201, dependencies=[Writer], responses=_ERRORS, operation_id="storeBinding")
def bind(request: Request, given: shapes.BindingRequest) -> shapes.BindingRequest:
    """Lets a soft binding lead to a stored manifest, which must carry it."""
    return _bound(request, given, again=False)


@router.put("/bindings", dependencies=[Writer], responses=_ERRORS, operation_id="updateBinding")
def bind_again(request: Request, given: shapes.BindingRequest) -> shapes.BindingRequest:
    """The same; one that is there already stays."""
    return _bound(request, given, again=True)


def _bound(request: Request, given: shapes.BindingRequest, *, again: bool) -> shapes.BindingRequest:
    _held(request, given.manifestId)
    try:
        Repository(service(request).installation.log).bind(given.manifestId, given.bindingValue, given.alg, again=again)
    except ManifestError as error:
        raise _refused(error, "bindingValue") from None
    return given


def _refused(error: ManifestError, param: str) -> ServiceError:
    conflict = error.code in ("provenance.manifest.taken", "provenance.manifest.released")
    return ServiceError(error.message, status=409 if conflict else 400, param=param, code=error.code)


# ── service ──────────────────────────────────────────────────────────────────────────────────────────────────────
@router.get("/services/supportedAlgorithms", operation_id="getSupportedBindings")
def algorithms(request: Request) -> shapes.Algorithms:
    """The marks that are looked for."""
    house = service(request).installation
    keys = [None] if house.watermark_key is None else [house.watermark_key, None]
    names = dict.fromkeys(alg for key in keys for alg in house.algorithms(key))
    return shapes.Algorithms(watermarks=[shapes.Algorithm(alg=name) for name in names], fingerprints=[])


@router.get("/services/status", operation_id="getServiceStatus")
def status(request: Request) -> shapes.Status:
    """Whether it answers."""
    here = service(request)
    full = here.desk.full
    return shapes.Status(status="degraded" if full else "ok", timestamp=datetime.now(UTC).isoformat())


@router.get("/services/capabilities", operation_id="getServiceCapabilities")
def capabilities(request: Request) -> shapes.Capabilities:
    """Which optional parts of the API there are."""
    writes = service(request).installation.settings.resolver_token is not None
    found = ["queryByContent", "queryByReference", *(["storeManifests", "storeBindings"] if writes else [])]
    return shapes.Capabilities(c2paSpecificationVersion=VERSION, supportedCapabilities=found)


well_known = APIRouter(tags=["recovery"])


@well_known.get("/.well-known/c2pa-soft-binding-resolution", operation_id="getWellKnown")
def discovery(request: Request) -> shapes.Discovery:
    """Where this API is."""
    base = (service(request).installation.settings.serve_url or "") + BASE
    return shapes.Discovery(
        apiEndpoint=base,
        c2paSpecificationVersion=VERSION,
        capabilitiesEndpoint=f"{base}/services/capabilities",
        statusEndpoint=f"{base}/services/status",
    )
