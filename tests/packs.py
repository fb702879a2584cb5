"""Small policy packs for tests."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from filigrana.safety.policy import Pack, parse_pack

SMALL: dict[str, Any] = {
    "id": "test", "version": "1.0.0", "title": "t", "description": "d",
    "requires": {"prompt": ["lexicon"], "generated": ["nsfw"], "sealed": ["nsfw"]},
    "lists": {"bad": ["badword"], "other": ["otherword"]},
    "rules": [
        {
            "id": "TS-001", "title": "bad words", "hazard": "vcr", "side": "prompt", "verdict": "block",
            "reason": "because of the test", "terms": {"all_of": ["bad"]},
            "tests": {"match": ["a badword"], "no_match": ["a good word"]},
        },
    ],
}  # fmt: skip


def small(**changes: Any) -> dict[str, Any]:
    """A document of its own to change."""
    return copy.deepcopy(SMALL) | changes


def guarded(guard: str, hazard: str, at_least: float, **changes: Any) -> dict[str, Any]:
    document = small(**changes)
    document["requires"]["prompt"] = ["lexicon", guard]
    document["rules"].append({
        "id": "TS-002", "title": "a score", "hazard": hazard, "side": "prompt", "verdict": "block",
        "reason": "because of the score", "score": {"guard": guard, "at_least": at_least},
    })  # fmt: skip
    return document


class _Plain(yaml.SafeDumper):
    """Packs have no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def data_of(document: dict[str, Any]) -> bytes:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True).encode()


def pack_of(document: dict[str, Any]) -> Pack:
    return parse_pack(data_of(document))


def pack_with_guard(guard: str, hazard: str, at_least: float) -> Pack:
    return pack_of(guarded(guard, hazard, at_least))
