"""A report as a value: sections of paragraphs, tables and bars, which the HTML and the PDF show in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NOTE = "Evidence, not legal advice."


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """``widths``: shares of the page, which sum to 1."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars: ``series`` names what is stacked, ``rows`` are (label, values). ``title`` is also its alternative
    text."""

    title: str
    series: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]


Block = Text | Table | Bars


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    subtitle: str
    sections: tuple[Section, ...]


COLOURS = {"released": "#1b7f5c", "refused": "#b3261e", "held": "#b87503", "failed": "#5f6368"}
"""By what is counted; each has a contrast of 3 to 1 on white at least, and a pattern of words beside it."""


def counted(header: str, figures: dict[str, int]) -> Table:
    """A table of counts, the largest first."""
    rows = sorted(figures.items(), key=lambda item: (-item[1], item[0]))
    return Table((header, "count"), tuple((name, f"{count:,}") for name, count in rows), (0.8, 0.2))


def shortened(days: dict[str, dict[str, int]], most: int = 60) -> list[tuple[str, dict[str, int]]]:
    """Days, or equal stretches of days where there are more than ``most``."""
    items = sorted(days.items())
    step = max(1, -(-len(items) // most))
    found = []
    for start in range(0, len(items), step):
        part = items[start : start + step]
        total: dict[str, int] = {}
        for _, counts in part:
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
        found.append((part[0][0], total))
    return found


def bars(title: str, days: Sequence[tuple[str, dict[str, int]]]) -> Bars:
    series = tuple(name for name in COLOURS if any(name in counts for _, counts in days))
    return Bars(title, series, tuple((day, tuple(counts.get(name, 0) for name in series)) for day, counts in days))
