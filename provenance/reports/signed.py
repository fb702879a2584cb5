"""The signed note over a report's files: what an auditor holds them against. Pure, no IO.

The note names the files with their SHA-256, the log, the size and root of the tree that was counted, and the window. It
is signed with the log's key under a name of its own (``<log>/reports``), so that no report passes for a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from ...errors import LogError, TamperError
from ..log import canonical
from ..log.merkle import leaf_hash, verify_inclusion
from ..log.note import Note, NoteSigner, Renamed, VerifierKey, sign

TYPE = "filigrana.compliance-report.v1"
_SUFFIX = "/reports"


def report_note(
    files: Mapping[str, str], tree: Mapping[str, Any], window: Mapping[str, str], signer: NoteSigner
) -> str:
    """``files``: SHA-256 in hex by file name."""
    said = {"type": TYPE, "files": dict(files), "tree": dict(tree), "window": dict(window)}
    return sign(canonical.encode(said).decode() + "\n", Renamed(signer, _SUFFIX))


def open_note(note: str, keys: Iterable[VerifierKey]) -> dict[str, Any]:
    """What the note says. Raises TamperError where no such key signed it, LogError where it is no report's."""
    parsed = Note.parse(note)
    parsed.verified_by([VerifierKey(key.name + _SUFFIX, key.public_key) for key in keys])
    try:
        said = json.loads(parsed.text)
        good = said["type"] == TYPE and isinstance(said["files"], dict) and isinstance(said["tree"], dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        good = False
    if not good:
        raise LogError("the signed text is no compliance report", code="log.note")
    return dict(said)


def check_sample(sample: Mapping[str, Any], tree: Mapping[str, Any]) -> None:
    """Raises TamperError where a sample's entry is not in the tree, or says something else than the sample."""
    try:
        leaf = str(sample["leaf"]).encode()
        path = [bytes.fromhex(item) for item in sample["proof"]]
        root, entry = bytes.fromhex(tree["root"]), json.loads(leaf)
        verify_inclusion(leaf_hash(leaf), int(sample["index"]), int(tree["size"]), path, root)
        said = {name: entry.get(name) for name in ("asset_id", "sha256", "mime")}
        said["bindings"] = entry.get("bindings") or []
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TamperError("a sample of the report is out of form") from error
    if said != {name: sample.get(name) for name in said}:
        raise TamperError(f"the entry of the sample {sample.get('asset_id')} is about something else")


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()
