"""The tree's hashes in the database: full tiles of 256 (C2SP tlog-tiles), written once, and the growing edge.

A row is written only when its tile is full, in the transaction of the entry that fills it, so every row of
the log is immutable and appending reads nothing. What is not yet in a full tile (the :class:`Tail`) is kept
in memory and read back from the rows when the log is opened: at most 255 hashes a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from ...errors import TamperError
from .merkle import EMPTY_ROOT, HASH_BYTES, complete_root, node_hash, root_at

WIDTH = 256
HEIGHT = 8

_LAST = "SELECT seq, leaf_hash FROM log_entries ORDER BY seq DESC LIMIT 1"
_LEAVES = text("SELECT seq, leaf_hash FROM log_entries WHERE seq >= :low AND seq < :high ORDER BY seq")
_ROOTS = text(
    "SELECT tile_index, root FROM log_tiles "
    "WHERE level = :level AND tile_index >= :low AND tile_index < :high ORDER BY tile_index"
)
_TILE = text("SELECT hashes FROM log_tiles WHERE level = :level AND tile_index = :tile")


@dataclass(frozen=True, slots=True)
class Tile:
    """A full tile as it is stored: see :class:`..tables.LogTile`."""

    level: int
    index: int
    root: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Tail:
    """The edge of a tree of ``size`` leaves: for each tile level, the hashes (< 256) past its last full
    tile. ``last``: the hash of the last leaf.
    """

    size: int = 0
    pending: tuple[tuple[bytes, ...], ...] = ()
    last: bytes = b""

    def grow(self, leaf_hashes: Sequence[bytes]) -> tuple[Tail, list[Tile]]:
        """The edge after these leaves, and the tiles that they filled."""
        levels = [list(row) for row in self.pending] or [[]]
        filled: list[Tile] = []
        at = 0
        while at < len(leaf_hashes):
            taken = leaf_hashes[at : at + WIDTH - len(levels[0])]
            levels[0] += taken
            at += len(taken)
            level = 0
            while len(row := levels[level]) == WIDTH:
                index = (self.size >> (HEIGHT * (level + 1))) + sum(tile.level == level for tile in filled)
                node = complete_root(row)
                filled.append(Tile(level, index, node, b"".join(row)))
                row.clear()
                level += 1
                if level == len(levels):
                    levels.append([])
                levels[level].append(node)
        last = leaf_hashes[-1] if leaf_hashes else self.last
        rows = tuple(tuple(row) for row in levels) if self.size + at else ()
        return Tail(self.size + at, rows, last), filled

    def root(self) -> bytes:
        """The root of the whole tree."""
        nodes: list[bytes] = []  # complete subtrees from left to right: large before small
        for row in reversed(self.pending):
            start = 0
            for bit in range(HEIGHT - 1, -1, -1):
                if len(row) >> bit & 1:
                    nodes.append(complete_root(row[start : start + (1 << bit)]))
                    start += 1 << bit
        if not nodes:
            return EMPTY_ROOT
        result = nodes.pop()
        while nodes:
            result = node_hash(nodes.pop(), result)
        return result

    @classmethod
    def current(cls, connection: Connection, known: Tail) -> Tail:
        """The edge as it is now: ``known``, unless the rows say otherwise (another process wrote, a commit was
        taken back, the database was restored to an earlier day).
        """
        found = connection.exec_driver_sql(_LAST).first()
        if found is None:
            return cls()
        size, last = int(found[0]) + 1, found[1]
        return known if (known.size, known.last) == (size, last) else cls.load(connection, size)

    @classmethod
    def load(cls, connection: Connection, size: int) -> Tail:
        """The edge at ``size``, from the rows. Raises TamperError when rows are missing or malformed."""
        tiles = TileReader(connection, size)
        rows: list[tuple[bytes, ...]] = []
        level = 0
        while size >> (HEIGHT * level):
            count = size >> (HEIGHT * level)
            rows.append(tiles.hashes(level, count // WIDTH) if count % WIDTH else ())
            level += 1
        last = tiles.hashes(0, (size - 1) // WIDTH)[-1] if size else b""
        return cls(size, tuple(rows), last)


@dataclass(slots=True)
class TileReader:
    """Reads nodes of the tree of the first ``size`` leaves; each tile is read once and kept."""

    connection: Connection
    size: int
    _kept: dict[tuple[int, int], tuple[bytes, ...]] = field(default_factory=dict)

    def node(self, level: int, index: int) -> bytes:
        """A :data:`.merkle.NodeReader`. Raises TamperError when the rows do not hold it."""
        tile_level, up = divmod(level, HEIGHT)
        first = index << up
        row = self.hashes(tile_level, first // WIDTH)
        nodes = row[first % WIDTH : first % WIDTH + (1 << up)]
        if len(nodes) != 1 << up:
            raise ValueError("the node is not complete in this tree")
        return complete_root(nodes)

    def root(self, size: int | None = None) -> bytes:
        """The root of the first ``size`` leaves; of all when not given."""
        return root_at(self.size if size is None else size, self.node)

    def hashes(self, level: int, index: int) -> tuple[bytes, ...]:
        """The hashes of one tile, full or partial, as far as the tree reaches."""
        key = (level, index)
        if key not in self._kept:
            width = min(WIDTH, (self.size >> (HEIGHT * level)) - index * WIDTH)
            if width <= 0:
                raise ValueError("the tile is not in this tree")
            self._kept[key] = self._full(level, index) if width == WIDTH else self._edge(level, index, width)
        return self._kept[key]

    def _full(self, level: int, index: int) -> tuple[bytes, ...]:
        blob = self.connection.execute(_TILE, {"level": level, "tile": index}).scalar()
        if not isinstance(blob, bytes) or len(blob) != WIDTH * HASH_BYTES:
            raise TamperError(f"tile {level}/{index} of the log is missing or damaged")
        return tuple(blob[at : at + HASH_BYTES] for at in range(0, len(blob), HASH_BYTES))

    def _edge(self, level: int, index: int, width: int) -> tuple[bytes, ...]:
        low = index * WIDTH
        if level == 0:
            found = self.connection.execute(_LEAVES, {"low": low, "high": low + width})
        else:
            found = self.connection.execute(_ROOTS, {"level": level - 1, "low": low, "high": low + width})
        rows = found.all()
        good = all(
            place == low + at and isinstance(item, bytes) and len(item) == HASH_BYTES
            for at, (place, item) in enumerate(rows)
        )
        if len(rows) != width or not good:
            raise TamperError(f"the edge of the log at level {level} is missing or damaged")
        return tuple(item for _, item in rows)
