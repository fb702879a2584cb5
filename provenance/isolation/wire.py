"""What crosses between host and child, to JSON and back. The child's words are checked, the host's are believed."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...errors import FiligranaError, MediaError
from ..finding import EXIT_CODES, Evidence, Finding, Region
from ..identity import AssetId
from ..records import AssetRecord, LogEvidence, PreviewImage, RevokedKey, StoredManifest
from ..reports.facts import FileFacts
from ..resolver_port import Resolver

QUESTIONS = (
    "by_asset_id",
    "by_binding",
    "by_sha256",
    "preview",
    "manifest",
    "revoked",
    "revoked_signer",
    "log_evidence",
)
_TEXT = 4096
_STATUSES = ("ok", "warning", "failed", "absent")


@dataclass(frozen=True)
class Config:
    """How the child verifies: PEM trust lists as (kind, level, pem), the watermark's key, limits of media."""

    claim: tuple[tuple[str, str], ...] = ()
    tsa: tuple[tuple[str, str], ...] = ()
    key: bytes | None = None
    layers: tuple[str, ...] = ()
    pixels: int = 50_000_000
    bytes: int = 4 << 30
    seconds: float = 4 * 3600.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"key": None if self.key is None else _b64(self.key)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Config:
        key = value["key"]
        return cls(
            tuple((level, pem) for level, pem in value["claim"]),
            tuple((level, pem) for level, pem in value["tsa"]),
            None if key is None else base64.b64decode(key),
            tuple(value["layers"]),
            value["pixels"],
            value["bytes"],
            value["seconds"],
        )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# ── questions of the child ───────────────────────────────────────────────────────────────────────────────────────
def answer(resolvers: list[Resolver], message: dict[str, Any]) -> dict[str, Any]:
    """The host's answer to a child's question; a question out of form is a ValueError."""
    which, name, arguments = message.get("resolver"), message.get("ask"), message.get("with")
    if not isinstance(which, int) or not 0 <= which < len(resolvers) or name not in QUESTIONS:
        raise ValueError("no such question")
    resolver = resolvers[which]
    if not isinstance(arguments, list) or not all(isinstance(a, str) and len(a) <= _TEXT for a in arguments):
        raise ValueError("no such question")
    try:
        return {"answer": _asked(resolver, str(name), arguments)}
    except FiligranaError as error:
        return {"error": error.message}
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001  a database that is gone knows nothing, and says no more than its kind
        return {"error": type(error).__name__}


def _asked(resolver: Resolver, name: str, arguments: list[str]) -> Any:
    match name, arguments:
        case "by_binding", [alg, value]:
            return record_out(resolver.by_binding(alg, value))
        case "by_sha256", [digest]:
            return record_out(resolver.by_sha256(bytes.fromhex(digest)))
        case "by_asset_id", [ident]:
            return record_out(resolver.by_asset_id(AssetId.parse(ident)))
        case "preview", [ident]:
            found = resolver.preview(AssetId.parse(ident))
            return None if found is None else asdict(found) | {"data": _b64(found.data)}
        case "manifest", [ident]:
            stored = resolver.manifest(AssetId.parse(ident))
            return None if stored is None else {"label": stored.label, "store": _b64(stored.store)}
        case "revoked", [ident, at]:
            revoked = resolver.revoked(AssetId.parse(ident), datetime.fromisoformat(at) if at else None)
            return None if revoked is None else asdict(revoked)
        case "revoked_signer", [serial, at]:
            revoked = resolver.revoked_signer(serial, datetime.fromisoformat(at) if at else None)
            return None if revoked is None else asdict(revoked)
        case "log_evidence", [ident]:
            # By id: the record that the child holds is not to be trusted with the answer.
            record = resolver.by_asset_id(AssetId.parse(ident))
            if record is None:
                return asdict(LogEvidence(False, None, None, "the catalog does not know the asset"))
            return asdict(resolver.log_evidence(record))
        case _:
            raise ValueError("no such question")


class AskingResolver:
    """A resolver of the host's, asked from the child. ``ask``: sends a question, returns the answer."""

    def __init__(self, ask: Any, which: int, name: str) -> None:
        self._ask_host, self._which, self._name = ask, which, name

    @property
    def name(self) -> str:
        return self._name

    def _ask(self, name: str, *arguments: str) -> Any:
        said = self._ask_host({"resolver": self._which, "ask": name, "with": list(arguments)})
        if "error" in said:
            raise FiligranaError(str(said["error"]), code="catalog")
        return said["answer"]

    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None:
        return record_in(self._ask("by_asset_id", str(asset_id)))

    def by_binding(self, alg: str, value: str) -> AssetRecord | None:
        return record_in(self._ask("by_binding", alg[:_TEXT], value[:_TEXT]))

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        return record_in(self._ask("by_sha256", digest.hex()))

    def preview(self, asset_id: AssetId) -> PreviewImage | None:
        found = self._ask("preview", str(asset_id))
        return None if found is None else PreviewImage(**(found | {"data": base64.b64decode(found["data"])}))

    def manifest(self, asset_id: AssetId) -> StoredManifest | None:
        found = self._ask("manifest", str(asset_id))
        return None if found is None else StoredManifest(found["label"], base64.b64decode(found["store"]))

    def revoked(self, asset_id: AssetId, at: datetime | None) -> RevokedKey | None:
        found = self._ask("revoked", str(asset_id), "" if at is None else at.isoformat())
        return None if found is None else RevokedKey(**found)

    def revoked_signer(self, serial: str, at: datetime | None) -> RevokedKey | None:
        found = self._ask("revoked_signer", serial, "" if at is None else at.isoformat())
        return None if found is None else RevokedKey(**found)

    def log_evidence(self, record: AssetRecord) -> LogEvidence:
        return LogEvidence(**self._ask("log_evidence", str(record.asset_id)))


