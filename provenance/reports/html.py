"""A report as one HTML file that needs nothing else: no script, no address outside, plots as inline SVG."""

from __future__ import annotations

from html import escape
from importlib import resources

from .document import COLOURS, Bars, Block, Document, Table, Text

_WIDTH, _HEIGHT = 720, 220


def page(document: Document) -> str:
    style = (resources.files(__package__) / "report.css").read_text("utf-8")
    body = "".join(
        f'<section aria-label="{escape(section.title)}"><h2>{escape(section.title)}</h2>'
        f"{''.join(map(_block, section.blocks))}</section>"
        for section in document.sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(document.title)}</title>'
        f"<style>{style}</style></head><body><main><h1>{escape(document.title)}</h1>"
        f"<p>{escape(document.subtitle)}</p>{body}</main></body></html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    return _table(block) if isinstance(block, Table) else _bars(block)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    if not table.rows:
        return f"<p><strong>{escape(table.header[0])}</strong>: none</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in table.rows
    )
    # As wide as in the PDF: a column of short words is else as narrow as one letter, beside one of long ones.
    columns = "".join(f'<col style="width: {share:.0%}">' for share in table.widths)
    inside = f"<colgroup>{columns}</colgroup><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def _bars(plot: Bars) -> str:
    """Stacked bars; the same numbers stand in report.json, and each bar says its own to whoever points at it."""
    most = max((sum(values) for _, values in plot.rows), default=0) or 1
    step = min(60.0, (_WIDTH - 60) / max(1, len(plot.rows)))
    parts = []
    for place, (label, values) in enumerate(plot.rows):
        bottom, told = float(_HEIGHT - 30), ", ".join(f"{n} {v}" for n, v in zip(plot.series, values, strict=True))
        shapes = []
        for name, value in zip(plot.series, values, strict=True):
            high = value / most * (_HEIGHT - 60)
            bottom -= high
            if value:
                shapes.append(
                    f'<rect x="{50 + place * step:.1f}" y="{bottom:.1f}" width="{max(1.0, step * 0.8):.1f}" '
                    f'height="{high:.1f}" fill="{COLOURS[name]}"/>'
                )
        parts.append(f"<g><title>{escape(label)}: {escape(told)}</title>{''.join(shapes)}</g>")
    legend = "".join(
        f'<rect x="{50 + 110 * n}" y="4" width="10" height="10" fill="{COLOURS[name]}"/>'
        f'<text x="{64 + 110 * n}" y="13">{escape(name)}</text>'
        for n, name in enumerate(plot.series)
    )
    ends = (plot.rows[0][0], plot.rows[-1][0] if len(plot.rows) > 1 else "") if plot.rows else ("", "")
    right = max(200.0, 50 + step * len(plot.rows))
    axis = (
        f'<text x="44" y="{_HEIGHT - 28}" text-anchor="end">0</text>'
        f'<text x="44" y="36" text-anchor="end">{most:,}</text>'
        f'<text x="50" y="{_HEIGHT - 12}">{escape(ends[0])}</text>'
        f'<text x="{right:.0f}" y="{_HEIGHT - 12}" text-anchor="end">{escape(ends[1])}</text>'
        f'<line x1="50" x2="{_WIDTH - 10}" y1="{_HEIGHT - 30}" y2="{_HEIGHT - 30}" stroke="currentColor"/>'
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(plot.title)}">{legend}{axis}'
        f"{''.join(parts)}</svg><figcaption>{escape(plot.title)}</figcaption></figure>"
    )
