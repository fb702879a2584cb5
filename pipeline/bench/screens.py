"""Pictures of a picture: in a window, a web page, a phone; with a caption, a sticker, or beside another picture.

Everything is drawn here, with the fonts inside Pillow: no file of anybody's page or phone is used.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .pictures import RGB
from .shapes import flip, resize, to_size

_TEXT = (
    "the mark of a paper mill was a figure in wire that let light through and told a buyer who made this sheet when "
    "and how well it was pressed today a copy travels without its papers reply share save open more about terms help "
    "settings 12 345 7 comments yesterday photo news local weather map search account basket free read next page"
)
_WORDS = _TEXT.split()


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(max(8, size))


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    r, g, b = rng.integers(low, high, 3).tolist()
    return r, g, b


def words(rng: np.random.Generator, count: int) -> str:
    return " ".join(rng.choice(_WORDS, count).tolist())


def write(
    draw: Any, box: tuple[int, int, int, int], rng: np.random.Generator, size: int, ink: tuple[int, int, int]
) -> None:
    """Fills ``box`` (left, top, right, bottom) px with lines of words of ``size`` px."""
    left, top, right, bottom = box
    letters = int((right - left) / (size * 0.47))
    if letters < 3:
        return
    for y in range(top, bottom - size, round(size * 1.45)):
        length = letters if rng.random() < 0.85 else max(3, int(letters * rng.random()))
        draw.text((left, y), words(rng, letters // 4 + 2)[:length], font=_font(size), fill=ink)


def _sheet(width: int, height: int, colour: tuple[int, int, int]) -> tuple[Any, Any]:
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def _theme(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(paper, ink): a light theme twice as often as a dark one."""
    if rng.random() < 2 / 3:
        return _colour(rng, 235), _colour(rng, 0, 60)
    return _colour(rng, 10, 50), _colour(rng, 190)


