"""The visible label: "AI", and what laws want beside it, on a plate whose colours are chosen by what lies around it.

Sizes are shares of the shorter side, since GB 45438-2025 asks for characters of at least 5 % of it; the plate is
opaque, so that the contrast (WCAG 2.1, 1.4.3) does not hang on the picture. A label that does not fit is an error:
nothing goes out without one that needs one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...errors import MediaError
from ..media import Frame
from .measuring import luminance

Place = Literal["top-right", "auto"]
RGB = NDArray[np.uint8]
MARGIN = 0.02
"""Of the shorter side, between the label and the picture's edges."""
_LEAST_PX = 9
"""Capital letters below this height are no letters any more."""
_LARGEST_SHARE = 0.9
"""Of the picture's width and height that a label may take."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """``lines``: what stands there, the mark first. ``share``: height of a capital letter, of the shorter side.
    ``place``: the top right, or the quietest corner."""

    lines: tuple[str, ...]
    share: float = 0.05
    place: Place = "auto"


@dataclass(frozen=True, slots=True)
class Drawn:
    """``box``: left, top, right, bottom of the plate in px. ``capital``: height of a capital letter in px. ``dark``:
    the plate is dark and the text light. ``lines``: as they stand there, broken where they were too long."""

    box: tuple[int, int, int, int]
    capital: int
    dark: bool
    lines: tuple[str, ...]
    size: tuple[int, int]

    def record(self) -> dict[str, Any]:
        """What the signed record says of it, in shares of width and height so that a copy can be measured."""
        width, height = self.size
        left, top, right, bottom = self.box
        shares = (left / width, top / height, right / width, bottom / height)
        return {"text": list(self.lines), "box": [f"{share:.5f}" for share in shares], "capital_px": self.capital}


@cache
def _font(px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(BytesIO((resources.files(__package__) / "label.ttf").read_bytes()), px)


def check_text(lines: Iterable[str]) -> None:
    """Raises MediaError where a line has characters that the label's font has not."""
    for line in lines:
        for character in line:
            if character != " " and _font(32).getmask(character).getbbox() == _font(32).getmask("\uffff").getbbox():
                raise MediaError(f"the label's font has no {character!r}", code="input.label")


@cache
def _sized(capital: int) -> ImageFont.FreeTypeFont:
    """The smallest size whose capitals are ``capital`` px high at least, counting rows that are nearly full ink."""
    px = max(8, math.floor(capital / 0.76))
    while _capital(px) < capital:
        px += 1
    return _font(px)


