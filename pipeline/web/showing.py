"""From a finding to what the page shows of it: every text of a stranger made harmless, every word in the reader's
language. The templates only place it."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

from ...provenance.preview import cover
from ...provenance.records import PreviewImage
from ...provenance.words import Words
from .graph import draw
from .service import plain

_MAX_SHOWN = 200
ORDER = ("failed", "warning", "ok", "absent")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")


def shown(answer: dict[str, Any], said: Words, preview: PreviewImage | None) -> dict[str, Any]:
    """``answer``: a finding told in the language of ``said``."""
    # What speaks against the file first: nobody should have to look for it.
    evidence = sorted((_evidence(item, said) for item in answer["evidence"]), key=lambda e: ORDER.index(e["status"]))
    counts = {status: sum(item["status"] == status for item in evidence) for status in ORDER}
    media = answer.get("media") or {}
    data = {key: value for key, value in answer.items() if key != "thumbnail"}
    return {
        "file": plain(answer["file"], 120),
        "finding": answer["finding"],
        "test_key": answer["finding"] == "verified" and answer["trust"] == "development",
        "word": said(f"page.finding.{answer['finding']}"),
        "headline": plain(answer["headline"]),
        "explanation": [
            _MOMENT.sub(lambda found: moment_text(found[0]) or "", plain(text, 600)) for text in answer["explanation"]
        ],
        "conclude": [plain(text) for text in answer["conclude"]],
        "not_conclude": [plain(text) for text in answer["not_conclude"]],
        "evidence": evidence,
        "counts": " · ".join(f"{n} {said(f'status.{status}')}" for status, n in counts.items() if n),
        "made": _made(answer, said),
        "history": _history(answer.get("history") or {}, said, _unsigned(answer)),
        "compare": _compare(answer, said, preview),
        "media": _media(media),
        "seconds": said("page.checked", seconds=f"{answer['seconds']:.2f}"),
        "json": plain_json(data),
        "json_data": base64.b64encode(json.dumps(data, ensure_ascii=False, indent=1).encode()).decode(),
        "stem": "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in answer["file"])[:40]
        or "file",
    }


def plain_json(data: dict[str, Any]) -> str:
    """For reading: what is not printable stays an escape."""
    text = json.dumps(data, ensure_ascii=False, indent=2)
    return "".join(c if c == "\n" or c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _evidence(item: dict[str, Any], said: Words) -> dict[str, Any]:
    technique, status = str(item["technique"]), str(item["status"])
    key = f"technique.{technique}.title"
    return {
        "technique": plain(technique, 40),
        "title": said(key) if key in said else plain(technique, 40),
        "status": status if status in ORDER else "warning",
        "status_word": said(f"status.{status}") if f"status.{status}" in said else plain(status, 20),
        "meaning": plain(item.get("meaning") or "", 600),
        "detail": plain(item["detail"], 600),
    }


def _made(answer: dict[str, Any], said: Words) -> list[dict[str, str]]:
    made = answer.get("made_by") or {}
    rows = []

    def row(name: str, value: object) -> None:
        if value not in (None, ""):
            rows.append({"name": said(f"page.made.{name}"), "text": plain(value), "key": name})

    row("generator", made.get("generator"))
    kind = str(made.get("kind") or "unknown")
    if made:
        row("kind", said(f"kind.{kind}") if f"kind.{kind}" in said else said("page.kind.unknown"))
    row("signer", made.get("signer") or answer.get("signer"))
    if made.get("signer") or answer.get("signer"):
        trust = answer["trust"] if answer["finding"] == "verified" else made.get("trust") or "none"
        row("trust", said(f"trust.{trust}") if f"trust.{trust}" in said else trust)
    row("when", moment_text(made.get("when") or answer.get("time") or (answer.get("record") or {}).get("created_at")))
    row("asset", answer.get("asset_id"))
    if made and not made.get("confirmed"):
        rows.append({"name": "", "text": said("page.made.unconfirmed"), "key": "note"})
    return rows


def moment_text(text: object) -> str | None:
    """In one form for all languages, in UTC; as it stands where it is no time."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if moment.tzinfo else plain(text, 60)
    except (ValueError, OverflowError):  # the latter: in UTC it is before the year 1, or after 9999
        return plain(text, 60)


def _unsigned(answer: dict[str, Any]) -> bool:
    """Whether the file has no credentials of its own that hold: a history that does is then the original's."""
    return all(item["technique"] != "c2pa.signature" or item["status"] != "ok" for item in answer["evidence"])


