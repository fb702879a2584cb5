"""Verifying a whole log: every leaf hash, every tile, every checkpoint, in one pass and constant memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256

from sqlalchemy import Connection, text

from ...errors import LogError
from .findings import Findings, LogReport, Pinned
from .merkle import EMPTY_ROOT, HASH_BYTES, CompactRange, complete_root
from .note import Checkpoint, VerifierKey
from .rows import raw_chunks, size_of
from .tiles import HEIGHT, WIDTH

_TILE = text("SELECT root, hashes FROM log_tiles WHERE level = :level AND tile_index = :tile")
_TILES = text("SELECT count(*) FROM log_tiles")
_NEGATIVE = text("SELECT count(*) FROM log_entries WHERE seq < 0")
_CHECKPOINTS = text(
    "SELECT size, verifier_key, note FROM log_checkpoints WHERE size > :low AND size <= :high ORDER BY size"
)
_FOLLOWING = text("SELECT min(seq) FROM log_entries WHERE seq >= :low")
_LATER = text("SELECT max(size) FROM log_checkpoints")


def verify_log(
    connection: Connection,
    keys: Sequence[VerifierKey],
    outside: Iterable[str] | Mapping[str, str],
    guard: str | None,
    progress: Callable[[int, int], None] | None,
    guard_missing: bool = False,
) -> LogReport:
    """See :meth:`.sequencer.AuditLog.verify`."""
    started = time.perf_counter()
    found = Findings()
    pinned = Pinned(keys, outside, guard, found)
    size = size_of(connection)
    check = _Walk(connection, found, pinned)
    check.begin()
    if guard_missing:
        found.add("the guard file is missing, though checkpoints of this log were signed: put it back before it signs")
    for low, high, rows in raw_chunks(connection, 0, size):
        there = low + len(rows)
        if there < high and all(row[0] == low + at for at, row in enumerate(rows)):
            # Nothing after such a gap can be held against a root, and it may be as wide as numbers go.
            if rows:
                check.chunk(low, there, rows)
            check.gap(there)
            break
        check.chunk(low, high, rows)
        if progress is not None:
            progress(high, size)
    check.end(size)
    hidden = found.count - len(found.problems)
    problems = (*found.problems, f"and {hidden} more") if hidden else tuple(found.problems)
    return LogReport(
        ok=not found.count,
        entries=size,
        root=check.tree.root().hex(),
        first_bad=found.first_bad(),
        problems=tuple(problems),
        seconds=time.perf_counter() - started,
        checkpoints=check.checkpoints,
        outside=pinned.count,
    )


class _Walk:
    """The pass over the entries: the tree as far as it has come, and the tiles being filled."""

    def __init__(self, connection: Connection, found: Findings, pinned: Pinned) -> None:
        self.connection = connection
        self.found = found
        self.pinned = pinned
        self.tree = CompactRange()
        self.checkpoints = 0
        self.agreed = 0
        self.tiles = 0
        self.levels: list[list[bytes]] = []
        self.broken = False
        # From the first leaf on that does not match its stored hash: the tree over the stored hashes.
        self.claimed: CompactRange | None = None
        self.unknown = False  # a leaf whose stored hash is gone too: what it explains cannot be told

    def begin(self) -> None:
        if self.connection.execute(_NEGATIVE).scalar():
            self.found.add("there are entries before the first")
        stored = self._stored(-1, 0)
        self._compare(0, EMPTY_ROOT, stored, None)

    def chunk(self, low: int, high: int, rows: list[tuple[object, ...]]) -> None:
        """Entries [low, high); ``low`` is a multiple of 256."""
        hashes = self._leaf_hashes(low, high, rows)
        whole = len(rows) == high - low
        stored = self._stored(low, high)
        for start in range(0, len(hashes), WIDTH):
            block = hashes[start : start + WIDTH]
            begin, end = low + start, low + start + len(block)
            tile = self._stored_tile(0, begin // WIDTH) if len(block) == WIDTH else None
            said = _said(block, rows[start : start + WIDTH] if whole else (), tile)
            if said != block and self.claimed is None:
                self.claimed = self.tree.copy()
            sizes = {at for at in (*stored, *self.pinned.at) if begin < at <= end}
            if sizes:
                edge, other = self.tree.copy(), None if self.claimed is None else self.claimed.copy()
                for item, theirs in zip(block, said, strict=True):
                    edge.push(item)
                    if other is not None:
                        other.push(theirs)
                    if edge.size in sizes:
                        self._compare(edge.size, edge.root(), stored, None if other is None else other.root())
            if self.claimed is not None:
                for theirs in said:
                    self.claimed.push(theirs)
            if len(block) == WIDTH:
                self.tree.push(self._tile(0, block, tile), HEIGHT)
            else:
                for item in block:
                    self.tree.push(item)

    def gap(self, low: int) -> None:
        """Entries are missing from ``low`` on, to the end of their chunk at least."""
        following = self.connection.execute(_FOLLOWING, {"low": low}).scalar()
        self.found.entry(low, f"entries {low} to {int(following or low) - 1} are missing; what follows was not checked")
        self.broken = True

    def end(self, size: int) -> None:
        """What must not be there: tiles and checkpoints beyond the log."""
        if self.broken:
            return
        for later in sorted(self.pinned.at):
            for name, _ in self.pinned.at[later]:
                self.found.span(size, later, f"{name} was signed over {later} entries; the log has {size}")
        grown = size_of(self.connection)
        last = self.connection.execute(_LATER).scalar()
        if last is not None and last > grown:
            self.found.span(grown, last, f"a stored checkpoint is over {last} entries; the log has {grown}")
        count = self.connection.execute(_TILES).scalar() or 0
        if count != self.tiles and grown == size:
            self.found.add(f"the log has {count} full tiles stored, and {self.tiles} by its entries")

    def _leaf_hashes(self, low: int, high: int, rows: list[tuple[object, ...]]) -> list[bytes]:
        """Recomputed; a missing leaf counts as 32 zero bytes, so that the rest can still be checked."""
        if len(rows) == high - low:
            try:
                hashes = [sha256(b"\x00" + row[1]).digest() for row in rows]  # type: ignore[operator]
            except TypeError:
                hashes = []
            if hashes == [row[2] for row in rows] and rows[0][0] == low and rows[-1][0] == high - 1:
                return hashes
        by_index = {row[0]: row for row in rows}
        hashes = []
        for index in range(low, high):
            row = by_index.get(index)
            leaf = None if row is None else row[1]
            if row is None or not isinstance(row[2], bytes):
                self.unknown = True
            if row is None:
                self.found.entry(index, f"entry {index} is missing")
            elif not isinstance(leaf, bytes):
                self.found.entry(index, f"entry {index} is not stored as bytes")
            elif sha256(b"\x00" + leaf).digest() != row[2]:
                self.found.entry(index, f"entry {index} does not match its hash")
            hashes.append(sha256(b"\x00" + leaf).digest() if isinstance(leaf, bytes) else bytes(HASH_BYTES))
        return hashes

    def _stored_tile(self, level: int, index: int) -> tuple[object, object] | None:
        """Root and hashes as they are stored."""
        found = self.connection.execute(_TILE, {"level": level, "tile": index}).first()
        return None if found is None else (found[0], found[1])

    def _tile(self, level: int, row: list[bytes], stored: tuple[object, object] | None) -> bytes:
        """Compares a full tile with the stored one, and those above that it fills. Returns its root."""
        if level == len(self.levels):
            self.levels.append([])
        index = self.tree.size >> (HEIGHT * (level + 1))
        root = complete_root(row)
        self.tiles += 1
        first = index * WIDTH << (HEIGHT * level)
        if stored is None:
            self.found.entry(first, f"tile {level}/{index}, over entries from {first}, is missing")
        elif stored[1] != b"".join(row):
            self._differs(level, index, row, stored[1])
        elif stored[0] != root:
            self.found.entry(first, f"the root of tile {level}/{index}, over entries from {first}, is wrong")
        above = self.levels[level]
        above.append(root)
        if len(above) == WIDTH:
            self.levels[level] = []
            self._tile(level + 1, above, self._stored_tile(level + 1, self.tree.size >> (HEIGHT * (level + 2))))
        return root

    def _differs(self, level: int, index: int, row: list[bytes], stored: object) -> None:
        blob = stored if isinstance(stored, bytes) else b""
        slices = (blob[at : at + HASH_BYTES] for at in range(0, HASH_BYTES * WIDTH, HASH_BYTES))
        place = next(at for at, (mine, theirs) in enumerate(zip(row, slices, strict=True)) if mine != theirs)
        first = index * WIDTH + place << (HEIGHT * level)
        self.found.entry(first, f"tile {level}/{index} holds another hash for entry {first} than the log")

    def _stored(self, low: int, high: int) -> dict[int, list[tuple[str, str]]]:
        """Stored checkpoints with ``low < size <= high``: size -> (verifier key, note)."""
        result: dict[int, list[tuple[str, str]]] = defaultdict(list)
        for size, key, note in self.connection.execute(_CHECKPOINTS, {"low": low, "high": high}):
            result[size].append((key, note))
        return result

    def _compare(self, size: int, root: bytes, stored: dict[int, list[tuple[str, str]]], claimed: bytes | None) -> None:
        """``claimed``: the root over the stored hashes, where it differs from that over the entries."""

        def explains(expected: bytes) -> bool:
            return self.unknown or claimed == expected

        self.pinned.compare(size, root, self.found, explains)
        for key, note in stored.get(size, ()):
            try:
                checkpoint = Checkpoint.open(str(note), [VerifierKey.parse(str(key))])
            except LogError as error:
                self.found.add(f"the stored checkpoint over {size} entries is damaged: {error.message}")
                continue
            if checkpoint.size != size:
                self.found.add(f"the stored checkpoint over {size} entries is signed over {checkpoint.size}")
            elif checkpoint.root != root:
                self.found.span(
                    self.agreed,
                    size,
                    f"the stored checkpoint over {size} entries does not fit them: "
                    f"something changed from entry {self.agreed} to {size - 1}",
                    explained=explains(checkpoint.root),
                )
            else:
                self.agreed = size
                self.checkpoints += 1


def _said(block: list[bytes], rows: Sequence[tuple[object, ...]], tile: tuple[object, object] | None) -> list[bytes]:
    """The leaf hashes as the database says they are: its tile's, else its rows', else those of the leaves."""
    said = block
    if rows:
        said = [row[2] if isinstance(row[2], bytes) else mine for row, mine in zip(rows, block, strict=True)]
    blob = None if tile is None else tile[1]
    if isinstance(blob, bytes) and len(blob) == WIDTH * HASH_BYTES and blob != b"".join(said):
        said = [blob[at : at + HASH_BYTES] for at in range(0, len(blob), HASH_BYTES)]
    return said
