"""What was measured of a visible label: a value, light enough for whoever only shows it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

CONTRAST = 4.5
"""WCAG 2.1, 1.4.3 (level AA), for text of any size."""


# A recogniser leaves blanks out, so some words may follow at once.
_AI = re.compile(
    r"(?<![A-Za-z0-9])AI(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])AI(?=GC(?![A-Za-z])|(?i:generat|made|creat|assist|modif|manipul|edit))"
    r"|人工智能"
)


def says_ai(text: str) -> bool:
    """Whether a text has the mark itself, as a word: SAIL, PAINT and HAIR have its letters too."""
    return _AI.search(text) is not None


@dataclass(frozen=True, slots=True)
class Measured:
    """``height``: of a capital letter, as a share of the picture's shorter side; ``height_px`` of this copy.
    ``contrast``: between letters and plate, 1 to 21. ``seconds``: from the clip's start on, as far as was looked; 0
    for a picture. ``text``: what stands there, as far as anybody knows; ``by``: who says so (`record` or `ocr`)."""

    height: float
    height_px: int
    contrast: float
    seconds: float = 0.0
    text: tuple[str, ...] = ()
    by: str = "record"
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def as_dict(self) -> dict[str, Any]:
        return {
            "height": self.height,
            "height_px": self.height_px,
            "contrast": self.contrast,
            "seconds": self.seconds,
            "text": list(self.text),
            "by": self.by,
            "box": list(self.box),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Measured:
        """Raises ValueError, TypeError or KeyError for what is none."""
        left, top, right, bottom = (float(v) for v in value["box"])
        numbers = (left, top, right, bottom, *(float(value[name]) for name in ("height", "contrast", "seconds")))
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a measurement is no number")  # NaN is below no bound
        return cls(
            float(value["height"]),
            int(value["height_px"]),
            float(value["contrast"]),
            float(value["seconds"]),
            tuple(str(line)[:200] for line in value["text"][:8]),
            str(value["by"]),
            (left, top, right, bottom),
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """The label that a signed record names: where (shares), what, and how high its capitals are drawn, in px."""

    box: tuple[float, float, float, float]
    text: tuple[str, ...]
    capital: int


def claimed_label(record: dict[str, Any] | None) -> Claimed | None:
    """None for a record that names none, or that is out of form: it may be a stranger's."""
    label = (record or {}).get("label")
    if not isinstance(label, dict) or "box" not in label:
        return None
    try:
        left, top, right, bottom = (float(share) for share in label["box"])
        text = tuple(str(line)[:60] for line in label["text"][:8])
        capital = int(label["capital_px"])
    except (TypeError, ValueError, KeyError):
        return None
    inside = all(0 <= share <= 1 for share in (left, top, right, bottom)) and left < right and top < bottom
    return Claimed((left, top, right, bottom), text, capital) if inside and text and 1 <= capital <= 1000 else None
