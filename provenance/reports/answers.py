"""What the public detector may say: an allow-list of the keys of its answer, and a look at the values. Pure.

California's AI Transparency Act (22757.2) keeps personal provenance data out of it, and so does the GDPR. Whatever is
added to an answer has to be added here, with the question in mind whether it is about a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PLAIN = frozenset({
    "file", "finding", "asset_id", "trust", "match", "headline", "explanation", "conclude", "not_conclude", "seconds",
    "signer", "time", "at", "regions", "problem",
})  # fmt: skip
"""Values, or lists of values, that are of the file, the organisation that signed, or the check itself."""
NESTED: dict[str, frozenset[str]] = {
    "evidence": frozenset({"technique", "status", "detail", "meaning", "title"}),
    "made_by": frozenset({"generator", "signer", "trust", "when", "source_type", "ai", "kind", "confirmed", "basis"}),
    "history": frozenset({"nodes", "edges", "truncated"}),
    "media": frozenset({"kind", "mime", "width", "height", "duration", "bytes", "sha256"}),
    "record": frozenset({
        "asset_id", "media", "mime", "created_at", "source_type", "resolved_by", "catalog", "has_preview", "trust",
        "p_value",
    }),
}  # fmt: skip
DEEPER: dict[str, frozenset[str]] = {
    "nodes": frozenset({
        "id", "title", "kind", "format", "generator", "signer", "trust", "time", "state", "actions", "failures",
    }),
    "edges": frozenset({"from", "to", "relationship"}),
    "actions": frozenset({"action", "when", "agent", "source_type"}),
}  # fmt: skip
_PERSONAL = (
    ("an e-mail address", re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")),
    ("a telephone number", re.compile(r"(?<![\w.:/-])\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}(?![\w:-])")),
    ("the name under which the log knows who asked", re.compile(r"\bactor:[0-9A-Za-z_-]{8,}")),
    ("coordinates", re.compile(r"-?\d{1,2}\.\d{4,},\s?-?\d{1,3}\.\d{4,}")),
)


def private_parts(answer: dict[str, Any]) -> list[str]:
    """What in an answer is not on the list, or looks like a person's, in words; empty for an answer that may go out."""
    faults = [f"the key {name!r} is not on the list of what may be said" for name in _unknown(answer)]
    texts = [text for name, value in answer.items() if name != "file" for text in _texts(value)]
    faults += [f"it holds {what}" for what, pattern in _PERSONAL if any(pattern.search(text) for text in texts)]
    return faults


def _unknown(answer: dict[str, Any]) -> Iterator[str]:
    for name, value in answer.items():
        if name in PLAIN:
            continue
        if name not in NESTED:
            yield name
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from _below(name, part, NESTED[name])


def _below(where: str, part: dict[str, Any], known: frozenset[str]) -> Iterator[str]:
    for name, value in part.items():
        if name not in known:
            yield f"{where}.{name}"
        elif name in DEEPER:
            for item in value if isinstance(value, list) else []:
                if isinstance(item, dict):
                    yield from _below(f"{where}.{name}", item, DEEPER[name])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:4096]
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value[:1000]:
            yield from _texts(item)
