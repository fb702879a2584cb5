"""What the log and the catalog say of one released asset, held against each other before anything is handed out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from ..errors import FiligranaError, InputError, TamperError
from ..provenance import by_request
from ..provenance.by_request import entries_of
from ..provenance.catalog import AssetRecord, Catalog
from ..provenance.database import session
from ..provenance.identity import AssetId
from ..provenance.log.search import Query
from ..provenance.log.sequencer import AuditLog
from ..provenance.record import note_digest, open_record
from ..provenance.tables import Intent
from .request import Progress


def catalog_problems(log: AuditLog, progress: Progress) -> list[str]:
    """Every release in the log held against its rows in the catalog, and the other way round; and what the index of
    requests says of every entry. Sentences for people."""
    found: list[str] = []
    seen = 0
    with session(log.engine) as rows:
        count, size = Catalog(rows).count_and_size()  # what is released meanwhile is left for the next time
    for index, entry in log.search(Query(type="release"), 0, size):
        seen += 1
        progress("catalog", index, size)
        try:
            released = released_asset(log, AssetId.parse(str(entry.get("asset_id"))))
        except FiligranaError as error:
            found.append(error.message)
            continue
        if released.index != index:
            found.append(f"entry {index} releases {entry.get('asset_id')} again: entry {released.index} did before")
    found += by_request.problems(log, size)
    if count > seen:
        found.append(f"the catalog has {count} assets; the log has {seen} releases")
    return found


@dataclass(frozen=True)
class ReleasedAsset:
    """``index`` and ``entry``: of its release in the log. ``note``: its signed decision record, where it has one."""

    row: AssetRecord
    index: int
    entry: dict[str, Any]
    note: str | None

    @property
    def intent(self) -> str:
        return str(self.row.intent_id)


def released_asset(log: AuditLog, ident: AssetId) -> ReleasedAsset:
    """The asset as it was released here. The catalog's rows can be changed, the log cannot: it has the last word.

    Raises InputError when nothing was released under this id, TamperError when the rows are not what was logged.
    """
    with session(log.engine) as rows:
        catalog = Catalog(rows)
        row, note = catalog.by_asset_id(ident), catalog.decision_record(ident)
        request = rows.scalar(select(Intent.id).where(Intent.asset_id == ident.value))
    if row is None or row.log_index is None:
        for index, entry in [] if request is None else entries_of(log, request):
            if entry.get("type") == "release":
                raise TamperError(f"entry {index} of the log releases {ident}; the catalog's row of it is gone")
        raise InputError(
            f"nothing was released here under {ident}",
            code="input.asset_unknown",
            hint="`filigrana audit show` lists the latest releases.",
        )
    entry = log.entry(row.log_index)
    said = (entry["type"], entry.get("asset_id"), entry.get("sha256"), entry.get("intent"))
    if said != ("release", str(ident), row.sha256.hex(), str(row.intent_id)):
        raise TamperError(f"the catalog's row of {ident} is not what entry {row.log_index} of the log says")
    if note is not None:
        if entry.get("record") != note_digest(note):
            raise TamperError("the decision record is not the one that the log names")
        about = open_record(note, log.keys)
        if (about["before"].get("asset_id"), about["after"].get("sha256")) != (str(ident), row.sha256.hex()):
            raise TamperError("the decision record is about another asset")
    elif "record" in entry:
        raise TamperError("the decision record that the log names is gone")
    return ReleasedAsset(row, row.log_index, entry, note)
