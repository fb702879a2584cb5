"""A report as PDF, with reportlab: the same words as the HTML, the same bytes every time.

The page's fonts are PDF's own Helvetica, and for the characters of labels the font that labels are drawn with.
"""

from __future__ import annotations

import io
import re
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from ...errors import SettingsError
from .document import COLOURS, Bars, Block, Document, Text

_PUNCTUATION = "\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u2026\u20ac\n\t"
_HELVETICA = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x100)))) + _PUNCTUATION
_OTHER = re.compile(f"[^{re.escape(_HELVETICA)}]+")
_QUOTED, _CODE = re.compile("\u201c([^\u201d]*)\u201d"), re.compile(r"`([^`<>]+)`")
_ELSEWHERE = "(in other letters: see report.html)"
_QUOTED_ELSEWHERE = "(its words: `filigrana comply duties`)"
"""In place of what none of the fonts has, such as a quotation in Chinese: never a row of empty boxes."""
_WIDEST = 36.0
"""pt: of one day's bar with the gap after it."""
_WIDTH = 469.0
"""pt: A4 without its margins of 20 mm and the frame's padding."""


def pdf(document: Document) -> bytes:
    """Raises SettingsError where reportlab is not installed."""
    try:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont
        from reportlab.platypus import CondPageBreak, Paragraph, SimpleDocTemplate, Spacer
    except ImportError:
        raise SettingsError(
            "PDF needs reportlab, which is not installed",
            code="settings.pdf",
            hint="pip install 'filigrana[report]', or leave pdf out of --format.",
        ) from None
    font = resources.files("filigrana.provenance.labelling") / "label.ttf"
    pdfmetrics.registerFont(TTFont("Label", io.BytesIO(font.read_bytes())))
    sheet = getSampleStyleSheet()
    small = ParagraphStyle("small", parent=sheet["BodyText"], fontSize=8, leading=10)
    out = io.BytesIO()
    # `invariant`: no time of making and no random id.
    paper = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=57, rightMargin=57, topMargin=57, bottomMargin=57, invariant=1,
        title=document.title, author="Filigrana", subject=document.subtitle, lang="en",
    )  # fmt: skip
    story: list[Any] = [
        Paragraph(_words(document.title), sheet["Title"]),
        Paragraph(_words(document.subtitle), sheet["BodyText"]),
    ]
    for section in document.sections:
        story += [CondPageBreak(110), Spacer(1, 8), Paragraph(_words(section.title), sheet["Heading2"])]
        for block in section.blocks:
            story += _shown(block, sheet["BodyText"], small)
    paper.build(story, onFirstPage=_numbered, onLaterPages=_numbered)
    return out.getvalue()


def _words(text: str) -> str:
    """As reportlab's markup, with what Helvetica has not in the label's font."""
    known = _label_characters() | set(_HELVETICA)
    text = _QUOTED.sub(lambda found: found.group(0) if set(found.group(1)) <= known else _QUOTED_ELSEWHERE, text)

    def run(found: re.Match[str]) -> str:
        text = found.group(0)
        return f'<font name="Label">{text}</font>' if set(text) <= known else _ELSEWHERE

    return _CODE.sub(r'<font name="Courier">\1</font>', _OTHER.sub(run, escape(text, quote=False)))


@cache
def _label_characters() -> frozenset[str]:
    from reportlab.pdfbase.ttfonts import TTFontFace

    font = resources.files("filigrana.provenance.labelling") / "label.ttf"
    return frozenset(map(chr, TTFontFace(io.BytesIO(font.read_bytes())).charToGlyph))


def _numbered(canvas: Any, paper: Any) -> None:
    canvas.setFont("Helvetica", 8)
    canvas.drawRightString(paper.pagesize[0] - 57, 34, str(paper.page))


def _shown(block: Block, body: Any, small: Any) -> list[Any]:
    from reportlab.lib import colors
    from reportlab.platypus import LongTable, Paragraph, Spacer, TableStyle

    if isinstance(block, Text):
        return [Paragraph(_words(block.text), body)]
    if isinstance(block, Bars):
        return [_plot(block), Paragraph(_words(block.title), small)]
    if not block.rows:
        return [Paragraph(f"<b>{_words(block.header[0])}</b>: none", small)]
    rows = [[Paragraph(f"<b>{_words(cell)}</b>", small) for cell in block.header]]
    rows += [[Paragraph(_words(cell), small) for cell in row] for row in block.rows]
    table = LongTable(rows, colWidths=[share * _WIDTH for share in block.widths], repeatRows=1, hAlign="LEFT")
    lines = [("LINEBELOW", (0, 0), (-1, -1), 0.3, colors.grey), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    table.setStyle(TableStyle([*lines, ("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 9)]))
    return [Spacer(1, 4), table]


def _plot(plot: Bars) -> Any:
    from reportlab.graphics.shapes import Drawing, Line, Rect, String
    from reportlab.lib.colors import HexColor

    width, height = _WIDTH, 150.0
    drawing = Drawing(width, height)
    most = max((sum(values) for _, values in plot.rows), default=0) or 1
    step = min(_WIDEST, (width - 40) / max(1, len(plot.rows)))
    for place, (_, values) in enumerate(plot.rows):
        bottom = 20.0
        for name, value in zip(plot.series, values, strict=True):
            high = value / most * (height - 45)
            colour = HexColor(COLOURS[name])
            if value:
                wide = max(1, step * 0.8)
                drawing.add(Rect(36 + place * step, bottom, wide, high, fillColor=colour, strokeColor=None))
            bottom += high
    for number, name in enumerate(plot.series):
        drawing.add(Rect(36 + 90 * number, height - 10, 7, 7, fillColor=HexColor(COLOURS[name]), strokeColor=None))
        drawing.add(String(47 + 90 * number, height - 10, name, fontSize=8))
    drawing.add(Line(36, 20, width - 4, 20, strokeWidth=0.5))
    drawing.add(String(32, 18, "0", fontSize=7, textAnchor="end"))
    drawing.add(String(32, height - 28, f"{most:,}", fontSize=7, textAnchor="end"))
    if plot.rows:
        drawing.add(String(36, 8, plot.rows[0][0], fontSize=7))
    if len(plot.rows) > 1:
        drawing.add(String(max(140, 36 + step * len(plot.rows)), 8, plot.rows[-1][0], fontSize=7, textAnchor="end"))
    return drawing
