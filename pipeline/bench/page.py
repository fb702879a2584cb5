"""The report as one page that needs nothing else: no script, no font, no address is fetched."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from . import plots


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML already. ``kind`` "words": every column is text."""
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _verdict(met: bool | None) -> str:
    if met is None:
        return ""
    return '<span class="good">met</span>' if met else '<span class="bad">not met</span>'


def _rate(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["rate"] is None:
        return "·"
    mark = "" if entry["met"] is not False else ' class="bad"'
    title = f"{entry['exact']} of {entry['n']}, {entry['low']:.3f} to {entry['high']:.3f}"
    return f'<span{mark} title="{title}">{entry["rate"]:.3f}</span>'


def _number(value: float | None, digits: int = 3) -> str:
    return "·" if value is None else f"{value:,.{digits}f}"


def _bars(report: dict[str, Any]) -> str:
    rows = []
    for bar in report["bars"]:
        whole = bar["section"] == "false positives" or bar["name"] == "wrong ids"
        sign = "≤" if whole or bar["name"].endswith("CPU s") else "≥"
        value = str(bar["value"]) if whole else _number(bar["value"])
        rows.append(
            [
                escape(bar["section"]),
                escape(bar["name"]),
                f"{sign} {bar['bar']:g}",
                value,
                escape(bar["note"]),
                _verdict(bar["met"]),
            ]
        )
    text = "<p>A row of attacks is met when each of its attacks, by itself and over all pictures, reaches the bar.</p>"
    return text + _table(["section", "bar", "asked", "measured", "", ""], rows, "bars")


def _attacks(report: dict[str, Any]) -> str:
    codecs = report["codecs"]
    main, *beside = codecs
    sets = [s for s in codecs[main]["quality"] if s != "photographs"]
    head = ["attack", "bar", *(s if s == "art" else f"{s} px" for s in sets), "all", "95 %", "wrong", "CPU s"]
    head += [codecs[c]["called"] for c in beside]
    rows = []
    for name, entry in codecs[main]["attacks"].items():
        whole = entry["all"]
        row = [escape(name), f"{whole['bar']:g}" if whole["bar"] is not None else ""]
        row += [_rate(entry["sets"].get(s)) for s in sets]
        row += [
            _rate(whole),
            f"{whole['low']:.3f}–{whole['high']:.3f}",
            str(whole["wrong"]),
            _number(entry["cpu_median"]),
        ]
        row += [_rate(codecs[c]["attacks"].get(name, {}).get("all")) for c in beside]
        rows.append(row)
    failed = [
        f"<li>{escape(n)}: {escape(', '.join(e['failed'][:12]))}</li>"
        for n, e in codecs[main]["attacks"].items()
        if e["failed"]
    ]
    lost = (
        f"<details><summary>Pictures that lost their id</summary><ul>{''.join(failed)}</ul></details>" if failed else ""
    )
    return f'<div class="plot">{plots.rates(report)}</div>' + _table(head, rows) + lost


def _visibility(report: dict[str, Any], results: list[dict[str, Any]], shown: Sequence[tuple[str, Path]]) -> str:
    rows = []
    for codec in report["codecs"].values():
        for name, q in codec["quality"].items():
            values = [q["psnr_mean"], q["psnr_min"], q["ssim_mean"], q["ssim_min"], q["flip_mean"], q["flip_max"]]
            rows.append(
                [
                    escape(f"{codec['called']}, {name}"),
                    str(q["n"]),
                    *(_number(v, 2 if i < 2 else 4) for i, v in enumerate(values)),
                    escape(q["worst"] or ""),
                ]
            )
    head = ["codec, set", "pictures", "PSNR dB", "worst", "SSIM", "worst", "FLIP", "worst", "worst picture"]
    figures = "".join(
        f'<figure><img alt="{escape(text)}: original, marked, ten times the difference" '
        f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"><figcaption>{escape(text)}</figcaption></figure>'
        for text, path in shown
    )
    plot = plots.visibility(results, next(iter(report["codecs"])))
    words = "<p>Original, marked, and ten times the difference on grey, each where the mark is strongest.</p>"
    return f'{_table(head, rows)}<div class="plot">{plot}</div>{words}<div class="pair">{figures}</div>'


def _null(null: dict[str, Any]) -> str:
    words = (
        f"<p>{null['hits']} ids found in {null['n']:,} unmarked pictures; "
        f"at 95 % the rate is under {null['bound']:.2g}. "
        f"The highest score was {null['score_max']:.2f}, the smallest p-value {null['p_min']:.2g}.</p>"
    )
    kinds = _table(
        ["kind", "pictures", "ids found", "highest score"],
        [[escape(k), f"{v['n']:,}", str(v["hits"]), _number(v["score_max"], 2)] for k, v in null["kinds"].items()],
    )
    levels = _table(
        ["p-value at most", *null["quantiles"]],
        [["share of decodes", *(f"{v:.2g}" for v in null["quantiles"].values())]],
    )
    drawn = "".join(f'<div class="plot">{plot(null)}</div>' for plot in (plots.scores, plots.calibration))
    return f'{words}<div class="pair">{drawn}</div>{kinds}{levels}'


def _plain_rates(entries: dict[str, Any], extra: dict[str, str]) -> str:
    rows = []
    for name, entry in entries.items():
        more = [_number(entry.get(key), 3) for key in extra]
        bar = "" if entry["bar"] is None else f"{entry['bar']:g}"
        rows.append(
            [
                escape(name),
                bar,
                _rate(entry),
                f"{entry['low']:.3f}–{entry['high']:.3f}",
                str(entry["n"]),
                str(entry["wrong"]),
                *more,
                _verdict(entry["met"]),
            ]
        )
    return _table(["attack", "bar", "exact id", "95 %", "n", "wrong", *extra.values(), ""], rows)


def _speed(report: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    works: list[str] = []
    for codec in report["codecs"].values():
        for size, taken in codec["speed"].items():
            works = works or list(taken)
            rows.append([escape(f"{codec['called']}, {size} x {size} px"), *(_number(taken.get(w), 3) for w in works)])
    return _table(["CPU seconds, median", *works], rows) if rows else ""


def page(report: dict[str, Any], results: list[dict[str, Any]], shown: Sequence[tuple[str, Path]]) -> str:
    """The HTML of a report. ``shown``: (caption, picture file) of the examples."""
    style = (resources.files(__package__) / "report.css").read_text("utf-8")
    parts: list[tuple[str, str]] = []
    if report["bars"]:
        parts.append(("The bars", _bars(report)))
    measured = [codec for codec in report["codecs"].values() if codec["pictures"]]
    if measured:
        parts.append(("Pictures", _attacks(report)))
        parts.append(("How much it shows", _visibility(report, results, shown)))
    if report["null"]:
        parts.append(("False positives", _null(report["null"])))
    if report["video"]:
        video = report["video"]
        words = (
            f"<p>{len(video['clips'])} clips of 1280 x 720 px at {video['psnr_mean']} dB, SSIM {video['ssim_mean']}; "
            f"marked at {video['embed_fps']} frames/s of CPU time.</p>"
        )
        parts.append(("Video", words + _plain_rates(video["attacks"], {"frames": "frames read", "cpu": "CPU s"})))
    if report["sound"]:
        sound = report["sound"]
        words = (
            f"<p>{len(sound['sounds'])} sounds; signal to mark {sound['snr_mean']} dB on average, "
            f"{sound['snr_min']} at least.</p>"
        )
        parts.append(("Sound", words + _plain_rates(sound["attacks"], {})))
    if report["removal"]:
        words = (
            f"<p>By somebody who has {report['collected']} marked pictures and the method, but no key. Reported, not "
            "held to a bar: PSNR and SSIM against the original say what the removal cost (PSNR means little where "
            "pixels moved).</p>"
        )
        parts.append(
            (
                "Deliberate removal",
                words + _plain_rates(report["removal"], {"psnr_mean": "PSNR dB", "ssim_mean": "SSIM"}),
            )
        )
    if speed := _speed(report):
        parts.append(("Speed", speed))
    if report["errors"]:
        rows = [
            [escape(e["kind"]), escape(e["codec"]), str(e["count"]), escape(e["error"]), escape(e["hint"])]
            for e in report["errors"]
        ]
        parts.append(("Not measured", _table(["section", "codec", "units", "why", "what to do"], rows, "words")))
    photographs = [
        [escape(p["name"]), escape(p["author"]), escape(p["licence"]), escape(p["package"]), escape(p["kind"])]
        for p in report["photographs"]
    ]
    parts.append(
        ("Pictures and licences", _table(["name", "author", "licence", "package", "kind"], photographs, "words"))
    )
    settings = [
        [escape(k), escape(str(v))]
        for k, v in {**report["settings"], **report["versions"], "code": report["code"]}.items()
    ]
    parts.append(("Settings and versions", _table(["", ""], settings, "words")))
    verdict = (
        '<span class="good">every bar met</span>' if report["met"] else '<span class="bad">not every bar met</span>'
    )
    codec = escape(next((c["called"] for c in report["codecs"].values()), report["settings"]["codecs"][0]))
    body = "".join(f"<section><h2>{escape(title)}</h2>{html}</section>" for title, html in parts)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Watermark bench: {codec}</title><style>{style}</style>"
    )
    told = (
        f"{report['made']}; split “{report['split']['name']}” ({report['split']['rule']}); "
        f"seed {report['settings']['seed']}."
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>Watermark bench</h1>'
        f'<p>{codec}: {verdict}. <span class="soft">{escape(told)}</span></p>{body}</main></body></html>\n'
    )
