"""The report of `verify --html`: each file with its picture, the finding in plain words, and the evidence.

One HTML file that needs nothing else: no script, no address outside. Whatever a file says of itself is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FiligranaError, ReleaseError
from ..provenance.durable import write_file
from ..provenance.finding import Finding
from ..provenance.records import PreviewImage
from ..provenance.words import Words, words

if TYPE_CHECKING:
    from ..provenance.resolver_port import Resolver

_SIGNS = {"ok": "✓", "warning": "!", "failed": "✗", "absent": "·"}


def write_report(target: Path, findings: Iterable[Finding], resolvers: Sequence[Resolver], language: str) -> None:
    """Writes the report to ``target``. Raises ReleaseError where it cannot be written."""
    from .store import check_target

    check_target(target)
    said = words(language)
    page = report(findings, resolvers, said)
    try:
        write_file(target, page.encode(), 0o666)
    except OSError as error:
        raise ReleaseError(f"{target} cannot be written: {error.strerror}", code="release.target") from error


def report(findings: Iterable[Finding], resolvers: Sequence[Resolver], said: Words) -> str:
    style = (resources.files(__package__) / "report.css").read_text("utf-8")
    body = "\n".join(_article(finding, resolvers, said) for finding in findings)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html><html lang="{said.language}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Filigrana</title>'
        f"<style>{style}</style></head><body><h1>Filigrana: {_(said('report.title'))}</h1>\n{body}\n</body></html>\n"
    )


def _(text: object) -> str:
    """As text in HTML: escaped, without the characters that turn the reading direction of what follows, and without
    the halves of a pair that names of files in another encoding come with."""
    return escape("".join("�" if c in _TURNING or "\ud800" <= c <= "\udfff" else c for c in str(text)))


_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def _article(finding: Finding, resolvers: Sequence[Resolver], said: Words) -> str:
    told = finding.telling(said.language)
    rows = "".join(
        f'<tr><th scope="row">{_(said(f"technique.{e.technique}.title"))}</th>'
        f'<td class="status {e.status}">{_SIGNS[e.status]} {_(said(f"status.{e.status}"))}</td>'
        f'<td>{_(said(f"technique.{e.technique}.meaning"))}<div class="detail">{_(e.detail)}</div></td></tr>'
        for e in finding.evidence
    )
    return (
        f'<article><div class="file">{_(finding.file)}</div>'
        f'<div class="word {finding.finding}">{_(finding.finding)}</div><h2>{_(told.headline)}</h2>'
        f"<p>{_(told.meaning)}</p>{_list(told.explanation)}{_pictures(finding, resolvers, said)}"
        f"<h3>{_(said('report.conclude'))}</h3>{_list(told.conclude)}"
        f"<h3>{_(said('report.not_conclude'))}</h3>{_list(told.not_conclude)}"
        f"{_history(finding.history, said)}"
        f"<h3>{_(said('report.evidence'))}</h3><table>{rows}</table></article>"
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_(line)}</li>' for line in lines)}</ul>" if lines else ""


def _pictures(finding: Finding, resolvers: Sequence[Resolver], said: Words) -> str:
    shown = []
    if finding.thumbnail is not None:
        outlines = "".join(
            f'<rect x="{100 * r.left:.2f}%" y="{100 * r.top:.2f}%" width="{100 * (r.right - r.left):.2f}%" '
            f'height="{100 * (r.bottom - r.top):.2f}%" fill="none" stroke="#e0261b" stroke-width="3"/>'
            for r in finding.regions
        )
        width, height = _size(finding.media)
        shown.append(
            f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{_(said("report.this_file"))}">'
            f'<image href="{_data(finding.thumbnail)}" width="{width}" height="{height}"/>{outlines}</svg>'
            f"<figcaption>{_(said('report.this_file'))}</figcaption></figure>"
        )
    original = _original(finding, resolvers)
    if original is not None:
        label = _(said("report.original"))
        # Of a clip's stored moments, which lie one under the other, the first: cut off by the box, since what another
        # catalog sent is not decoded here.
        width, height = original.width, original.height
        shown.append(
            f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
            f'<image href="{_data(original.data)}" width="{width}"/></svg><figcaption>{label}</figcaption></figure>'
        )
    return f'<div class="pictures">{"".join(shown)}</div>' if shown else ""


def _original(finding: Finding, resolvers: Sequence[Resolver]) -> PreviewImage | None:
    """The stored preview."""
    if finding.record is None or finding.asset_id is None or finding.finding == "verified":
        return None
    for resolver in resolvers:
        try:
            stored = resolver.preview(finding.asset_id)
        except FiligranaError:
            continue
        if stored is not None:
            return stored
    return None


def _history(history: dict[str, Any], said: Words) -> str:
    nodes = history.get("nodes", [])
    if len(nodes) < 2:
        return ""
    parents: dict[str, list[tuple[str, str]]] = {}
    for edge in history.get("edges", []):
        parents.setdefault(edge["from"], []).append((edge["to"], edge["relationship"]))
    by_id = {node["id"]: node for node in nodes}

    seen: set[str] = set()  # each is told once: parts that share their parts would multiply with every step

    def item(ident: str, relationship: str) -> str:
        node = by_id[ident]
        who = ", ".join(str(part) for part in (node.get("generator"), node.get("signer")) if part)
        steps = "; ".join(step["action"] for step in node.get("actions", []))
        parts = [] if ident in seen else parents.get(ident, [])
        seen.add(ident)
        below = "".join(item(to, how) for to, how in parts if to in by_id)
        nested = f"<ul>{below}</ul>" if below else ""
        text = f"{_(node['title'])}{f' ({_(relationship)})' if relationship else ''}"
        return f'<li>{text}<div class="detail">{_(who)} {_(steps)} {_(node["state"])}</div>{nested}</li>'

    return f"<h3>{_(said('report.history'))}</h3><ul>{item(nodes[0]['id'], '')}</ul>"


def _size(media: dict[str, Any] | None) -> tuple[int, int]:
    found = media or {}
    return int(found.get("width") or 640), int(found.get("height") or 480)


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
