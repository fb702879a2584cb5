"""A small log with one release and everything that goes into an auditor's bundle, for tests."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from filigrana.provenance.certificates import make_tsa_chain
from filigrana.provenance.log.bundle import Bundle, Enclosures, make_bundle
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.record import note_digest, signed_record

ASSET = "A7V2THD7FR34"
POLICY = b"id: newsroom\nversion: 1.0.0\n"
MANIFEST = b"jumb-a C2PA manifest store"


@dataclass(frozen=True)
class SmallAudit:
    log: AuditLog
    signer: Ed25519LogSigner
    enclosures: Enclosures

    def bundle(self, indexes: list[int] | None = None, **options: object) -> Bundle:
        chosen = list(range(2, 7)) if indexes is None else indexes
        options.setdefault("assets", [ASSET] if 6 in chosen else [])
        return make_bundle(self.log, chosen, self.enclosures, **options)


def small_audit(folder: Path) -> SmallAudit:
    """Eight entries, of which 2 to 6 are one asset's; checkpoints over 3, 5 and 8."""
    signer = Ed25519LogSigner.create(folder / "log.pem", "example.com/log")
    log = AuditLog(f"sqlite:///{folder / 'audit.db'}", signer=signer, guard_path=folder / "guard")
    policy = {"id": "newsroom", "version": "1.0.0", "digest": sha256(POLICY).hexdigest()}
    after = {
        "asset_id": ASSET,
        "sha256": "ab" * 32,
        "manifest": "urn:c2pa:1",
        "manifest_sha256": sha256(MANIFEST).hexdigest(),
    }
    note = signed_record({"actor": "actor:1", "policy": policy}, after, signer)
    release: dict[str, object] = {
        "type": "release",
        "asset_id": ASSET,
        "sha256": "ab" * 32,
        "manifest": "urn:c2pa:1",
        "record": note_digest(note),
    }
    entries: list[dict[str, object]] = [
        {"type": "other", "n": 0}, {"type": "other", "n": 1},
        {"type": "intent", "request": {"policy": policy}}, {"type": "decision", "decision": {"policy": policy}},
        {"type": "decision", "text": "é \u2028 <b>"}, {"type": "result"}, release, {"type": "other", "n": 7},
    ]  # fmt: skip
    for number, entry in enumerate(entries, 1):
        log.append(entry)
        if number in (3, 5, 8):
            log.checkpoint()
    leaf, _ = make_tsa_chain(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    pem = leaf.certificate.public_bytes(Encoding.PEM)
    return SmallAudit(log, signer, Enclosures({ASSET: note}, {ASSET: [MANIFEST]}, [pem], [POLICY]))
