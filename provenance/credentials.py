"""Reading Content Credentials: what c2pa-rs says about a file, as one value, with its traps closed."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import c2pa

from .history import History, actions_of, generator_text, history_of, mapping, text
from .trust import TrustLevel, TrustLists, claim_level, tsa_level

State = Literal["trusted", "valid", "invalid", "damaged", "absent"]
Binding = Literal["match", "mismatch", "none"]
_MARKERS = (b"jumb", b"c2pa")
_BINDINGS = ("assertion.dataHash", "assertion.bmffHash", "assertion.boxesHash", "assertion.multiAssetHash")
_CREDENTIAL_FAILURES = ("signingCredential.", "timeStamp.", "algorithm.deprecated")
"""Failures that say something of the signer, and nothing of the content."""


@dataclass(frozen=True)
class Credentials:
    """``state``: `trusted` (by a list of ours), `valid` (intact, signer untrusted), `invalid` (bytes or claim do not
    match), `damaged` (credentials are there and cannot be read), `absent`.

    ``soft_bindings``: (alg, value) pairs. ``source_type``: the digitalSourceType URI of the first action that has
    one. ``time``: RFC 3339, of the time-stamp or None. ``failures``: the C2PA status codes of what failed.
    ``binding``: whether the content matches the hash that was signed.
    ``generator``: the claim generator with its version; ``model``: the AI model that is disclosed. ``serial``: of the
    signing certificate, in decimal, where its signer is trusted. ``signer`` and
    everything else that is text was written by whoever made the file."""

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
    binding: Binding = "none"
    generator: str | None = None
    model: str | None = None
    serial: str | None = None
    history: History = field(default_factory=History)


def read_credentials(path: Path, mime: str, trust: TrustLists, *, manifest_store: bytes | None = None) -> Credentials:
    """Reads embedded credentials, or ``manifest_store`` against the file. No network. Never raises for bad bytes."""
    try:
        with path.open("rb") as stream:
            return _interpret(*_read(mime, stream, trust, manifest_store))
    except Exception as error:  # noqa: BLE001  damaged stores raise anything from KeyError to a native error
        if isinstance(error, c2pa.C2paError.ManifestNotFound) or "ManifestNotFound" in str(error):
            # c2pa-rs also says so when the box is there but does not parse as one.
            return Credentials("absent")
        if manifest_store is not None or has_marker(path):
            return Credentials("damaged", detail=str(error)[:200])
        return Credentials("absent", detail=str(error)[:200])


def read_stored(store: bytes, trust: TrustLists) -> Credentials:
    """A manifest store by itself, as a catalog keeps it: whether its signature holds and by whom. There is no content
    to hold it against, so a hash that does not match is no failure of it. Never raises for bad bytes."""
    try:
        found = _read("application/c2pa", io.BytesIO(store), trust, None)
    except Exception as error:  # noqa: BLE001  as above
        return Credentials("damaged", detail=str(error)[:200])
    state, results, document = found
    active = mapping(results.get("activeManifest"))
    left = [s for s in active.get("failure", []) if not str(s.get("code")).startswith(_BINDINGS)]
    if len(left) != len(active.get("failure", [])):
        results = results | {"activeManifest": active | {"failure": left}}
        # c2pa-rs says Invalid by the hash alone; whether the signer is on a list of ours it says in any case.
        about_signer = all(str(s.get("code")).startswith(_CREDENTIAL_FAILURES) for s in left)
        trusted = not left and claim_level(results) != "none"
        state = ("Trusted" if trusted else "Valid") if about_signer else "Invalid"
    return replace(_interpret(state, results, document), binding="none")


def crjson_of(path: Path, mime: str, trust: TrustLists, manifest_store: bytes | None = None) -> dict[str, Any] | None:
    """The whole validation as crJSON (C2PA 2.4), the form that conformance harnesses read; None without credentials."""
    try:
        context = c2pa.Context.from_dict(trust.settings())
        with path.open("rb") as stream, c2pa.Reader(mime, stream, manifest_store, context) as reader:
            return dict(json.loads(reader.crjson()))
    except Exception:  # noqa: BLE001  as above: what cannot be read has no crJSON
        return None


def _read(
    mime: str, stream: Any, trust: TrustLists, store: bytes | None
) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    context = c2pa.Context.from_dict(trust.settings())
    with c2pa.Reader(mime, stream, store, context) as reader:
        state, results = reader.get_validation_state(), reader.get_validation_results() or {}
        document = json.loads(reader.detailed_json())
        if state == "Trusted":
            document["serial"] = _serial(json.loads(reader.json()))
        return state, results, document


def _serial(document: dict[str, Any]) -> str | None:
    """Only c2pa-rs's short form of a manifest tells the serial number."""
    active = mapping(mapping(document.get("manifests")).get(str(document.get("active_manifest"))))
    return text(mapping(active.get("signature_info")).get("cert_serial_number"))


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
    store, signature = mapping(manifest.get("assertion_store")), mapping(manifest.get("signature"))
    active = mapping(results.get("activeManifest"))
    failures = tuple(str(s.get("code")) for s in active.get("failure", []))
    for delta in results.get("ingredientDeltas", []):
        failures += tuple(f"ingredient:{s.get('code')}" for s in delta.get("validationDeltas", {}).get("failure", []))
    binding = _binding(active)
    verdict = _state(state, claim_level(results), failures, binding)
    trust = claim_level(results) if verdict == "trusted" else "none"
    actions = actions_of(store)
    disclosure = next((mapping(v) for k, v in store.items() if k.startswith("c2pa.ai-disclosure")), {})
    return Credentials(
        state=verdict,
        trust=trust,
        time_trust=tsa_level(results),
        signer=text(signature.get("common_name") or signature.get("issuer")),
        time=text(signature.get("time")),
        label=text(label),
        failures=failures,
        soft_bindings=tuple(_soft_bindings(store)),
        source_type=next((a.source_type for a in actions if a.source_type is not None), None),
        actions=tuple(a.action for a in actions),
        ingredients=tuple(
            str(v.get("relationship"))
            for k, v in store.items()
            if k.startswith("c2pa.ingredient") and isinstance(v, dict)
        ),
        record=next(
            (v for k, v in store.items() if k.startswith("org.filigrana.record") and isinstance(v, dict)),
            None,
        ),
        binding=binding,
        generator=generator_text(mapping(manifest.get("claim"))),
        model=text(disclosure.get("modelName")),
        serial=text(document.get("serial")),
        history=history_of(document, results, verdict, trust, failures),
    )


def _state(state: str | None, level: TrustLevel, failures: tuple[str, ...], binding: Binding) -> State:
    """`Invalid` is what c2pa-rs says of an expired certificate too: that is a signer whom nobody can believe, and no
    change of the content."""
    if state in ("Trusted", "Valid"):
        return "trusted" if state == "Trusted" and level != "none" else "valid"
    about_signer = [code.removeprefix("ingredient:").startswith(_CREDENTIAL_FAILURES) for code in failures]
    return "valid" if failures and all(about_signer) and binding == "match" else "invalid"


def _binding(active: dict[str, Any]) -> Binding:
    for kind, answer in (("failure", "mismatch"), ("success", "match")):
        codes = [str(status.get("code")) for status in active.get(kind, [])]
        if any(code.startswith(_BINDINGS) for code in codes):
            return answer  # type: ignore[return-value]
    return "none"


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
