"""Who is believed: claim signers and time-stamp authorities on lists of their own, each list with a level.

c2pa-rs 0.91.3 does not enforce `trust_kind`: a root given for time-stamps also makes a claim signer Trusted, and the
reverse. So every list gets a URI that names its kind and level, the library reports the URI of the list that it
found the root on, and `claim_level` and `tsa_level` accept only a URI of the right kind. Claim lists come first, so
that a root on both lists counts for claims; for time-stamps it then counts for nothing: closed, not open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

TrustLevel = Literal["c2pa", "configured", "development", "none"]
_CLAIM = "urn:filigrana:trust:claim:"
_TSA = "urn:filigrana:trust:tsa:"
_TSA_LIST = re.compile(r"trust list: (\S+)$")
_NAMED = re.compile(r"^signing certificate trusted, found in \[(\S+)\] trust anchors$")
_LEVELS: tuple[TrustLevel, ...] = ("c2pa", "configured", "development")


@dataclass(frozen=True)
class TrustList:
    """PEM certificates of roots (and trusted intermediates) with the level that they give."""

    level: TrustLevel
    pem: str


@dataclass(frozen=True)
class TrustLists:
    """What this verifier was configured with. Empty lists trust nobody."""

    claim: tuple[TrustList, ...] = ()
    tsa: tuple[TrustList, ...] = ()

    def settings(self) -> dict[str, Any]:
        """The c2pa settings for reading: no network, our lists, and time-stamps always checked."""
        anchors = [
            {"trust_anchors": item.pem, "trust_uri": prefix + item.level, "trust_kind": kind}
            for prefix, kind, items in ((_CLAIM, "manifest", self.claim), (_TSA, "tsa", self.tsa))
            for item in items
        ]
        # The library's default trust is replaced even when we trust nobody.
        return base_settings() | {"trust": {"anchors": anchors}}


def base_settings() -> dict[str, Any]:
    """What holds for reading and for signing. Unknown keys are ignored without a word, so a test reads these back."""
    return {
        "version": 1,
        "core": {"allowed_network_hosts": [], "backing_store_memory_threshold_in_mb": 64},
        "verify": {
            "verify_trust": True,
            "verify_timestamp_trust": True,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        "builder": {
            "thumbnail": {"enabled": False},
            "bmff_hash_exclude_free_and_skip_boxes": False,
        },
    }


def _level(uri: str, prefix: str) -> TrustLevel:
    level = uri.removeprefix(prefix) if uri.startswith(prefix) else ""
    return next((known for known in _LEVELS if known == level), "none")


def claim_level(results: dict[str, Any]) -> TrustLevel:
    """The level of the claim signer in c2pa validation results, `none` unless a claim list of ours named it."""
    return _level(str(results.get("trustListUri") or ""), _CLAIM)


def tsa_level(results: dict[str, Any]) -> TrustLevel:
    """The level of the time-stamp in c2pa validation results, `none` unless a time-stamp list of ours named it."""
    for status in results.get("activeManifest", {}).get("success", []):
        if status.get("code") == "timeStamp.trusted":
            found = _TSA_LIST.search(str(status.get("explanation", "")))
            return _level(found.group(1), _TSA) if found else "none"
    return "none"


def level_in_explanation(text: str) -> TrustLevel:
    """The level of the claim list of ours that a status names, as in "found in [urn:…] trust anchors"."""
    found = _NAMED.search(text)
    return _level(found.group(1), _CLAIM) if found else "none"