def _history(history: dict[str, Any], said: Words, unsigned: bool) -> dict[str, Any] | None:
    """``unsigned``: the file shows no signature that holds."""
    nodes = history.get("nodes", [])[:_MAX_SHOWN]
    if not nodes or (len(nodes) == 1 and not nodes[0].get("actions")):
        return None
    shown_nodes = [_node(number, node, said) for number, node in enumerate(nodes)]
    numbers = {node["id"]: number for number, node in enumerate(nodes)}
    holds = shown_nodes[0]["state"] in ("trusted", "valid")
    for edge in history.get("edges", []):
        if edge["from"] in numbers and edge["to"] in numbers:
            part = {**shown_nodes[numbers[edge["to"]]], "relationship": _relationship(edge["relationship"], said)}
            shown_nodes[numbers[edge["from"]]]["parts"].append(
                {k: part[k] for k in ("number", "title", "relationship")}
            )
    drawing = draw({"nodes": nodes, "edges": history.get("edges", [])})
    return {
        "nodes": shown_nodes,
        "drawing": drawing,
        "of": said(f"page.history.{'original' if unsigned and holds else 'this'}"),
        "truncated": bool(history.get("truncated")) or len(history.get("nodes", [])) > _MAX_SHOWN,
    }


def _node(number: int, node: dict[str, Any], said: Words) -> dict[str, Any]:
    state = str(node.get("state") or "none")
    key = f"page.history.state.{state}"
    return {
        "number": number,
        "title": plain(node.get("title") or "–", 80),
        "short": plain(node.get("title") or "–", 24),
        "state": state if key in said else "none",
        "state_word": said(key) if key in said else said("page.history.state.none"),
        "generator": plain(node.get("generator") or "", 80) if node.get("kind") != "ingredient" else "",
        "signer": plain(node.get("signer") or "", 80),
        "time": moment_text(node.get("time")),
        "actions": [_action(action, said) for action in node.get("actions", [])],
        "failures": [plain(code, 80) for code in node.get("failures", [])[:10]],
        "parts": [],
    }


def _action(action: dict[str, Any], said: Words) -> dict[str, Any]:
    name = str(action.get("action") or "")
    known = f"page.action.{name.removeprefix('c2pa.').split('.')[0]}"
    return {
        "name": said(known) if known in said else plain(name, 60),
        "agent": plain(action.get("agent") or "", 80),
        "when": moment_text(action.get("when")),
    }


def _relationship(text: object, said: Words) -> str:
    key = f"page.history.{text}"
    return said(key) if key in said else plain(text, 30)


def _compare(answer: dict[str, Any], said: Words, preview: PreviewImage | None) -> dict[str, Any] | None:
    """The copy and the original, both as pictures where there are some. Sizes are of the drawing, 640 px wide."""
    media = answer.get("media") or {}
    width, height = media.get("width"), media.get("height")
    thumbnail = answer.get("thumbnail")
    if not (width and height) or (thumbnail is None and preview is None):
        return None
    tall = max(60, min(1600, round(640 * height / width)))
    regions = []
    for number, (left, top, right, bottom) in enumerate(answer.get("regions", [])[:24], 1):
        words = said(
            "page.compare.region", number=number, left=round(100 * left), top=round(100 * top),
            right=round(100 * right), bottom=round(100 * bottom),
        )  # fmt: skip
        box = {"x": 640 * left, "y": tall * top, "width": 640 * (right - left), "height": tall * (bottom - top)}
        regions.append({"number": number, "words": words, **{k: round(v, 1) for k, v in box.items()}})
    original = None
    if preview is not None:
        data = base64.b64encode(cover(preview.data, preview.height)).decode()
        original = {"src": f"data:{preview.mime};base64,{data}", "width": preview.width, "height": preview.height}
    return {
        "mine": f"data:image/jpeg;base64,{thumbnail}" if thumbnail else None,
        "height": tall,
        "regions": regions,
        "original": original,
        "changed": said("page.compare.changed", count=len(regions)) if regions else "",
    }


def _media(media: dict[str, Any]) -> str:
    parts = [str(media["mime"])] if media.get("mime") else []
    if media.get("width") and media.get("height"):
        parts.append(f"{media['width']} × {media['height']}")
    if media.get("duration"):
        parts.append(f"{media['duration']:.1f} s")
    if media.get("bytes"):
        parts.append(size_text(int(media["bytes"])))
    return " · ".join(plain(part, 60) for part in parts)


def size_text(size: int) -> str:
    if size < 1 << 20:
        return f"{max(1, round(size / 1024))} kB"
    return f"{size / (1 << 20):.1f} MB" if size < 10 << 20 else f"{round(size / (1 << 20))} MB"
