"""The pictures that the bench measures on: openly licensed, found in installed packages, checked by digest.

`photographs.csv` lists each file with its package, author, licence, size, SHA-256 and split. The split follows from
the digest (first hexadecimal digit under 8: tuning, else test), so nobody chose what a codec is measured on. A crop
of a photograph has its photograph's split.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import FiligranaError

RGB = NDArray[np.uint8]
Split = Literal["tuning", "test"]

_PACKAGES = {
    "lomiri-wallpapers": "apt-get install lomiri-wallpapers-16.04 lomiri-wallpapers-20.04",
    "mate-backgrounds": "apt-get install mate-backgrounds",
    "plasma-workspace-wallpapers": "apt-get install --no-install-recommends plasma-workspace-wallpapers",
    "ukui-wallpapers": "apt-get install ukui-wallpapers",
    "scikit-image": "pip install 'filigrana[bench]'",
    "scikit-learn": "pip install 'filigrana[bench]'",
}
_FOLDERS = {
    "plasma-workspace-wallpapers": "wallpapers",
    "lomiri-wallpapers": "backgrounds",
    "mate-backgrounds": "backgrounds",
    "ukui-wallpapers": "backgrounds",
}
_SHARE = Path("/usr/share")


@dataclass(frozen=True, slots=True)
class Source:
    """A row of photographs.csv. ``width`` and ``height`` in px; ``kind``: photograph, or art for large drawings."""

    file: str
    package: str
    author: str
    licence: str
    width: int
    height: int
    sha256: str
    split: Split
    kind: str

    @property
    def name(self) -> str:
        parts = Path(self.file).parts
        # Plasma's files are called by their size: the folder above is the picture's name.
        return parts[0] if "contents" in parts else Path(self.file).stem


@dataclass(frozen=True, slots=True)
class Picture:
    """``rgb``: (h, w, 3) uint8. ``name`` says which crop of its source it is: ``Bridge…[1/2]``."""

    name: str
    rgb: RGB
    licence: str
    author: str
    package: str
    split: str
    kind: str = "photograph"


@dataclass(frozen=True, slots=True)
class Missing:
    """``reason``: what is wrong with the file. ``command``: what installs it."""

    source: Source
    reason: str
    command: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A cell of a source's grid: ``part`` of ``columns`` x ``rows``; 1 x 1 is the whole picture."""

    source: Source
    columns: int
    rows: int
    part: int

    @property
    def name(self) -> str:
        whole = self.columns * self.rows
        return self.source.name if whole == 1 else f"{self.source.name}[{self.part + 1}/{whole}]"

    def cut(self, rgb: RGB) -> RGB:
        row, column = divmod(self.part, self.columns)
        height, width = rgb.shape[0] // self.rows, rgb.shape[1] // self.columns
        return rgb[row * height : (row + 1) * height, column * width : (column + 1) * width]


@cache
def sources() -> tuple[Source, ...]:
    """Every row of the list, in its order."""
    text = (resources.files(__package__) / "photographs.csv").read_text("utf-8")
    return tuple(
        Source(
            row["file"],
            row["package"],
            row["author"],
            row["licence"],
            int(row["width"]),
            int(row["height"]),
            row["sha256"],
            "tuning" if row["split"] == "tuning" else "test",
            row["kind"],
        )
        for row in csv.DictReader(StringIO(text))
    )


def _folder(package: str) -> Path | None:
    module = {"scikit-image": "skimage", "scikit-learn": "sklearn"}.get(package)
    if module is None:
        return _SHARE / _FOLDERS[package]
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        return None
    inside = "data" if module == "skimage" else "datasets/images"
    return Path(next(iter(found.submodule_search_locations))) / inside


