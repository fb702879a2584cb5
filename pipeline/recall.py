"""After a key was compromised: revoke it for a stretch of the log, list what it signed there, and sign that again.

Signing again makes a new manifest whose parent is the file with its old one, over the same content; the file is
replaced under its public name. The order is: sign and read back, keep the file in ``recall/``, commit manifest row and
log entry, sign a checkpoint, rename. A kill in between is made good by the next `resign`: what was committed and not
yet renamed is renamed, or, if the kept file is gone, signed once more.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryptography import x509

from ..errors import FiligranaError, InputError, LogError
from ..provenance.catalog import AssetRecord, Catalog
from ..provenance.credentials import manifest_document
from ..provenance.database import session
from ..provenance.identity import AssetId
from ..provenance.log.canonical import time_text
from ..provenance.log.search import Query
from ..provenance.manifest import Model, Statement
from ..provenance.media import kind_of_mime, open_media
from ..provenance.revocations import (
    Range,
    fingerprint,
    newest_resigning,
    ranges,
    record_resigning,
    record_revocation,
    signed_within,
    signer_serial,
    standing_resigning,
)
from ..provenance.rotation import old_leaves
from .finish import Finished, Material
from .installation import Installation
from .making import file_digest
from .parts import version
from .store import beside

Status = Literal["signed again", "to be signed again", "missing", "changed", "failed"]


@dataclass(frozen=True)
class Recalled:
    """One asset that the revoked key signed. ``file``: on this machine; ``where``: where people find it; ``detail``:
    why it could not be signed again."""

    asset_id: AssetId
    log_index: int
    file: Path
    where: str
    status: Status
    detail: str = ""


def known_leaves(house: Installation) -> dict[str, x509.Certificate]:
    """Certificates that sign or signed here, by SHA-256 in hex."""
    now = x509.load_pem_x509_certificates(house.signer().chain_pem.encode())[0]
    return old_leaves(house.keys.folder) | {fingerprint(now): now}


def revoke(
    house: Installation,
    *,
    first: int,
    last: int | None,
    reason: str,
    certificate: str | None = None,
    chain: Path | None = None,
) -> tuple[int, Range]:
    """Marks the releases ``first`` to ``last`` of a certificate, by default of the one that signs now. ``certificate``:
    the beginning of its SHA-256; ``chain``: its PEM, where it is not known here. Returns the log index of the entry."""
    leaf = _leaf(house, certificate, chain)
    size = house.log.size()
    if not 0 <= first < max(size, 1) or (last is not None and not first <= last):
        raise InputError(f"the log has the entries 0 to {size - 1}", code="input.range")
    range_ = Range(fingerprint(leaf), str(leaf.serial_number), first, last, reason)
    entry = {
        "type": "key-revocation",
        "time": time_text(house.clock()),
        "certificate": range_.fingerprint,
        "first": first,
        "last": last,
        "reason": reason,
    }
    with house.log.transaction() as transaction:
        index = transaction.append(entry)
        record_revocation(transaction.session, index, range_)
    house.log.checkpoint()
    return index, range_


def _leaf(house: Installation, certificate: str | None, chain: Path | None) -> x509.Certificate:
    if chain is not None:
        try:
            return x509.load_pem_x509_certificates(chain.read_bytes())[0]
        except (OSError, ValueError) as error:
            raise InputError(f"{chain.name} is not a PEM certificate", code="input.certificate") from error
    if certificate is None:
        return x509.load_pem_x509_certificates(house.signer().chain_pem.encode())[0]
    found = [leaf for name, leaf in known_leaves(house).items() if name.startswith(certificate.lower())]
    if len(found) != 1 or len(certificate) < 8:
        raise InputError(
            "no single certificate that signed here has this fingerprint",
            code="input.certificate",
            hint="Give 8 hex digits of its SHA-256 at least, or its PEM file with --chain.",
        )
    return found[0]


def indices_between(house: Installation, since: str, until: str | None) -> tuple[int, int]:
    """The first and last log index of releases from that time on, and before ``until``."""
    found = [index for index, _ in house.log.search(Query(type="release", since=since, until=until))]
    if not found:
        raise InputError("nothing was released in that time", code="input.range")
    return found[0], found[-1]


def recalled(house: Installation) -> list[Recalled]:
    """Every asset that a revoked certificate signed in its range, and whether it was signed again."""
    with session(house.log.engine) as rows:
        found = {ident: None for row in ranges(rows) for ident in signed_within(rows, row)}
        return [_state(house, Catalog(rows), rows, ident) for ident in found]


def _state(house: Installation, catalog: Catalog, rows: Any, ident: AssetId) -> Recalled:
    record = catalog.by_asset_id(ident)
    if record is None or record.public_name is None or record.log_index is None:
        raise LogError(f"the catalog has no whole row of {ident}")
    file, again = house.store.path(record.public_name), newest_resigning(rows, ident)
    found = Recalled(ident, record.log_index, file, house.store.where(record.public_name), "to be signed again")
    try:
        carrier = _carrier(house, record.public_name)
        digest = bytes.fromhex(file_digest(carrier))
    except FileNotFoundError:
        return replace(found, status="missing", detail="its file is not in the store")
    standing = standing_resigning(rows, ident)
    if standing is not None and digest == standing.sha256:
        return replace(found, status="signed again")
    if again is None and carrier == file and digest != record.sha256:
        return replace(found, status="changed", detail="its file is not the one that was released")
    return found


def _carrier(house: Installation, name: str) -> Path:
    """What of a released file holds its credentials, itself or its sidecar, with both on this machine. Raises
    FileNotFoundError where the file is not in the store."""
    file = house.store.fetched(name)
    if not file.is_file():
        raise FileNotFoundError(2, "not in the store", name)
    side = beside(name)
    return house.store.fetched(side) if side != name and house.store.exists(side) else file


def resign(house: Installation) -> Iterator[Recalled]:
    """Signs what `recalled` lists with the key of today, one asset after the other. Raises InputError where that is a
    revoked one itself; an asset that fails is told, and the others go on."""
    current = fingerprint(x509.load_pem_x509_certificates(house.signer().chain_pem.encode())[0])
    with session(house.log.engine) as rows:
        if any(row.fingerprint == current and row.last_index is None for row in ranges(rows)):
            raise InputError(
                "the key that signs now is revoked itself",
                code="input.revoked",
                hint="Take another first: `keys rotate` or `keys import`.",
            )
    with _alone(house.recall_folder):
        for item in recalled(house):
            if item.status != "to be signed again":
                yield item
                continue
            try:
                _again(house, item)
                yield replace(item, status="signed again")
            except FiligranaError as error:
                yield replace(item, status="failed", detail=error.message)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One recall at a time on this machine; what a dead one left to work in is removed."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in folder.glob(".work-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(handle)


def _again(house: Installation, item: Recalled) -> None:
    with session(house.log.engine) as rows:
        catalog = Catalog(rows)
        record, stores = catalog.by_asset_id(item.asset_id), catalog.manifests(item.asset_id)
        bindings, again = catalog.bindings(item.asset_id), standing_resigning(rows, item.asset_id)
        revoked = catalog.revocation(item.asset_id)
    if record is None or record.public_name is None or revoked is None:
        raise LogError(f"the catalog has no whole row of {item.asset_id}")
    side = beside(record.public_name)
    name = side if house.store.exists(side) else record.public_name
    kept = house.recall_folder / f"{item.asset_id}{Path(name).suffix}"
    if again is not None and kept.is_file() and bytes.fromhex(file_digest(kept)) == again.sha256:
        house.log.checkpoint()
        house.store.replace(kept, name)
        return
    serials = {label: signer_serial(store) for label, store in stores.items()}
    old = min(stores, key=lambda label: (label == (again.label if again else None), label))
    with tempfile.TemporaryDirectory(dir=house.recall_folder, prefix=".work-") as folder:
        done = _signed(house, record, stores[old], bindings, revoked.reason, Path(folder))
        carrier = done.sidecar or done.path
        with carrier.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(carrier, kept)
    digest = bytes.fromhex(file_digest(kept))
    entry = {
        "type": "resign",
        "time": time_text(house.clock()),
        "asset_id": str(item.asset_id),
        "revocation": revoked.log_index,
        "old_manifest": old,
        "old_serial": serials[old],
        "manifest": done.credentials.label,
        "sha256": digest.hex(),
    }
    with house.log.transaction() as transaction:
        index = transaction.append(entry)
        record_resigning(transaction.session, index, item.asset_id, done.credentials.label or "", done.store, digest)
    house.log.checkpoint()
    house.store.replace(kept, name)


def _signed(house: Installation, record: AssetRecord, store: bytes, bindings: Any, reason: str, work: Path) -> Finished:
    """The same content under a new manifest, read back as a stranger would."""
    finisher = house.finisher()
    assert record.public_name is not None  # noqa: S101  checked by the caller
    _carrier(house, record.public_name)  # they may be gone from this machine since it was listed
    file = house.store.path(record.public_name)
    said = _old_claims(store)
    media = open_media(file, finisher.limits)
    statement = Statement(
        asset_id=record.asset_id,
        title=str(record.asset_id),
        mime=record.mime,
        source_type="ai" if record.source_type == "generated" else record.source_type,  # type: ignore[arg-type]
        made_at=house.clock(),
        version=version(),
        record=said["record"] | {"resigned": {"reason": reason}},
        bindings=tuple(pair for pair in bindings if pair in said["bindings"]),
        model=said["model"],
    )
    target = work / "finished"
    signed = finisher.sign(file, statement, Material(kind_of_mime(record.mime), (), source=media), target)
    return finisher.read_back(target, signed, statement, lambda _: None)


def _old_claims(store: bytes) -> dict[str, Any]:
    document = manifest_document(store, "application/c2pa", store)
    manifest = document["manifests"][document["active_manifest"]]["assertion_store"]
    record = {k: v for k, v in manifest.get("org.filigrana.record", {}).items() if k != "assetId"}
    bindings = [
        (str(value["alg"]), str(block["value"]))
        for name, value in manifest.items()
        if name.startswith("c2pa.soft-binding")
        for block in value["blocks"]
    ]
    told = manifest.get("c2pa.ai-disclosure")
    model = None if told is None else Model(str(told["modelName"]), "", str(told["modelIdentifier"]), "")
    return {"record": record, "bindings": bindings, "model": model}


def parsed_time(text: str) -> str:
    """RFC 3339, or a date, as entries have it. Raises InputError."""
    try:
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise InputError("a time is written like 2026-11-24 or 2026-11-24T12:00:00Z", code="input.time") from error
    return time_text(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
