"""Sprites in two styles, with a pyramid of sizes so that any scale is a small resampling step.

`flat` comes from the same package as the stills' sprites (`sprites.py`); `line` are the glyphs of the Noto Emoji font,
whose closed outlines are filled. Both are rasterised once, kept in training/work, and tinted when asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from filigrana.pipeline.generators.embedded.compose import Image, pyramid
from filigrana.pipeline.generators.embedded.dye import INK, PAPER, fill, tint

from .colours import COLOURS16, OWN
from .concepts import STYLES, concepts, refused
from .objects import SHA256
from .sprites import WORK, fetch, rasterise

BASE = 128
"""Side of the largest level in pixels: pictures of 128 pixels never enlarge it. `FINE` is for those of 256 and more."""
FINE = 256
FONT_PACKAGE, FONT_VERSION, FONT_LICENCE = "manimgx-fonts", "2026.9.26.post1", "OFL-1.1"
FONT_AUTHOR = "Google LLC (Noto Emoji)"
FONT_SHA256 = "de6c18832938afc99caf132b39d6a30a19bac7f2e812e28db2535b4608d27551"
EDGE = 2
"""Transparent pixels around each sprite of BASE pixels, and as many times more around a larger one."""
KEPT = 8192
"""Tinted pyramids of BASE kept in memory, about 130 kB each: all 6,018, 800 MB, once every one has been drawn."""


def font() -> bytes:
    """The Noto Emoji font out of the installed package, checked by hash."""
    spec = find_spec("manimgx_fonts")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"pip install {FONT_PACKAGE}=={FONT_VERSION}")
    data = (Path(spec.origin).parent / "NotoEmoji[wght].ttf").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != FONT_SHA256:
        raise ValueError(f"NotoEmoji has SHA-256 {digest}, expected {FONT_SHA256}: {FONT_PACKAGE}=={FONT_VERSION}?")
    return data


def glyph(data: bytes, character: str, side: int = BASE) -> NDArray[np.float32]:
    """A glyph with its closed outlines filled with paper: (side, side, 4) straight-alpha RGBA in 0..1."""
    import io

    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    big = side * 4
    pen = ImageFont.truetype(io.BytesIO(data), int(big * 0.76))
    pen.set_variation_by_axes([500])
    sheet = Pillow.new("L", (big, big))
    ImageDraw.Draw(sheet).text((big / 2, big / 2), character, fill=255, font=pen, anchor="mm")
    ink = np.asarray(sheet)
    rows, columns = np.flatnonzero(ink.max(1)), np.flatnonzero(ink.max(0))
    ink = np.roll(ink, (big - rows[0] - rows[-1]) // 2, 0)
    ink = np.roll(ink, (big - columns[0] - columns[-1]) // 2, 1)
    outside = (ink > 127).astype(np.uint8)
    padded = np.pad(outside, 1)
    # what the outline encloses is the body: flood the outside from the corner, and take the rest
    cv2.floodFill(padded, None, (0, 0), 2)
    body = np.maximum((padded[1:-1, 1:-1] != 2) * np.uint8(255), ink)
    alpha, line = (
        cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
        for plane in (body, ink)
    )
    share = np.minimum(line / np.maximum(alpha, 1e-3), 1)
    rgb = (np.asarray(INK, np.float32) * share + np.asarray(PAPER, np.float32) * (1 - share)) / 255
    return np.concatenate((rgb, alpha), -1).astype(np.float32)


def premultiplied(rgba: NDArray[np.float32]) -> Image:
    """Straight alpha in 0..1 to premultiplied uint8."""
    soft = rgba.copy()
    soft[..., :3] *= soft[..., 3:]
    out: Image = np.rint(soft * 255).astype(np.uint8)
    return out


def extent(alpha: Image) -> tuple[int, int, int, int]:
    """The tight box of what can be seen, (left, top, right, bottom) in pixels, of (h, w) uint8."""
    rows, columns = np.flatnonzero((alpha > 40).any(1)), np.flatnonzero((alpha > 40).any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def fitted(rgba: Image) -> Image:
    """The sprite centred and scaled so that its longer side fills the square but for a transparent edge, which
    bilinear sampling needs; so a size means the same for every sprite."""
    left, top, right, bottom = extent(rgba[..., 3])
    room = len(rgba) * (1 - 2 * EDGE / BASE)
    zoom = room / max(right - left, bottom - top)
    middle = len(rgba) / 2 - 0.5
    shift = np.array(
        [[zoom, 0, middle - zoom * (left + right - 1) / 2], [0, zoom, middle - zoom * (top + bottom - 1) / 2]]
    )
    soft = premultiplied(rgba.astype(np.float32) / 255).astype(np.float32)
    moved = cv2.warpAffine(soft, shift, (len(rgba), len(rgba)), flags=cv2.INTER_CUBIC).clip(0, 255)
    moved[..., :3] = np.minimum(moved[..., :3] * 255 / np.maximum(moved[..., 3:], 1), 255)
    out: Image = np.rint(moved).astype(np.uint8)
    return out


class Atlas:
    """All sprites; `base` is (concepts, styles, side, side, 4) uint8 in straight alpha.

    `shape` is (concepts, styles, 2) float32: the tight box's width and height as shares of the longer, in 0..1.
    """

    def __init__(self, base: Image) -> None:
        self.base = base
        boxes = np.array([[extent(sprite[..., 3]) for sprite in row] for row in base], np.float32)
        sides = np.stack((boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]), -1)
        self.shape: NDArray[np.float32] = np.minimum(sides / (base.shape[2] * (1 - 2 * EDGE / BASE)), 1)
        self._most = KEPT * BASE**2 // base.shape[2] ** 2
        self._kept: OrderedDict[tuple[int, int, int], tuple[Image, ...]] = OrderedDict()

    def levels(self, concept: int, style: int, colour: int) -> tuple[Image, ...]:
        """The sprite's pyramid, premultiplied uint8, largest first; `colour` indexes COLOURS16 or is OWN."""
        key = (concept, style, colour)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        rgba = self.base[concept, style].astype(np.float32) / 255
        if colour != OWN:
            rgb = COLOURS16[colour].rgb
            rgba = fill(rgba, rgb) if STYLES[style] == "line" else tint(rgba, rgb)
        made = self._kept[key] = pyramid(premultiplied(rgba))
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made

    def mean(self, concept: int, style: int, colour: int) -> NDArray[np.float32]:
        """The mean visible colour in 0..255: (3,) float32."""
        small = self.levels(concept, style, colour)[-1].reshape(-1, 4).astype(np.float32).sum(0)
        mean: NDArray[np.float32] = small[:3] * 255 / max(float(small[3]), 1.0)
        return mean


