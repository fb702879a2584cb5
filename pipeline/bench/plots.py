"""The report's plots, as SVG text. matplotlib is imported here and nowhere else."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

_GOOD, _BAD, _INK = "#2b7a4b", "#b3402a", "#30343b"


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # No pyplot: it keeps figures and asks for displays. Fixed ids make the same data the same bytes.
    mpl.rcParams.update({"svg.hashsalt": "filigrana", "svg.fonttype": "none", "font.size": 8})
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return re.sub(r"^.*?(?=<svg)", "", text, count=1, flags=re.DOTALL)


def rates(report: dict[str, Any]) -> str:
    """The exact-id rate of each attack by the first codec with its interval and bar; the others as small marks."""
    codecs = report["codecs"]
    main, *beside = codecs
    attacks = list(codecs[main]["attacks"])
    figure, axes = _figure(8.5, 0.6 + 0.17 * len(attacks))
    for i, name in enumerate(attacks):
        entry = codecs[main]["attacks"][name]["all"]
        colour = _GOOD if entry["met"] is not False else _BAD
        axes.plot([entry["low"], entry["high"]], [i, i], color=colour, lw=1.2)
        axes.plot(entry["rate"], i, "o", color=colour, ms=4)
        if entry["bar"] is not None:
            axes.plot([entry["bar"]] * 2, [i - 0.4, i + 0.4], color=_INK, lw=1)
    for marker, codec in zip("xv^+sd*", beside, strict=False):
        known = [
            (i, codecs[codec]["attacks"][n]["all"]["rate"])
            for i, n in enumerate(attacks)
            if n in codecs[codec]["attacks"]
        ]
        if known:
            axes.plot(
                [r for _, r in known],
                [i for i, _ in known],
                marker,
                ms=4,
                lw=0,
                alpha=0.7,
                label=codecs[codec]["called"],
            )
    axes.set_yticks(range(len(attacks)), attacks)
    axes.set(ylim=(len(attacks) - 0.4, -0.6), xlim=(-0.02, 1.02), xlabel="exact id (line: 95 % interval; tick: bar)")
    axes.grid(axis="x", alpha=0.3)
    if beside:
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.07), ncols=4, frameon=False)
    return _svg(figure)


def scores(null: dict[str, Any]) -> str:
    """How the best scores of unmarked pictures are distributed."""
    figure, axes = _figure(4.2, 2.6)
    edges = np.array(null["histogram"]["edges"])
    axes.bar(edges[:-1], null["histogram"]["counts"], np.diff(edges), align="edge", color="#7c8a99")
    axes.set(yscale="log", xlabel="score", ylabel="unmarked pictures")
    return _svg(figure)


def calibration(null: dict[str, Any]) -> str:
    """The p-values in order against what calibrated ones would be; above the line the detector is too careful,
    under it too sure of itself."""
    figure, axes = _figure(4.2, 2.6)
    expected = np.array(null["ranks"]) / null["n"]
    observed = np.maximum(np.array(null["p_sorted"]), 1e-12)
    axes.loglog(expected, observed, ".", ms=3, color=_INK)
    ends = [1 / null["n"], 1.0]
    axes.loglog(ends, ends, color=_BAD, lw=1)
    axes.set(xlabel="share of unmarked pictures", ylabel="p-value at most")
    axes.grid(alpha=0.3)
    return _svg(figure)


def visibility(results: list[dict[str, Any]], codec: str) -> str:
    """PSNR against SSIM of every picture, by set."""
    figure, axes = _figure(4.2, 2.6)
    mine = [r for r in results if r["kind"] in ("picture", "art") and r["codec"] == codec and r.get("psnr")]
    for name in dict.fromkeys("art" if r["kind"] == "art" else r["group"] for r in mine):
        points = [(r["psnr"], r["ssim"]) for r in mine if ("art" if r["kind"] == "art" else r["group"]) == name]
        axes.plot(*zip(*points, strict=True), ".", ms=4, alpha=0.6, label=name if name == "art" else f"{name} px")
    axes.axvline(39.5, color=_BAD, lw=0.8)
    axes.axhline(0.985, color=_BAD, lw=0.8)
    axes.set(xlabel="PSNR, dB", ylabel="SSIM")
    axes.legend(frameon=False)
    return _svg(figure)