def locate(source: Source) -> Path | Missing:
    """The file of a row, once its digest is checked, or why not and what to do."""
    command = _PACKAGES[source.package]
    folder = _folder(source.package)
    path = None if folder is None else folder / source.file
    if path is None or not path.is_file():
        return Missing(source, "not installed", command)
    return path if _digest(path) == source.sha256 else Missing(source, "another file than the listed one", command)


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def missing(split: Split | None = None) -> list[Missing]:
    """The listed files of a split (None: of both) that are not there, or not what was listed."""
    found = (locate(source) for source in sources() if split is None or source.split == split)
    return [entry for entry in found if isinstance(entry, Missing)]


def decode(path: Path) -> RGB:
    """8-bit sRGB of a picture file; transparent places are shown on white."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode in ("RGBA", "LA", "P"):
            layer = image.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            return np.array(Image.alpha_composite(white, layer).convert("RGB"))
        return np.array(image.convert("RGB"))


def scaled(rgb: RGB, short_side: int) -> RGB:
    """The picture with that short side in px, averaged over areas; its aspect to the nearest pixel. Never larger."""
    height, width = rgb.shape[:2]
    scale = short_side / min(height, width)
    if scale > 1:
        raise ValueError(f"{width} x {height} px would be enlarged to a short side of {short_side} px")
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return rgb.copy() if scale == 1 else np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _plan(available: Sequence[Source], short_side: int, count: int) -> list[_Piece]:
    """Whole photographs first; then the largest ones in cells that do not overlap; then whole art, then its cells."""
    chosen: list[_Piece] = []
    for kind in ("photograph", "art"):
        fits = [s for s in available if s.kind == kind and min(s.width, s.height) >= short_side]
        grids = {s.sha256: (1, 1) for s in fits}
        for source in sorted(fits, key=lambda s: (-s.width * s.height, s.sha256)):
            if len(chosen) + sum(c * r for c, r in grids.values()) >= count:
                break
            grids[source.sha256] = (source.width // short_side, source.height // short_side)
            # A cell should show more than texture: at small sizes four cells a photograph are enough.
            grids[source.sha256] = tuple(min(2, n) for n in grids[source.sha256])  # type: ignore[assignment]
        # Ordered by digest within each part, so that a small count is a fair sample of the packages.
        pieces = [
            _Piece(s, *grids[s.sha256], part)
            for s in sorted(fits, key=lambda s: s.sha256)
            for part in range(grids[s.sha256][0] * grids[s.sha256][1])
        ]
        chosen += sorted(pieces, key=lambda p: p.part)
        if len(chosen) >= count:
            break
    return chosen[:count]


def _available(split: Split) -> list[Source]:
    return [s for s in sources() if s.split == split and not isinstance(locate(s), Missing)]


def names(split: Split, short_side: int, count: int) -> list[str]:
    """The names of what `pictures` gives, without decoding anything. Raises as it does."""
    found = [piece.name for piece in _plan(_available(split), short_side, count)]
    if not found:
        raise FiligranaError(
            f"no picture of the {split} split with {short_side} px on its short side is installed",
            code="bench.pictures",
            hint="; ".join(sorted({entry.command for entry in missing(split)})),
        )
    return found


def picture(split: Split, short_side: int, count: int, index: int) -> Picture:
    """``pictures(split, short_side, count)[index]`` alone: one file is decoded."""
    piece = _plan(_available(split), short_side, count)[index]
    source, path = piece.source, locate(piece.source)
    if isinstance(path, Missing):
        raise FiligranaError(f"{source.file} went away", code="bench.pictures", hint=path.command)
    rgb = scaled(piece.cut(decode(path)), short_side)
    return Picture(piece.name, rgb, source.licence, source.author, source.package, source.split, source.kind)


def pictures(split: Split, short_side: int, count: int) -> list[Picture]:
    """Up to ``count`` pictures of a split whose short side is ``short_side`` px, the same in every run.

    A photograph is scaled down and never up: one that is smaller is left out. Where there are fewer photographs
    than ``count``, the largest are cut into up to 2 x 2 cells that do not overlap, then large art is added.
    Raises FiligranaError `bench.pictures` when there is none.
    """
    return [picture(split, short_side, count, i) for i in range(len(names(split, short_side, count)))]
