"""Receipts: the audit log's inclusion proof of what a manifest was released, or taken in, with."""

from __future__ import annotations

import json
from hashlib import sha256

from ...errors import FiligranaError, ServiceError
from ...provenance.log.proof import HEADER, LogProof
from ...provenance.repository import Held
from ..installation import Installation
from . import recovery_models as shapes

TYPE = "org.c2pa.manifest-receipt"
_CONTEXT = {"receipt": "https://c2pa.org/ns/manifest-receipt#"}


def receipt_of(installation: Installation, held: Held, base: str) -> shapes.Receipt:
    """Raises ServiceError (404) where the log cannot prove it now."""
    try:
        if held.log_index is None:
            raise ServiceError("there is no entry of this manifest in the log", status=404, code="service.receipt")
        proof = installation.log.prove(held.log_index, embed_entry=True)
    except FiligranaError as error:
        raise ServiceError("the log cannot prove this now", status=404, code="service.receipt") from error
    keys = [str(key) for key in installation.log.keys]
    return shapes.Receipt.model_validate(
        {
            "@context": _CONTEXT,
            "@type": TYPE,
            "repository": {"uri": (installation.settings.serve_url or "") + base, "manifestId": held.label},
            "anchor": {
                "uri": installation.log.keys[0].name,
                "parameters": {"index": held.log_index, "logKeys": keys},
                "proof": {"format": HEADER, "tlogProof": proof},
            },
        }
    )


def verified(installation: Installation, held: Held, given: shapes.Receipt) -> shapes.VerifiedReceipt:
    """The receipt with the result: the proof holds under the log's own keys, and its entry is of this manifest."""
    error = _wrong(installation, held, given)
    return shapes.VerifiedReceipt(**given.model_dump(by_alias=True), verified=error is None, error=error)


def _wrong(installation: Installation, held: Held, given: shapes.Receipt) -> str | None:
    text = given.anchor.proof.get("tlogProof")
    if given.type != TYPE or not isinstance(text, str):
        return "this is no receipt of this repository"
    if given.repository.manifestId != held.label:
        return "the receipt is of another manifest"
    try:
        proof = LogProof.parse(text)
        # The keys that stand in the receipt prove nothing: whoever wrote it chose them.
        proof.verify(installation.log.keys)
        entry = json.loads(proof.extra or b"{}")
    except (FiligranaError, ValueError) as failure:
        return failure.message if isinstance(failure, FiligranaError) else "the proof's entry does not parse"
    if not isinstance(entry, dict) or entry.get("manifest") != held.label:
        return "the entry is of another manifest"
    if held.asset_id is None and entry.get("sha256") != sha256(held.store).hexdigest():
        return "the entry is of another manifest"
    return None
