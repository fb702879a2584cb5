"""Checking a log by its static files alone (c2sp.org/tlog-tiles): what an auditor without the database runs.

From the signed checkpoint on, every byte counts: each entry is hashed against its tile, each tile against the one
above it, the whole against the signed root. One pass, in constant memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, LogError
from .cosignature import MAX_AHEAD, Cosignature, cosignatures, require_witness_keys
from .merkle import EMPTY_ROOT, HASH_BYTES, CompactRange, complete_root, leaf_hash
from .note import MAX_NOTE_BYTES, Checkpoint, VerifierKey
from .places import is_url, place
from .site_paths import CHECKPOINT, HEIGHT, MAX_BUNDLE_BYTES, WIDTH, Resource, split_entries
from .site_source import HttpSource, Source

MAX_PROBLEMS = 20
_TILE_BYTES = WIDTH * HASH_BYTES


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What the verification of the files found.

    ``entries``, ``root`` (hex): as the checkpoint says. ``first_bad``: the lowest entry in question; None when
    none is. ``outside``: checkpoints kept elsewhere that agree. ``problems``: sentences for a person. ``cosigned``:
    cosignatures of the checkpoint by the given witnesses' keys.
    """

    ok: bool
    source: str
    origin: str
    entries: int
    root: str
    first_bad: int | None
    outside: int
    problems: tuple[str, ...]
    seconds: float
    cosigned: tuple[Cosignature, ...] = ()


def verify_site(
    source: str | os.PathLike[str],
    keys: Sequence[VerifierKey],
    checkpoints: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
    *,
    witnesses: Sequence[VerifierKey] = (),
    now: float | None = None,
) -> SiteReport:
    """Verifies the whole log at ``source``: a folder, an http address, or what fsspec knows.

    ``keys``: the log's verifier keys, from somewhere else than the files. ``checkpoints``: kept from earlier, of
    the same log: the files must contain each of those trees. ``progress(done, total)`` counts entries. ``witnesses``:
    keys from elsewhere, of which cosignatures are looked for. ``now``: POSIX seconds, in place of the clock. Raises
    InputError when ``source`` is no place, LogError (``log.place``) when it cannot be reached, or (``log.policy``)
    when a key can be no witness's; whatever is wrong with the files is in the report.
    """
    require_witness_keys(witnesses, keys)
    latest = (time.time() if now is None else now) + MAX_AHEAD
    text = os.fspath(source)
    if text.lower().startswith(("http://", "https://")):
        with HttpSource(text) as http:
            return _verify(http, keys, checkpoints, progress, witnesses, latest)
    if not is_url(text) and not Path(text).is_dir():
        raise InputError(f"there is no folder {text}", code="input.target")
    return _verify(place(text), keys, checkpoints, progress, witnesses, latest)


def _verify(
    source: Source,
    keys: Sequence[VerifierKey],
    checkpoints: Iterable[str],
    progress: Callable[[int, int], None] | None,
    witnesses: Sequence[VerifierKey],
    latest: float,
) -> SiteReport:
    started = time.perf_counter()
    walk = _Walk(source)
    head = walk.head(keys)
    if head is not None:
        walk.pin(head, checkpoints, keys)
        walk.witness(witnesses, latest)
        walk.run(head, progress)
    hidden = walk.count - len(walk.problems)
    return SiteReport(
        ok=not walk.count and head is not None,
        source=source.name,
        origin="" if head is None else head.origin,
        entries=0 if head is None else head.size,
        root="" if head is None else head.root.hex(),
        first_bad=walk.first_bad,
        outside=walk.outside,
        problems=(*walk.problems, f"and {hidden} more") if hidden else tuple(walk.problems),
        seconds=time.perf_counter() - started,
        cosigned=tuple(walk.cosigned),
    )


