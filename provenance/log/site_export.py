"""Writing the log's static files (c2sp.org/tlog-tiles) to a folder or a bucket: what is new since the last time.

The checkpoint is written last, so that a reader never sees one whose tiles are missing; an export that was
interrupted goes on where it was. Full tiles and bundles never change: one that is there with other bytes is an
error, not something to overwrite.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import LogError, TamperError
from .note import MAX_NOTE_BYTES, Checkpoint
from .places import Place, place
from .sequencer import AuditLog
from .site import Head, LogSite
from .site_paths import CHECKPOINT, HEIGHT, MAX_BUNDLE_BYTES, WIDTH, Resource, tree_resources


@dataclass(frozen=True, slots=True)
class ExportReport:
    """``entries``: the size of the tree that now stands there. ``before``: of the one that stood there."""

    target: str
    entries: int
    before: int
    written: int
    kept: int
    checkpoint: str


def export(
    log: AuditLog,
    target: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
    *,
    cosigned: Path | None = None,
    whole: bool = False,
) -> ExportReport:
    """Brings the files at ``target`` (a folder or a URL) up to the newest stored checkpoint, in constant memory.

    ``whole``: also looks at every file that should be there since earlier exports, and writes what is missing.
    ``progress(done, total)`` counts entries. Raises LogError (``log.site``) when there is no checkpoint or the
    files there are of a larger or another log, TamperError when they contradict this one, InputError or LogError
    (``log.place``) when ``target`` cannot be used.
    """
    site = LogSite(log, cosigned)
    head = site.head()
    if head is None:
        raise LogError("the log has no checkpoint yet", code="log.site", hint="Run `filigrana audit checkpoint`.")
    there = place(target)
    before = _before(log, site, head, there)
    written = kept = 0
    for resource, checked in _needed(0 if whole else before, before, head.checkpoint.size):
        data = site.resource(resource, head.checkpoint.size)
        if data is None:
            raise TamperError(f"{resource.path} is not in the log any more")
        if _put(there, resource.path, data, checked):
            written += 1
        else:
            kept += 1
        if progress is not None and resource.level is None:
            progress(resource.index * WIDTH + resource.width, head.checkpoint.size)
    if there.read(CHECKPOINT, MAX_NOTE_BYTES) != head.note.encode():
        there.write(CHECKPOINT, head.note.encode())
    return ExportReport(there.name, head.checkpoint.size, before, written, kept, head.note)


def _before(log: AuditLog, site: LogSite, head: Head, there: Place) -> int:
    """How many entries the files there cover already: 0 when there are none."""
    data = there.read(CHECKPOINT, MAX_NOTE_BYTES)
    if data is None:
        return 0
    try:
        old = Checkpoint.open(data.decode("utf-8"), log.keys)
    except (LogError, UnicodeDecodeError):
        raise LogError(
            f"{there.name} holds a checkpoint that is not of this log, or damaged",
            code="log.site",
            hint="Choose another place, or look at that one first: nothing there was changed.",
        ) from None
    if old.size > head.checkpoint.size:
        raise TamperError(f"{there.name} shows {old.size} entries; the log has signed {head.checkpoint.size}")
    if site.root(old.size) != old.root:
        raise TamperError(f"the first {old.size} entries of the log are not those that {there.name} shows")
    return old.size


def _needed(start: int, before: int, size: int) -> Iterator[tuple[Resource, bool]]:
    """Every resource of the tree of ``size`` that a tree of ``start`` has not, and whether it may be there."""
    level = 0
    while full := (size >> (HEIGHT * level)) // WIDTH:
        first = (start >> (HEIGHT * level)) // WIDTH
        for index in range(first, full):
            if level == 0:
                yield Resource(None, index), True
            yield Resource(level, index), True
        level += 1
    for resource in tree_resources(size):
        yield resource, resource.within(before)


def _put(there: Place, path: str, data: bytes, look: bool) -> bool:
    """Whether it was written: not when it is there. Raises LogError when it is there with other bytes."""
    old = there.read(path, MAX_BUNDLE_BYTES) if look else None
    if old is not None and old != data:
        raise LogError(
            f"{path} in {there.name} holds other bytes than the log",
            code="log.site",
            hint="It was changed there, or is of another log. Remove it if it should be written again.",
        )
    if old == data:
        return False
    there.write(path, data)
    return True
