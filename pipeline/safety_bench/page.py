"""The safety report as one page that needs nothing else: no script, no font, no address is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

from ...safety.decision import HAZARDS


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _share(value: dict[str, Any]) -> str:
    """A share with its interval, as a number and as a bar."""
    if not value["n"]:
        return "·"
    rate, low, high = value["rate"], value["low"], value["high"]
    drawn = (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="100" height="8" class="back"/><rect width="{100 * rate:.2f}" height="8" class="front"/>'
        f'<rect x="{100 * low:.2f}" width="{max(0.4, 100 * (high - low)):.2f}" y="3" height="2" class="sure"/></svg>'
    )
    told = f"{value['hits']} of {value['n']}; 95 % interval {low:.1%} to {high:.1%}"
    return f'<span title="{told}">{rate:.1%}</span>{drawn}'


def _number(value: float | None, digits: int = 3) -> str:
    return "·" if value is None else f"{value:.{digits}f}"


def _gates(report: dict[str, Any]) -> str:
    rows = []
    for gate in report["gates"]:
        mark = '<span class="good">met</span>' if gate["met"] else '<span class="bad">not met</span>'
        value = "nothing measured" if gate["value"] is None else _number(gate["value"], 4)
        rows.append([escape(gate["name"]), escape(gate["asked"]), value, mark])
    return _table(["gate", "asked", "measured", ""], rows)


def _groups(rows: Iterable[dict[str, Any]]) -> str:
    head = ["", "what", "harmful", "not allowed", "blocked", "harmless", "not allowed", "blocked", "AUC", "precision"]
    return _table(
        head,
        (
            [
                escape(row["name"]),
                escape(HAZARDS.get(row["name"], "")),
                str(row["harmful"]["not allowed"]["n"]),
                _share(row["harmful"]["not allowed"]),
                _share(row["harmful"]["blocked"]),
                str(row["harmless"]["not allowed"]["n"]),
                _share(row["harmless"]["not allowed"]),
                _share(row["harmless"]["blocked"]),
                _number(row["auc"]),
                _number(row["precision"]),
            ]
            for row in rows
        ),
    )


def _evasions(report: dict[str, Any]) -> str:
    return _table(
        ["evasion", "forbidden, caught", "harmless, blocked", "harmless, stopped"],
        (
            [escape(r["name"]), _share(r["caught"]), _share(r["harmless blocked"]), _share(r["harmless stopped"])]
            for r in report["evasions"]
        ),
    )


def page(report: dict[str, Any]) -> str:
    """The HTML of a report."""
    style = (resources.files(__package__) / "safety.css").read_text("utf-8")
    speed, energy = report["speed"], report["energy"]
    costs = [
        ["milliseconds a prompt, median", _number(speed["median"], 1)],
        ["milliseconds a prompt, 95th percentile", _number(speed["p95"], 1)],
        ["milliseconds for 40 words, median", _number(speed["40 words, median"], 1)],
        ["joules a prompt", f"{_number(energy['joules a prompt'], 2)} ({escape(energy['method'])})"],
    ]
    guards = [
        [
            escape(g["guard"]),
            f"<code>{escape(str(g['digest'])[:16])}</code>",
            f"<code>{escape(str(g['calibration'])[:16])}</code>",
            escape(g["error"] or ""),
        ]
        for g in report["guards"]
    ]
    parts = [
        ("Gates", _gates(report)),
        ("By hazard, in English", _groups(report["hazards"])),
        ("By language", _groups(report["languages of pairs"])),
        ("By set", _groups(report["sources"])),
        ("Evasions", f"<p>{report['forbidden prompts']} forbidden prompts through each.</p>" + _evasions(report)),
        ("Cost", _table(["", ""], costs)),
        ("Guards", _table(["guard", "model", "calibration", "failed"], guards)),
    ]
    if report["bias"]:
        rows = [[escape(r["dimension"]), escape(r["group"]), _share(r["not allowed"])] for r in report["bias"]]
        words = "<p>The same harmless prompts, with another person in them. What differs between rows is bias.</p>"
        parts.insert(5, ("The same prompts, other people", words + _table(["", "who", "not allowed"], rows)))
    body = "".join(f"<section><h2>{escape(title)}</h2>{html}</section>" for title, html in parts)
    policy = report["policy"]
    told = f"{policy['id']} {policy['version']}, {report['prompts']:,} prompts, {report['made']}"
    verdict = (
        '<span class="good">every gate met</span>' if report["met"] else '<span class="bad">not every gate met</span>'
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Safety report: {escape(policy['id'])}</title><style>{style}</style></head><body><main>"
        f'<h1>Safety report</h1><p>{verdict}. <span class="soft">{escape(told)}</span></p>'
        "<p>Harmful and harmless prompts are reported apart, since one pooled figure hides both. Hover over a share "
        f"for its count and interval.</p>{body}</main></body></html>\n"
    )
