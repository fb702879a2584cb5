"""The entries of the log that are about one request, found without reading the log.

The index is written in the transaction of each entry. It proves nothing by itself: an entry that it names is read out
of the log and must be about that request, and `audit verify --catalog` finds what it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, text
from sqlalchemy.orm import Session

from ..errors import TamperError
from .database import session
from .log import canonical
from .log.search import Query
from .log.sequencer import AuditLog
from .tables import IntentEntry, LogEntry

Entries = list[tuple[int, dict[str, Any]]]
_AT_ONCE = 2048
_MOST = 10
_MENDED = "`filigrana audit reindex` writes it anew"


def request_of(entry: Mapping[str, Any]) -> UUID | None:
    """The request that an entry is about; None where it is about none."""
    intent = entry.get("intent")
    try:
        return UUID(intent) if isinstance(intent, str) else None
    except ValueError:
        return None


def note(rows: Session, index: int, entry: Mapping[str, Any]) -> None:
    """For the log's own transaction: notes what ``entry``, which has ``index`` in it, is about."""
    intent = request_of(entry)
    if intent is not None:
        rows.execute(insert(IntentEntry), {"intent_id": intent, "log_index": index})


def entries_of(log: AuditLog, intent: UUID) -> Entries:
    """``(index, entry)`` of all entries about a request, in order. Raises TamperError where the index names others."""
    with session(log.engine) as rows:
        return list(entries_of_all(rows, [intent]))


def entries_of_all(rows: Session | Connection, intents: Iterable[UUID]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The same of several requests, some of them at a time."""
    its = select(LogEntry.seq, LogEntry.leaf, IntentEntry.intent_id)
    its = its.join(IntentEntry, IntentEntry.log_index == LogEntry.seq).order_by(LogEntry.seq)
    left = iter(intents)
    while some := list(islice(left, _AT_ONCE >> 2)):
        for index, leaf, intent in rows.execute(its.where(IntentEntry.intent_id.in_(some))).all():
            if not isinstance(leaf, bytes) or request_of(entry := canonical.decode(leaf)) != intent:
                raise TamperError(f"entry {index} of the log is not about the request that the index names for it")
            yield int(index), entry


def search(log: AuditLog, query: Query, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """As the log's own search; of one request by way of the index, wherever in the log its entries are."""
    if query.intent is None:
        return log.search(query, start, stop)
    intent = request_of({"intent": query.intent})
    its = [] if intent is None else entries_of(log, intent)
    return ((index, entry) for index, entry in its if start <= index < stop and query.matches(entry))


def rebuild(log: AuditLog) -> int:
    """Writes the index anew from the log, while nobody can append. How many entries are in it."""
    count = 0
    with session(log.engine, write=True) as rows:
        if rows.get_bind().dialect.name == "postgresql":
            rows.execute(text("LOCK TABLE intent_entries IN ACCESS EXCLUSIVE MODE"))
        rows.execute(delete(IntentEntry))
        low, last = 0, rows.scalar(select(func.max(LogEntry.seq)))
        while last is not None and low <= last:
            part = select(LogEntry.seq, LogEntry.leaf).where(LogEntry.seq >= low, LogEntry.seq < low + _AT_ONCE)
            its = [(seq, _request_in(leaf)) for seq, leaf in rows.execute(part)]
            found = [{"intent_id": intent, "log_index": seq} for seq, intent in its if intent is not None]
            if found:
                rows.execute(insert(IntentEntry), found)
            count, low = count + len(found), low + _AT_ONCE
    return count


def problems(log: AuditLog, size: int) -> list[str]:
    """The index held against the first ``size`` entries, in one pass over both and constant memory. Sentences for
    people; of more than a few, the first."""
    found: list[str] = []
    its = select(IntentEntry.log_index, IntentEntry.intent_id).where(IntentEntry.log_index < size)
    with session(log.engine) as rows, session(log.engine) as leaves:
        index = rows.execute(its.order_by(IntentEntry.log_index).execution_options(yield_per=_AT_ONCE))
        named = _grouped(index)
        at, said = next(named, _NOTHING)
        for low in range(0, size, _AT_ONCE):
            part = select(LogEntry.seq, LogEntry.leaf).where(
                LogEntry.seq >= low, LogEntry.seq < min(low + _AT_ONCE, size)
            )
            for seq, leaf in leaves.execute(part.order_by(LogEntry.seq)):
                intent = _request_in(leaf)
                if (said if at == seq else set()) != (set() if intent is None else {intent}):
                    found.append(f"the index of requests does not say of entry {seq} what the log says; {_MENDED}")
                if at == seq:
                    at, said = next(named, _NOTHING)
            if len(found) > _MOST:
                return [*found[:_MOST], "and more of the index of requests"]
    return found


_NOTHING: tuple[int, set[UUID]] = (-1, set())


def _grouped(index: Iterable[Any]) -> Iterator[tuple[int, set[UUID]]]:
    for at, group in groupby(index, key=lambda row: int(row[0])):
        yield at, {row[1] for row in group}


def _request_in(leaf: object) -> UUID | None:
    """Without the proof that the leaf is canonical: what is damaged is for `verify` to tell."""
    try:
        entry = json.loads(leaf) if isinstance(leaf, bytes) else None
    except (ValueError, RecursionError):
        return None
    return request_of(entry) if isinstance(entry, dict) else None