class _Walk:
    """The pass over the files: the tree so far, and the row of each level of tiles that is being filled."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tree = CompactRange()
        self.levels: list[list[bytes]] = []
        self.pinned: dict[int, list[bytes]] = {}
        self.agreed = self.outside = self.count = 0
        self.first_bad: int | None = None
        self.problems: list[str] = []
        self.note = ""
        self.cosigned: list[Cosignature] = []

    def head(self, keys: Sequence[VerifierKey]) -> Checkpoint | None:
        data = self.source.read(CHECKPOINT, MAX_NOTE_BYTES)
        if data is None:
            self.found("there is no checkpoint")
            return None
        try:
            self.note = data.decode("utf-8")
            return Checkpoint.open(self.note, keys)
        except UnicodeDecodeError:
            self.found("the checkpoint is no text")
        except LogError as error:
            self.found(f"the checkpoint cannot be used: {error.message}")
        return None

    def pin(self, head: Checkpoint, notes: Iterable[str], keys: Sequence[VerifierKey]) -> None:
        for number, note in enumerate(notes, 1):
            try:
                kept = Checkpoint.open(note, keys)
            except LogError as error:
                self.found(f"outside checkpoint {number} cannot be used: {error.message}")
                continue
            if kept.origin != head.origin:
                self.found(f"outside checkpoint {number} is of the log {kept.origin}, not of {head.origin}")
            elif kept.size > head.size:
                self.found(
                    f"outside checkpoint {number} is over {kept.size} entries; the files show {head.size}", head.size
                )
            else:
                self.pinned.setdefault(kept.size, []).append(kept.root)

    def witness(self, keys: Sequence[VerifierKey], latest: float) -> None:
        for key in keys:
            try:
                self.cosigned += [item for item in cosignatures(self.note, [key]) if item.time <= latest]
            except LogError as error:
                self.found(f"the cosignature of {key.name} cannot be used: {error.message}")

    def run(self, head: Checkpoint, progress: Callable[[int, int], None] | None) -> None:
        self.compare(0, EMPTY_ROOT)
        while self.tree.size < head.size:
            start, end = self.tree.size, min(self.tree.size + WIDTH, head.size)
            hashes = self.leaves(start // WIDTH, end - start)
            inside = [size for size in self.pinned if start < size <= end]
            edge = self.tree.copy() if inside else None
            for at, item in enumerate(hashes, 1) if edge is not None else ():
                edge.push(item)  # type: ignore[union-attr]
                if start + at in inside:
                    self.compare(start + at, edge.root())  # type: ignore[union-attr]
            if len(hashes) == WIDTH:
                self.tree.push(self.tile(0, hashes), HEIGHT)
            else:
                self.compare_tile(Resource(0, start // WIDTH, len(hashes)), hashes)
                for item in hashes:
                    self.tree.push(item)
            if progress is not None:
                progress(end, head.size)
        for level, row in enumerate(self.levels):
            index = (head.size >> (HEIGHT * (level + 1))) // WIDTH
            if row:
                self.compare_tile(Resource(level + 1, index, len(row)), row)
        if self.tree.root() != head.root:
            self.found("the entries do not lead to the signed root", self.agreed if self.first_bad is None else None)

    def leaves(self, index: int, width: int) -> list[bytes]:
        """The hashes of the entries in a bundle; 32 zero bytes for each that cannot be had."""
        resource = Resource(None, index, width)
        leaves: list[bytes] = []
        try:
            data = self.read(resource, MAX_BUNDLE_BYTES)
            if data is not None:
                leaves = split_entries(data)
        except LogError as error:
            self.found(f"{resource.path}: {error.message}", index * WIDTH)
            return [bytes(HASH_BYTES)] * width
        if data is None:
            self.found(f"{resource.path} is missing", index * WIDTH)
        elif len(leaves) != width:
            self.found(
                f"{resource.path} holds {len(leaves)} entries, not {width}", index * WIDTH + min(len(leaves), width)
            )
        hashes = [leaf_hash(leaf) for leaf in leaves[:width]]
        return hashes + [bytes(HASH_BYTES)] * (width - len(hashes))

    def tile(self, level: int, row: list[bytes]) -> bytes:
        """Compares a full tile, and those above that it fills. Returns its root."""
        if level == len(self.levels):
            self.levels.append([])
        self.compare_tile(Resource(level, self.tree.size >> (HEIGHT * (level + 1))), row)
        root = complete_root(row)
        above = self.levels[level]
        above.append(root)
        if len(above) == WIDTH:
            self.levels[level] = []
            self.tile(level + 1, above)
        return root

    def compare_tile(self, resource: Resource, row: list[bytes]) -> None:
        level = resource.level or 0
        first = resource.index * WIDTH << (HEIGHT * level)
        try:
            data = self.read(resource, _TILE_BYTES)
        except LogError as error:
            self.found(f"{resource.path}: {error.message}", first)
            return
        if data is None:
            self.found(f"{resource.path} is missing", first)
        elif data != b"".join(row):
            slices = [data[at : at + HASH_BYTES] for at in range(0, HASH_BYTES * len(row), HASH_BYTES)]
            differs = next((at for at, (ours, theirs) in enumerate(zip(row, slices, strict=True)) if ours != theirs), 0)
            self.found(f"{resource.path} does not match the entries", first + (differs << (HEIGHT * level)))

    def read(self, resource: Resource, most: int) -> bytes | None:
        """A partial one may be gone once the full one is there; then that one's beginning is it."""
        data = self.source.read(resource.path, most)
        if data is not None or resource.width == WIDTH:
            return data
        full = self.source.read(Resource(resource.level, resource.index).path, most)
        if full is None:
            return None
        if resource.level is not None:
            return full[: resource.width * HASH_BYTES]
        ends, at = [0], 0
        for leaf in split_entries(full):
            at += 2 + len(leaf)
            ends.append(at)
        return full[: ends[min(resource.width, len(ends) - 1)]]

    def compare(self, size: int, root: bytes) -> None:
        for expected in self.pinned.pop(size, ()):
            if root == expected:
                self.outside += 1
                self.agreed = size
            else:
                self.found(f"a checkpoint kept elsewhere was signed over other {size} entries than these", self.agreed)

    def found(self, message: str, first: int | None = None) -> None:
        self.count += 1
        if first is not None:
            self.first_bad = first if self.first_bad is None else min(first, self.first_bad)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(message)
