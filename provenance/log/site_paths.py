"""The names of a tiled log's files (c2sp.org/tlog-tiles), read strictly and written in their one form. Pure.

checkpoint
tile/<L>/<N>[.p/<W>]          hashes: level, index in groups of three digits (x001/x234/067), width if partial
tile/entries/<N>[.p/<W>]      entries: each with its length in two bytes, big-endian
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import LogError, TamperError

WIDTH = 256
HEIGHT = 8
CHECKPOINT = "checkpoint"
MAX_BUNDLE_BYTES = WIDTH * (2 + 0xFFFF)

_NUMBER = r"(?:0|[1-9][0-9]?)"
_TILE = re.compile(
    rf"tile/(?P<level>entries|{_NUMBER})/(?P<index>(?:x[0-9]{{3}}/)*[0-9]{{3}})(?:\.p/(?P<width>[1-9][0-9]{{0,2}}))?",
    re.ASCII,
)
_MAX_LEVEL = 63
_MAX_INDEX = 2**63 // WIDTH


@dataclass(frozen=True, slots=True)
class Resource:
    """One tile or entry bundle. ``level``: None for entries. ``width``: hashes or entries in it, 256 when full."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Without a slash before it."""
        name = "entries" if self.level is None else str(self.level)
        return f"tile/{name}/{index_path(self.index)}{'' if self.width == WIDTH else f'.p/{self.width}'}"

    def within(self, size: int) -> bool:
        """Whether a tree of ``size`` entries has all of it."""
        return self.index * WIDTH + self.width <= size >> (HEIGHT * (self.level or 0))


def index_path(index: int) -> str:
    """``1234067`` is ``x001/x234/067``."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    return "/".join(reversed(groups))


def parse_path(path: str) -> Resource | None:
    """The resource that ``path`` (without a slash before it) names; None for any other text, however close."""
    found = _TILE.fullmatch(path) if len(path) <= 64 else None
    if found is None:
        return None
    level = None if found["level"] == "entries" else int(found["level"])
    index = int(found["index"].replace("x", "").replace("/", ""))
    width = WIDTH if found["width"] is None else int(found["width"])
    resource = Resource(level, index, width)
    if (level or 0) > _MAX_LEVEL or index > _MAX_INDEX or width > WIDTH or resource.path != path:
        return None  # the last: one name for one resource, so neither padding nor `.p/256`
    return resource


def tree_resources(size: int) -> Iterable[Resource]:
    """The partial tiles and the partial bundle of a tree of ``size`` entries: its right edge."""
    level = 0
    while count := size >> (HEIGHT * level):
        if width := count % WIDTH:
            if level == 0:
                yield Resource(None, count // WIDTH, width)
            yield Resource(level, count // WIDTH, width)
        level += 1


def join_entries(leaves: Iterable[bytes]) -> bytes:
    """An entry bundle. Raises LogError (``log.site``) for a leaf of 64 KiB or more."""
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > 0xFFFF:
            raise LogError("an entry is too large for a bundle", code="log.site")
        parts += (len(leaf).to_bytes(2, "big"), leaf)
    return b"".join(parts)


def split_entries(bundle: bytes, most: int = WIDTH) -> list[bytes]:
    """The leaves of an entry bundle. Raises TamperError when it is cut short or holds more than ``most``."""
    leaves: list[bytes] = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 > len(bundle) or end > len(bundle):
            raise TamperError("an entry bundle is cut short")
        leaves.append(bundle[at + 2 : end])
        if len(leaves) > most:
            raise TamperError(f"an entry bundle holds more than {most} entries")
        at = end
    return leaves
