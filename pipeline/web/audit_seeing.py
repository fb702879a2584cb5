"""Which entries of the log an auditor's key shows: those of its tenant, or all with the scope `audit-all`.

An entry is of the tenant whose job made its request (`default` for what no job made), or of the tenant that it names
itself. What names neither, and no person, is of the installation, and everybody's: policies, keys, checkpoints. What
names a person alone (erasures, holds, exports) is shown to those who see everything. The rest is withheld but for its
leaf's hash, with which every proof verifies all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from ...provenance.vault import DEFAULT_TENANT
from ..access import Caller
from ..jobs.queue import JobQueue

ALL = "audit-all"
_CHUNK = 200
Entry = tuple[int, dict[str, Any]]


def sees_all(caller: Caller) -> bool:
    return caller.may(ALL, "admin")


def seen(jobs: JobQueue, caller: Caller, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Those of the entries that this key shows, in order."""
    if sees_all(caller):
        yield from entries
        return
    chunk: list[Entry] = []
    for pair in entries:
        chunk.append(pair)
        if len(chunk) == _CHUNK:
            yield from _of_tenant(jobs, caller, chunk)
            chunk = []
    yield from _of_tenant(jobs, caller, chunk)


def sees(jobs: JobQueue, caller: Caller, entry: dict[str, Any]) -> bool:
    return any(True for _ in seen(jobs, caller, [(0, entry)]))


def _of_tenant(jobs: JobQueue, caller: Caller, chunk: list[Entry]) -> Iterator[Entry]:
    intents = {intent for _, entry in chunk if (intent := _intent(entry)) is not None}
    owners = jobs.owners(intents) if intents else {}
    for index, entry in chunk:
        if _shown(entry, owners, caller.tenant):
            yield index, entry


def _shown(entry: dict[str, Any], owners: dict[UUID, str], tenant: str) -> bool:
    if "tenant" in entry:
        return bool(entry["tenant"] == tenant)
    if "intent" in entry:
        intent = _intent(entry)
        # What claims to be of a request and names none is nobody's to see.
        return intent is not None and owners.get(intent, DEFAULT_TENANT) == tenant
    return "actor" not in entry


def _intent(entry: dict[str, Any]) -> UUID | None:
    try:
        return UUID(entry["intent"]) if isinstance(entry.get("intent"), str) else None
    except ValueError:
        return None
