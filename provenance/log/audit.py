"""Verifying a whole log: every leaf hash, every tile, every checkpoint, in one pass and constant memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from sqlalchemy import Connection, text

from ...errors import LogError
from .merkle import EMPTY_ROOT, HASH_BYTES, CompactRange, complete_root
from .note import Checkpoint, VerifierKey
from .rows import raw_chunks, size_of
from .tiles import HEIGHT, WIDTH

MAX_PROBLEMS = 20

_TILE = text("SELECT root, hashes FROM log_tiles WHERE level = :level AND tile_index = :tile")
_TILES = text("SELECT count(*) FROM log_tiles")
_NEGATIVE = text("SELECT count(*) FROM log_entries WHERE seq < 0")
_CHECKPOINTS = text(
    "SELECT size, verifier_key, note FROM log_checkpoints WHERE size > :low AND size <= :high ORDER BY size"
)
_LATER = text("SELECT max(size) FROM log_checkpoints")


@dataclass(frozen=True, slots=True)
class LogReport:
    """What the verification of a log found.

    ``root``: hex, over the entries as they are now. ``first_bad``: the lowest index at which the log is known
    to differ from what was recorded; where only a checkpoint shows it, the lowest at which it may differ.
    None when no entry is in question. ``problems``: sentences for a person. ``checkpoints``: stored ones that
    agree. ``outside``: checkpoints from elsewhere (the guard among them) that agree.
    """

    ok: bool
    entries: int
    root: str
    first_bad: int | None
    problems: tuple[str, ...]
    seconds: float
    checkpoints: int
    outside: int


@dataclass(slots=True)
class _Findings:
    """Problems, and what they say about the first bad entry."""

    problems: list[str] = field(default_factory=list)
    count: int = 0
    exact: int | None = None
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, message: str) -> None:
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(message)

    def entry(self, index: int, message: str) -> None:
        self.exact = index if self.exact is None else min(self.exact, index)
        self.add(message)

    def span(self, low: int, high: int, message: str) -> None:
        """Some entry in [low, high) is not what it was, unless an exact finding there explains it."""
        if len(self.spans) < MAX_PROBLEMS:
            self.spans.append((low, high))
        self.add(message)

    def first_bad(self) -> int | None:
        exact = self.exact
        open_spans = [low for low, high in self.spans if exact is None or not low <= exact < high]
        found = open_spans if exact is None else [exact, *open_spans]
        return min(found, default=None)


class _Pinned:
    """Checkpoints from outside the database, by size."""

    def __init__(
        self, keys: Sequence[VerifierKey], outside: Iterable[str], guard: str | None, found: _Findings
    ) -> None:
        self.at: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        self.agreed = 0
        self.count = 0
        named = [(f"outside checkpoint {place}", note) for place, note in enumerate(outside, 1)]
        if guard is not None:
            named.append(("the guard's checkpoint", guard))
        for name, note in named:
            try:
                checkpoint = Checkpoint.open(note, keys)
            except LogError as error:
                found.add(f"{name} cannot be used: {error.message}")
                continue
            self.at[checkpoint.size].append((name, checkpoint.root))

    def compare(self, size: int, root: bytes, found: _Findings) -> None:
        here = self.at.pop(size, [])
        good = [name for name, expected in here if expected == root]
        for name in (name for name, expected in here if expected != root):
            if good:
                what = f"has another root than {good[0]}: two histories were shown (a split view), which part"
            else:
                what = "is not over these: history was rewritten"
            found.span(
                self.agreed,
                size,
                f"{name}, signed over {size} entries, {what} somewhere from entry {self.agreed} to {size - 1}",
            )
        if good:
            self.agreed = size
            self.count += len(good)


def verify_log(
    connection: Connection,
    keys: Sequence[VerifierKey],
    outside: Iterable[str],
    guard: str | None,
    progress: Callable[[int, int], None] | None,
) -> LogReport:
    """See :meth:`.sequencer.AuditLog.verify`."""
    started = time.perf_counter()
    found = _Findings()
    pinned = _Pinned(keys, outside, guard, found)
    size = size_of(connection)
    check = _Walk(connection, found, pinned)
    check.begin()
    for low, high, rows in raw_chunks(connection, 0, size):
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

    def __init__(self, connection: Connection, found: _Findings, pinned: _Pinned) -> None:
        self.connection = connection
        self.found = found
        self.pinned = pinned
        self.tree = CompactRange()
        self.checkpoints = 0
        self.agreed = 0
        self.tiles = 0
        self.levels: list[list[bytes]] = []

    def begin(self) -> None:
        if self.connection.execute(_NEGATIVE).scalar():
            self.found.add("there are entries before the first")
        stored = self._stored(-1, 0)
        self._compare(0, EMPTY_ROOT, stored)

    def chunk(self, low: int, high: int, rows: list[tuple[object, ...]]) -> None:
        """Entries [low, high); ``low`` is a multiple of 256."""
        hashes = self._leaf_hashes(low, high, rows)
        stored = self._stored(low, high)
        for start in range(0, len(hashes), WIDTH):
            block = hashes[start : start + WIDTH]
            begin, end = low + start, low + start + len(block)
            sizes = {at for at in (*stored, *self.pinned.at) if begin < at <= end}
            if sizes:
                edge = self.tree.copy()
                for item in block:
                    edge.push(item)
                    if edge.size in sizes:
                        self._compare(edge.size, edge.root(), stored)
            if len(block) == WIDTH:
                self.tree.push(self._tile(0, block), HEIGHT)
            else:
                for item in block:
                    self.tree.push(item)

    def end(self, size: int) -> None:
        """What must not be there: tiles and checkpoints beyond the log."""
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
            if row is None:
                self.found.entry(index, f"entry {index} is missing")
            elif not isinstance(leaf, bytes):
                self.found.entry(index, f"entry {index} is not stored as bytes")
            elif sha256(b"\x00" + leaf).digest() != row[2]:
                self.found.entry(index, f"entry {index} does not match its hash")
            hashes.append(sha256(b"\x00" + leaf).digest() if isinstance(leaf, bytes) else bytes(HASH_BYTES))
        return hashes

    def _tile(self, level: int, row: list[bytes]) -> bytes:
        """Compares a full tile with the stored one, and those above that it fills. Returns its root."""
        if level == len(self.levels):
            self.levels.append([])
        index = self.tree.size >> (HEIGHT * (level + 1))
        root = complete_root(row)
        self.tiles += 1
        stored = self.connection.execute(_TILE, {"level": level, "tile": index}).first()
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
            self._tile(level + 1, above)
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

    def _compare(self, size: int, root: bytes, stored: dict[int, list[tuple[str, str]]]) -> None:
        self.pinned.compare(size, root, self.found)
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
                )
            else:
                self.agreed = size
                self.checkpoints += 1