def screenshot(rgb: RGB, rng: np.random.Generator) -> RGB:
    """A window with a title bar, borders, a tool bar and text on a desktop; the picture scaled by .6 to 1."""
    shown = resize(rgb, float(rng.uniform(0.6, 1.0)))
    height, width = shown.shape[:2]
    unit = max(8, round(min(height, width) / 40))
    paper, ink = _theme(rng)
    left, right = (int(rng.integers(1, 12)) * unit for _ in range(2))
    top, bottom = int(rng.integers(4, 10)) * unit, int(rng.integers(2, 10)) * unit
    edges = [int(edge) * unit for edge in rng.integers(0, 5, 4)]
    total_w, total_h = width + left + right + edges[0] + edges[1], height + top + bottom + edges[2] + edges[3]
    desk = np.linspace(_colour(rng), _colour(rng), total_h)[:, None].repeat(total_w, 1).astype(np.uint8)
    image = Image.fromarray(desk)
    draw = ImageDraw.Draw(image)
    x, y = edges[0], edges[2]
    window = (x, y, x + width + left + right - 1, y + height + top + bottom - 1)
    draw.rectangle(window, fill=paper, outline=_colour(rng), width=max(1, unit // 8))
    draw.rectangle((x, y, window[2], y + 2 * unit), fill=_colour(rng))
    for i in range(3):
        draw.ellipse(
            (x + unit * (1 + 2 * i), y + unit // 2, x + unit * (2 + 2 * i), y + unit * 3 // 2), fill=_colour(rng)
        )
    draw.text((x + 8 * unit, y + unit // 3), words(rng, 4), font=_font(unit), fill=_colour(rng))
    write(draw, (x + left, y + unit * 5 // 2, window[2] - unit, y + top), rng, unit, ink)
    write(draw, (x + unit // 2, y + top, x + left - unit // 2, window[3]), rng, unit, ink)
    write(draw, (x + left + width + unit // 2, y + top, window[2] - unit // 2, window[3]), rng, unit, ink)
    write(draw, (x + left, y + top + height + unit // 2, window[2] - unit, window[3]), rng, unit, ink)
    image.paste(Image.fromarray(shown), (x + left, y + top))
    return np.array(image)


def page(rgb: RGB, rng: np.random.Generator) -> RGB:
    """A web page with a heading and columns of text; the picture, scaled by .7 to 1, is a third to a half of it."""
    shown = resize(rgb, float(rng.uniform(0.7, 1.0)))
    height, width = shown.shape[:2]
    share = float(rng.uniform(1 / 3, 1 / 2))
    grow = (1 / share) ** rng.uniform(0.35, 0.65)
    total_w, total_h = round(width * grow), round(height / share / grow)
    paper, ink = _theme(rng)
    image, draw = _sheet(total_w, total_h, paper)
    unit = max(8, round(min(height, width) / 36))
    left, top = int(rng.integers(0, total_w - width + 1)), int(rng.integers(0, total_h - height + 1))
    write(draw, (unit, unit // 2, total_w - unit, max(unit, top - 2 * unit)), rng, unit, ink)
    if top > 4 * unit:
        draw.rectangle((0, 0, total_w, 2 * unit), fill=_colour(rng))
        draw.text((unit, unit // 3), words(rng, 8), font=_font(unit), fill=_colour(rng, 200))
        draw.text((left, top - 2 * unit), words(rng, 5).capitalize(), font=_font(unit * 3 // 2), fill=ink)
    write(draw, (unit // 2, top, left - unit // 2, total_h), rng, unit, ink)
    write(draw, (left + width + unit // 2, top, total_w - unit // 2, total_h), rng, unit, ink)
    write(draw, (left, top + height + unit // 2, left + width, total_h), rng, unit, ink)
    image.paste(Image.fromarray(shown), (left, top))
    return np.array(image)


def phone(rgb: RGB, rng: np.random.Generator) -> RGB:
    """A phone's screen of at most 1080 px with the picture at full width, a status bar, a caption and buttons."""
    width = min(1080, rgb.shape[1])
    height = round(rgb.shape[0] * width / rgb.shape[1])
    shown = rgb if width == rgb.shape[1] else to_size(rgb, width, height)
    unit = max(8, width // 28)
    total = max(round(width * rng.uniform(1.5, 2.1)), height + 9 * unit)
    paper, ink = _theme(rng)
    image, draw = _sheet(width, total, paper)
    draw.text((unit, unit // 4), f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}", font=_font(unit), fill=ink)
    draw.rectangle((width - 3 * unit, unit // 3, width - unit, unit), outline=ink, width=2)
    draw.ellipse((unit // 2, 3 * unit // 2, 5 * unit // 2, 7 * unit // 2), fill=_colour(rng))
    draw.text((3 * unit, 2 * unit), words(rng, 3), font=_font(unit), fill=ink)
    top = 4 * unit + int(rng.integers(0, max(1, (total - height - 8 * unit) // 2)))
    write(draw, (unit, 4 * unit, width - unit, top), rng, unit, ink)
    image.paste(Image.fromarray(shown), (0, top))
    below = top + height + unit // 2
    for i in range(4):
        draw.ellipse((unit * (1 + 3 * i), below, unit * (2 + 3 * i), below + unit), outline=_colour(rng), width=3)
    write(draw, (unit, below + 2 * unit, width - unit, total - unit), rng, unit, ink)
    return np.array(image)


def caption(rgb: RGB, rng: np.random.Generator) -> RGB:
    """An opaque bar with text over the bottom 15 %."""
    height, width = rgb.shape[:2]
    bar = round(height * 0.15)
    paper, ink = _theme(rng)
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height - bar, width, height), fill=paper)
    write(draw, (bar // 5, height - bar + bar // 8, width - bar // 5, height), rng, round(bar / 3.2), ink)
    return np.array(image)


def sticker(rgb: RGB, rng: np.random.Generator) -> RGB:
    """A round yellow face over 15 % of the area, wholly inside the picture."""
    height, width = rgb.shape[:2]
    radius = min(np.sqrt(0.15 * width * height / np.pi), min(height, width) / 2)
    cx, cy = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        return (cx + (x - w) * radius, cy + (y - h) * radius, cx + (x + w) * radius, cy + (y + h) * radius)

    draw.ellipse(at(0, 0, 1, 1), fill=(255, 204, 51), outline=(230, 160, 20), width=max(1, int(radius / 30)))
    for x in (-0.35, 0.35):
        draw.ellipse(at(x, -0.25, 0.11, 0.16), fill=(70, 45, 10))
    draw.chord(at(0, 0.15, 0.6, 0.55), 0, 180, fill=(110, 50, 20))
    return np.array(image)


@cache
def _other() -> RGB:
    from .pictures import decode

    with resources.as_file(resources.files("filigrana.pipeline.cli") / "photo.jpg") as path:
        return decode(path)


def another(rng: np.random.Generator, width: int, height: int) -> RGB:
    """A piece of the photograph that ships with the package, unmarked, of that size in px."""
    photo = _other()
    if rng.random() < 0.5:
        photo = flip(photo, 1)
    scale = min(photo.shape[1] / width, photo.shape[0] / height) * rng.uniform(0.5, 1.0)
    w, h = max(1, int(width * scale)), max(1, int(height * scale))
    left, top = (int(rng.integers(0, n)) for n in (photo.shape[1] - w + 1, photo.shape[0] - h + 1))
    return to_size(photo[top : top + h, left : left + w], width, height)


def collage(rgb: RGB, rng: np.random.Generator) -> RGB:
    """A quarter of the area shows another picture: laid over a corner, or put beside (or under) the whole."""
    height, width = rgb.shape[:2]
    if rng.random() < 0.5:
        share = 0.25 ** rng.uniform(0.3, 0.7)
        w, h = round(width * share), round(height * 0.25 / share)
        out = rgb.copy()
        left, top = (int(rng.integers(0, 2)) * n for n in (width - w, height - h))
        out[top : top + h, left : left + w] = another(rng, w, h)
        return out
    if width >= height:
        parts = [rgb, another(rng, width, round(height / 3))]
        axis = 0
    else:
        parts = [rgb, another(rng, round(width / 3), height)]
        axis = 1
    return np.concatenate(parts if rng.random() < 0.5 else parts[::-1], axis)


def text_page(rng: np.random.Generator, width: int, height: int) -> RGB:
    """A page of nothing but text and lines: unmarked material for the false-positive count."""
    paper, ink = _theme(rng)
    image, draw = _sheet(width, height, paper)
    size = int(rng.integers(9, 30))
    columns = int(rng.integers(1, 4))
    for i in range(columns):
        write(draw, (i * width // columns + size, size, (i + 1) * width // columns - size, height), rng, size, ink)
    return np.array(image)
