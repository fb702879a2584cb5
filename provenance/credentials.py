"""Reading Content Credentials: what c2pa-rs says about a file, as one value, with its traps closed."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import c2pa

from .trust import TrustLevel, TrustLists, claim_level, tsa_level

State = Literal["trusted", "valid", "invalid", "damaged", "absent"]
_MARKERS = (b"jumb", b"c2pa")


@dataclass(frozen=True)
class Credentials:
    """``state``: `trusted` (by a list of ours), `valid` (intact, signer untrusted), `invalid` (bytes or claim do not
    match), `damaged` (credentials are there and cannot be read), `absent`.

    ``soft_bindings``: (alg, value) pairs. ``source_type``: the digitalSourceType URI of the first action that has
    one. ``time``: RFC 3339, of the time-stamp or None. ``failures``: the C2PA status codes of what failed."""

    state: State
    trust: TrustLevel = "none"
    time_trust: TrustLevel = "none"
    signer: str | None = None
    time: str | None = None
    label: str | None = None
    failures: tuple[str, ...] = ()
    soft_bindings: tuple[tuple[str, str], ...] = ()
    source_type: str | None = None
    actions: tuple[str, ...] = ()
    ingredients: tuple[str, ...] = ()
    record: dict[str, Any] | None = None
    detail: str = ""


def read_credentials(path: Path, mime: str, trust: TrustLists, *, manifest_store: bytes | None = None) -> Credentials:
    """Reads embedded credentials, or ``manifest_store`` against the file. No network. Never raises for bad bytes."""
    context = c2pa.Context.from_dict(trust.settings())
    try:
        with path.open("rb") as stream, c2pa.Reader(mime, stream, manifest_store, context) as reader:
            state = reader.get_validation_state()
            results = reader.get_validation_results() or {}
            document = json.loads(reader.detailed_json())
    except Exception as error:  # noqa: BLE001  damaged stores raise anything from KeyError to a native error
        if isinstance(error, c2pa.C2paError.ManifestNotFound) or "ManifestNotFound" in str(error):
            # c2pa-rs also says so when the box is there but does not parse as one.
            return Credentials("absent")
        if manifest_store is not None or has_marker(path):
            return Credentials("damaged", detail=str(error)[:200])
        return Credentials("absent", detail=str(error)[:200])
    return _interpret(state, results, document)


def has_marker(path: Path) -> bool:
    """Whether the bytes of a JUMBF box with C2PA content stand anywhere in the file. Reads in blocks of 1 MiB."""
    found, tail = set[bytes](), b""
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            data = tail + block
            found |= {marker for marker in _MARKERS if marker in data}
            if len(found) == len(_MARKERS):
                return True
            tail = data[-8:]
    return False


def _interpret(state: str | None, results: dict[str, Any], document: dict[str, Any]) -> Credentials:
    label = document.get("active_manifest")
    manifest = document.get("manifests", {}).get(label)
    if not isinstance(manifest, dict):
        return Credentials("damaged", detail="the active manifest is missing")
    store = manifest.get("assertion_store", {})
    signature = manifest.get("signature", {})
    active = results.get("activeManifest", {})
    failures = tuple(str(s.get("code")) for s in active.get("failure", []))
    for delta in results.get("ingredientDeltas", []):
        failures += tuple(f"ingredient:{s.get('code')}" for s in delta.get("validationDeltas", {}).get("failure", []))
    level = claim_level(results)
    verdict: State = "invalid"
    if state in ("Trusted", "Valid"):
        verdict = "trusted" if state == "Trusted" and level != "none" else "valid"
    actions = _actions(store)
    return Credentials(
        state=verdict,
        trust=level if verdict == "trusted" else "none",
        time_trust=tsa_level(results),
        signer=signature.get("common_name") or signature.get("issuer"),
        time=signature.get("time"),
        label=label,
        failures=failures,
        soft_bindings=tuple(_soft_bindings(store)),
        source_type=next((a["digitalSourceType"] for a in actions if "digitalSourceType" in a), None),
        actions=tuple(str(a.get("action")) for a in actions),
        ingredients=tuple(
            str(v.get("relationship"))
            for k, v in store.items()
            if k.startswith("c2pa.ingredient") and isinstance(v, dict)
        ),
        record=next(
            (v for k, v in store.items() if k.startswith("org.filigrana.record") and isinstance(v, dict)),
            None,
        ),
    )


def _actions(store: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key, value in store.items():
        if key.startswith("c2pa.actions") and isinstance(value, dict):
            found += [action for action in value.get("actions", []) if isinstance(action, dict)]
    return found


def _soft_bindings(store: dict[str, Any]) -> list[tuple[str, str]]:
    """Values arrive as text, bytes or a list of numbers, according to who wrote them."""
    pairs = []
    for key, value in store.items():
        if not key.startswith("c2pa.soft-binding") or not isinstance(value, dict):
            continue
        for block in value.get("blocks", []):
            raw = block.get("value") if isinstance(block, dict) else None
            if isinstance(raw, list) and all(isinstance(n, int) and 0 <= n < 256 for n in raw):
                raw = bytes(raw)
            if isinstance(raw, bytes):
                raw = raw.decode("utf-8", "replace")
            if isinstance(raw, str):
                pairs.append((str(value.get("alg", "")), raw))
    return pairs


def manifest_document(store: bytes, mime: str, asset: bytes) -> dict[str, Any]:
    """The whole manifest store as a dict, for `audit show` and reports."""
    context = c2pa.Context.from_dict(TrustLists().settings())
    with c2pa.Reader(mime, io.BytesIO(asset), store, context) as reader:
        document = json.loads(reader.detailed_json())
    return dict(document)
