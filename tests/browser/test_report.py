"""A compliance report's page as Chromium lays it out."""

from __future__ import annotations

from typing import Any

from filigrana.provenance.reports.document import Document, Section, Table
from filigrana.provenance.reports.html import page as html

LAW = "Outputs of generative systems are marked in a machine-readable form, and detectable as made by machines. " * 4
LINES = """() => [...document.querySelectorAll('th, td:last-child')].filter(cell => {
  const text = document.createRange(); text.selectNodeContents(cell);
  return new Set([...text.getClientRects()].map(each => Math.round(each.top))).size > 1;
}).map(cell => cell.textContent)"""


def test_ids_and_heads_stay_on_one_line_beside_long_texts(browser: Any) -> None:
    rows = (("eu.cop.interoperable", LAW, "R1, R3, R13"), ("eu.50-2.marks", LAW, "R8"))
    table = Table(("duty", "law", "shown by"), rows, (0.2, 0.6, 0.2))
    shown = browser.new_page(viewport={"width": 1000, "height": 800})
    shown.set_content(html(Document("A report", "of a day", (Section("Duties", (table,)),))))
    assert shown.evaluate(LINES) == []
    shown.close()
