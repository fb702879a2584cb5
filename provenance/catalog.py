"""The catalog: what was released, found again by id, by the file's hash, or by a mark that survived in a
copy.

Works on the caller's session, so that an asset's rows are committed together with its log entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..errors import ProvenanceError
from .identity import AssetId
from .records import AssetRecord, PreviewImage
from .revocations import Revocation, revocation_of
from .tables import Asset, Binding, DecisionRecord, Intent, LogEntry, Manifest, Preview

_DRAWS = 32


class Catalog:
    """Reads and writes catalog rows in ``session``; commits nothing."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def draw_asset_id(self) -> AssetId:
        """A random id that neither an asset nor an intent has.

        Two processes may still draw the same one before either commits: then the unique constraint refuses
        the second (sqlalchemy's IntegrityError), which draws again.
        """
        for _ in range(_DRAWS):
            drawn = AssetId.random()
            taken = self._session.get(Asset, drawn.value) or self._session.scalar(
                select(Intent.id).where(Intent.asset_id == drawn.value)
            )
            if not taken:
                return drawn
        raise ProvenanceError("no free asset id was found", code="provenance.asset_id")

    def add(
        self,
        record: AssetRecord,
        *,
        manifests: Mapping[str, bytes] | None = None,
        bindings: Iterable[tuple[str, str]] = (),
        preview: PreviewImage | None = None,
        decision_record: str | None = None,
    ) -> None:
        """Adds an asset. ``manifests``: C2PA manifest stores by label. ``bindings``: ``(alg, value)`` pairs.
        ``decision_record``: the signed note of :mod:`.record`.

        Constraints are checked at the flush: an id, a file hash or an intent twice is sqlalchemy's
        IntegrityError.
        """
        asset_id = record.asset_id.value
        row = Asset(
            asset_id=asset_id,
            media=record.media,
            mime=record.mime,
            sha256=record.sha256,
            byte_count=record.byte_count,
            width=record.width,
            height=record.height,
            duration=record.duration,
            intent_id=record.intent_id,
            log_index=record.log_index,
            public_name=record.public_name,
            source_type=record.source_type,
        )
        if record.created_at is not None:
            row.created_at = record.created_at
        self._session.add(row)
        self._session.flush()
        for label, store in (manifests or {}).items():
            self._session.add(Manifest(asset_id=asset_id, label=label, store=store))
        for alg, value in dict.fromkeys(bindings):
            self._session.add(Binding(asset_id=asset_id, alg=alg, value=value))
        if preview is not None:
            self._session.add(
                Preview(
                    asset_id=asset_id,
                    mime=preview.mime,
                    data=preview.data,
                    width=preview.width,
                    height=preview.height,
                )
            )
        if decision_record is not None:
            self._session.add(DecisionRecord(asset_id=asset_id, note=decision_record))
        self._session.flush()

    def by_asset_id(self, asset_id: AssetId) -> AssetRecord | None:
        """The asset with this id."""
        row = self._session.get(Asset, asset_id.value)
        return None if row is None else _record(row)

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        """The asset whose released file has this SHA-256 (32 bytes)."""
        row = self._session.scalar(select(Asset).where(Asset.sha256 == digest))
        return None if row is None else _record(row)

    def by_binding(self, alg: str, value: str) -> tuple[AssetRecord, ...]:
        """The assets that a soft binding points to, oldest first; a watermark's points to one at most."""
        if "\0" in alg + value:
            return ()  # which PostgreSQL takes for no text, and strangers' files and requests may hold
        found = self._session.scalars(
            select(Asset)
            .join(Binding, Binding.asset_id == Asset.asset_id)
            .where(Binding.alg == alg, Binding.value == value)
            .order_by(Asset.created_at, Asset.asset_id)
        )
        return tuple(_record(row) for row in found)

    def by_manifest(self, label: str) -> AssetRecord | None:
        """The asset whose manifest has this label (``urn:c2pa:...``)."""
        row = self._session.scalar(select(Asset).join(Manifest).where(Manifest.label == label))
        return None if row is None else _record(row)

    def count(self) -> int:
        """How many assets there are."""
        return self.count_and_size()[0]

    def count_and_size(self) -> tuple[int, int]:
        """How many assets there are, and how many entries the log has at that same moment: they come together."""
        assets = select(func.count()).select_from(Asset).scalar_subquery()
        entries = select(func.max(LogEntry.seq) + 1).scalar_subquery()
        found = self._session.execute(select(assets, entries)).one()  # one statement sees one moment
        return int(found[0]), int(found[1] or 0)

    def newest(self, limit: int = 20) -> tuple[AssetRecord, ...]:
        """The latest releases, newest first."""
        order = (Asset.created_at.desc(), Asset.asset_id)
        return tuple(_record(row) for row in self._session.scalars(select(Asset).order_by(*order).limit(limit)))

    def manifests(self, asset_id: AssetId) -> dict[str, bytes]:
        """The asset's manifest stores by label, oldest first."""
        query = select(Manifest).where(Manifest.asset_id == asset_id.value).order_by(Manifest.created_at)
        return {row.label: row.store for row in self._session.scalars(query)}

    def bindings(self, asset_id: AssetId) -> tuple[tuple[str, str], ...]:
        """The asset's soft bindings as ``(alg, value)``."""
        query = select(Binding).where(Binding.asset_id == asset_id.value).order_by(Binding.id)
        return tuple((row.alg, row.value) for row in self._session.scalars(query))

    def decision_record(self, asset_id: AssetId) -> str | None:
        """The asset's signed decision record; None for releases from before there were any."""
        row = self._session.get(DecisionRecord, asset_id.value)
        return None if row is None else row.note

    def revocation(self, asset_id: AssetId) -> Revocation | None:
        """Why the key that signed this asset's release is no longer believed for it, if that is so. Reads only."""
        return revocation_of(self._session, asset_id)

    def preview(self, asset_id: AssetId) -> PreviewImage | None:
        """The asset's preview, if one was kept."""
        row = self._session.get(Preview, asset_id.value)
        return None if row is None else PreviewImage(row.mime, row.data, row.width, row.height)


def _record(row: Asset) -> AssetRecord:
    return AssetRecord(
        asset_id=AssetId(row.asset_id),
        media=row.media,
        mime=row.mime,
        sha256=row.sha256,
        byte_count=row.byte_count,
        source_type=row.source_type,
        width=row.width,
        height=row.height,
        duration=row.duration,
        intent_id=row.intent_id,
        log_index=row.log_index,
        public_name=row.public_name,
        created_at=row.created_at,
    )


__all__ = ["AssetRecord", "Catalog", "PreviewImage"]