def _capital(px: int) -> int:
    image = Image.new("L", (px * 2, px * 2))
    ImageDraw.Draw(image).text((px // 2, px // 4), "I", fill=255, font=_font(px))
    return int((np.asarray(image).max(axis=1) >= 200).sum())


def draw(rgb: RGB, wanted: Wanted) -> tuple[RGB, Drawn]:
    """The plate's pixels and where it lies on a picture like ``rgb`` (h, w, 3). Raises MediaError for no room."""
    height, width = rgb.shape[:2]
    # One px more than the share: encoders and the rounding of an odd side take a little away.
    capital = max(_LEAST_PX, math.ceil(wanted.share * min(width, height)) + 1)
    font, margin = _sized(capital), max(2, round(MARGIN * min(width, height)))
    pad = max(3, round(capital * 0.45))
    lines = _broken(wanted.lines, font, min(int(width * _LARGEST_SHARE), width - 2 * margin) - 2 * pad)
    blank = plate(lines, capital)
    plate_height, plate_width = blank.shape[:2]
    if plate_width + 2 * margin > width or plate_height + 2 * margin > height * _LARGEST_SHARE + 2 * margin:
        raise _no_room(width, height)
    left, top = _place(rgb, plate_width, plate_height, margin, wanted.place)
    dark = _dark_plate(rgb, left, top, plate_width, plate_height)
    box = (left, top, left + plate_width, top + plate_height)
    shown = blank if dark else np.asarray(255 - blank)
    return shown, Drawn(box, capital, dark, tuple(lines), (width, height))


def plate(lines: Sequence[str], capital: int) -> RGB:
    """White letters of ``capital`` px on a black plate: (h, w, 3)."""
    font, pad, gap = _sized(capital), max(3, round(capital * 0.45)), max(2, round(capital * 0.5))
    boxes = [font.getbbox(line) for line in lines]
    text_width = math.ceil(max(box[2] - box[0] for box in boxes))
    text_height = math.ceil(sum(box[3] - box[1] for box in boxes) + gap * (len(lines) - 1))
    image = Image.new("RGB", (text_width + 2 * pad, text_height + 2 * pad), (0, 0, 0))
    pen, y = ImageDraw.Draw(image), float(pad)
    for line, box in zip(lines, boxes, strict=True):
        pen.text((pad - box[0], y - box[1]), line, fill=(255, 255, 255), font=font)
        y += box[3] - box[1] + gap
    return np.asarray(image)


def _no_room(width: int, height: int) -> MediaError:
    return MediaError(
        f"a visible label does not fit on {width} x {height} px",
        code="input.label.room",
        hint="Make it larger: the label's letters are a share of the shorter side.",
    )


def _broken(lines: tuple[str, ...], font: ImageFont.FreeTypeFont, room: int) -> list[str]:
    """The lines, broken between words where they are too wide; the mark itself is never broken."""
    found: list[str] = []
    for line in lines:
        current = ""
        for word in line.split(" "):
            tried = f"{current} {word}".strip()
            if current and font.getlength(tried) > room:
                found.append(current)
                tried = word
            current = tried
        found.append(current)
    return found


def _place(rgb: RGB, width: int, height: int, margin: int, place: Place) -> tuple[int, int]:
    """Left and top. ``auto``: of four corners the one where least is going on."""
    right, bottom = rgb.shape[1] - margin - width, rgb.shape[0] - margin - height
    if place == "top-right":
        return right, margin
    corners = [(right, bottom), (margin, bottom), (right, margin), (margin, margin)]

    def busy(corner: tuple[int, int]) -> float:
        part = rgb[corner[1] : corner[1] + height, corner[0] : corner[0] + width].astype(np.float32).mean(-1)
        return float(part.std() + np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())

    return min(corners, key=busy)


def _dark_plate(rgb: RGB, left: int, top: int, width: int, height: int) -> bool:
    """The plate is what its surroundings are not, so that it is seen to be there."""
    reach = max(4, min(width, height) // 2)
    around = rgb[max(0, top - reach) : top + height + reach, max(0, left - reach) : left + width + reach]
    light = float(luminance(around).mean())
    # Contrast of a black plate against a white one (WCAG's formula).
    return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05)


class Labeller:
    """Labels every frame of a stream at the place that its first frame decides. ``drawn`` is set from then on."""

    def __init__(self, wanted: Wanted) -> None:
        check_text(wanted.lines)
        self._wanted = wanted
        self._plate: RGB | None = None
        self.drawn: Drawn | None = None

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if self._plate is None or self.drawn is None or self.drawn.size != frame.rgb.shape[1::-1]:
                self._plate, self.drawn = draw(frame.rgb, self._wanted)
            rgb, (left, top, right, bottom) = frame.rgb.copy(), self.drawn.box
            rgb[top:bottom, left:right] = self._plate
            alpha = frame.alpha
            if alpha is not None:
                alpha = self.opaque(alpha)
            yield replace(frame, rgb=rgb, alpha=alpha)

    def opaque(self, alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``alpha`` (h, w) with the label shown: one that is transparent is none."""
        if self.drawn is None:
            return alpha
        left, top, right, bottom = self.drawn.box
        shown = alpha.copy()
        shown[top:bottom, left:right] = 255
        return shown