def load_atlas(folder: Path = WORK, side: int = BASE, with_refused: bool = False) -> Atlas:
    """The atlas of sprites of `side` pixels from the cache in `folder`, rasterised first where it is missing.

    `with_refused` adds what the newsroom pack refuses after all others, as `concepts.thing` numbers it."""
    icons = [concept.icon for concept in (*concepts(), *(refused() if with_refused else ()))]
    key = hashlib.sha256((SHA256 + FONT_SHA256 + repr((icons, side, EDGE))).encode()).hexdigest()[:16]
    path = folder / f"atlas-{key}.npy"
    if not path.exists():
        bodies = json.loads(fetch(folder).read_text(encoding="utf-8"))["icons"]
        written, data = characters(folder), font()
        base = np.empty((len(icons), len(STYLES), side, side, 4), np.uint8)
        for row, icon in enumerate(icons):
            large = rasterise(bodies[icon]["body"], side * 2)
            flat = cv2.resize(premultiplied(large), (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
            flat[..., :3] /= np.maximum(flat[..., 3:], 1) / 255
            for style, drawn in enumerate((flat / 255, glyph(data, written[icon], side))):
                base[row, style] = fitted(np.rint(drawn.clip(0, 1) * 255).astype(np.uint8))
        partial = path.with_suffix(".tmp.npy")
        np.save(partial, base)
        partial.replace(path)
    return Atlas(np.load(path, mmap_mode="r"))


def characters(folder: Path = WORK) -> dict[str, str]:
    """The Unicode character of each icon, as the package's chars.json gives it."""
    import tarfile

    chars = folder / "chars.json"
    if not chars.exists():
        fetch(folder)
        with tarfile.open(next(folder.glob("*fluent-emoji-flat*.tgz"))) as tar:
            member = tar.extractfile("package/chars.json")
            assert member is not None
            chars.write_bytes(member.read())
    table = json.loads(chars.read_text(encoding="utf-8"))
    return {icon: "".join(chr(int(part, 16)) for part in code.split("-")[:1]) for code, icon in table.items()}