def record_out(record: AssetRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    found = asdict(record)
    created = record.created_at
    return found | {
        "asset_id": str(record.asset_id),
        "sha256": record.sha256.hex(),
        "intent_id": None,
        "public_name": None,
        "created_at": None if created is None else created.isoformat(),
    }


def record_in(value: dict[str, Any] | None) -> AssetRecord | None:
    """Raises MediaError, KeyError or TypeError for what is no record: a remote catalog's word comes through here."""
    if value is None:
        return None
    try:
        created = value.get("created_at")
        return AssetRecord(
            asset_id=AssetId.parse(str(value["asset_id"])),
            media=str(value["media"]),
            mime=str(value["mime"]),
            sha256=bytes.fromhex(value["sha256"]),
            byte_count=int(value["byte_count"]),
            source_type=str(value["source_type"]),
            width=_number(value.get("width")),
            height=_number(value.get("height")),
            duration=None if value.get("duration") is None else float(value["duration"]),
            log_index=_number(value.get("log_index")),
            created_at=None if created is None else datetime.fromisoformat(created),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MediaError("a catalog's record is not in form", code="catalog.form") from error


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


# ── the finding ──────────────────────────────────────────────────────────────────────────────────────────────────
def finding_out(finding: Finding) -> dict[str, Any]:
    value = {name: getattr(finding, name) for name in _PLAIN}
    return value | {
        "asset_id": None if finding.asset_id is None else str(finding.asset_id),
        "evidence": [asdict(e) for e in finding.evidence],
        "regions": [asdict(r) for r in finding.regions],
        "thumbnail": None if finding.thumbnail is None else _b64(finding.thumbnail),
        "facts": finding.facts,
        "looked_at": [[time, _b64(picture)] for time, picture in finding.looked_at],
    }


_PLAIN = ("finding", "trust", "match", "signer", "time", "made_by", "history", "media", "record", "crjson")


def finding_in(value: Any, path: Path, seconds: float, at: datetime | None) -> Finding:
    """The child's finding. Raises ValueError for what is none."""
    try:
        value = _encodable(value)
        _check_form(value)
        if value["finding"] not in EXIT_CODES or value["trust"] not in ("c2pa", "configured", "development", "none"):
            raise ValueError("no such finding")
        evidence = tuple(Evidence(str(e["technique"]), e["status"], str(e["detail"])) for e in value["evidence"])
        if any(e.status not in _STATUSES for e in evidence):
            raise ValueError("no such status")
        ident = value["asset_id"]
        return Finding(
            str(path),
            evidence=evidence,
            asset_id=None if ident is None else AssetId.parse(ident),
            seconds=seconds,
            at=at,
            regions=tuple(Region(**region) for region in value["regions"]),
            thumbnail=None if value["thumbnail"] is None else base64.b64decode(value["thumbnail"]),
            facts=_facts(value.get("facts")),
            looked_at=tuple((float(t), base64.b64decode(p)) for t, p in (value.get("looked_at") or [])[:8]),
            cpu_seconds=float(value["cpu_seconds"]) if value.get("cpu_seconds") is not None else None,
            **{name: value[name] for name in _PLAIN},
        )
    except (KeyError, TypeError, AttributeError, RecursionError, FiligranaError) as error:
        raise ValueError("no finding") from error


def _encodable(value: Any) -> Any:
    """The same without halves of surrogate pairs, which JSON can spell and no page or terminal can be sent."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value


def _facts(value: Any) -> dict[str, Any] | None:
    """Facts in form, or ValueError; what an older finding has none of is None."""
    return None if value is None else FileFacts.from_json(value).to_json()


_NODE = {"id": str, "title": str, "kind": str, "state": str, "actions": list, "failures": list}
_EDGE = {"from": str, "to": str, "relationship": str}


def _check_form(value: dict[str, Any]) -> None:
    """What the words and pages that show a finding rely on. Raises ValueError, KeyError, TypeError."""
    for name in ("signer", "time", "match"):
        _must(value[name] is None or isinstance(value[name], str))
    for name in ("made_by", "media", "record", "crjson"):
        _must(value[name] is None or isinstance(value[name], dict))
    for region in value["regions"]:
        _must(all(isinstance(region[side], int | float) for side in ("left", "top", "right", "bottom")))
    for name in ("width", "height", "bytes", "duration"):
        _must(isinstance((value["media"] or {}).get(name), int | float | None))
    nodes, edges = (value["history"].get(name, []) for name in ("nodes", "edges"))
    _must(isinstance(nodes, list) and isinstance(edges, list))
    for items, form in ((nodes, _NODE), (edges, _EDGE)):
        _must(all(isinstance(item[name], kind) for item in items for name, kind in form.items()))
    _must(all(isinstance(step["action"], str) for node in nodes for step in node["actions"]))


def _must(formed: bool) -> None:
    if not formed:
        raise ValueError("no finding")
