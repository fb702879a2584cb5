"""A repository of manifests, as the Soft Binding Resolution API sees one: what was released here, and manifests of
other makers that were given to it.

What was released is never changed through this door: its rows belong to the catalog. A manifest that was given is
checked by itself before it is kept (its signature holds, whoever signed), and taking it in and giving it up are entries
of the log, so that a receipt proves what the repository holds.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from ..errors import ManifestError
from .catalog import Catalog
from .credentials import read_stored
from .database import session
from .identity import AssetId
from .log.sequencer import AuditLog
from .manifest_store import labels, only
from .tables import ForeignBinding, ForeignManifest
from .trust import TrustLists

MAX_LABEL, MAX_ALG, MAX_VALUE = 256, 128, 512


@dataclass(frozen=True, slots=True)
class Held:
    """A manifest store in the repository. ``asset_id``: of the release that it belongs to, None for a foreign one;
    ``log_index``: the entry that proves it."""

    label: str
    store: bytes
    asset_id: AssetId | None
    log_index: int | None


def spellings(value: str) -> list[str]:
    """What a soft binding's value may be written as: itself, and what it is the base64 of. The API asks for base64,
    while manifests mostly hold plain text, and many a text is valid base64 too: both are looked up."""
    found = [value]
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return found
    return found if decoded == value or not decoded or "\0" in decoded else [decoded, value]


@lru_cache(maxsize=512)
def _named(store: bytes) -> frozenset[tuple[str, str]]:
    """The soft bindings that the store's active manifest carries."""
    return frozenset(read_stored(store, TrustLists()).soft_bindings)


class Repository:
    """Commits each change by itself."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────
    def manifest(self, label: str) -> Held | None:
        if "\0" in label:
            return None
        with session(self._log.engine) as opened:
            catalog = Catalog(opened)
            record = catalog.by_manifest(label)
            if record is not None:
                return Held(label, catalog.manifests(record.asset_id)[label], record.asset_id, record.log_index)
            row = opened.get(ForeignManifest, label)
            return None if row is None else Held(label, row.store, None, row.log_index)

    def by_binding(self, alg: str, value: str, limit: int) -> list[str]:
        """Labels of manifests that this binding leads to, and that carry it themselves: released ones first."""
        found: dict[str, None] = {}
        for spelt in spellings(value):
            for label, store in self._bound(alg, spelt):
                if any((alg, one) in _named(store) for one in spellings(value)):
                    found[label] = None
                if len(found) >= limit:
                    return list(found)
        return list(found)

    def of_asset(self, asset_id: AssetId) -> list[str]:
        """Labels of the asset's manifests that carry one of its bindings."""
        with session(self._log.engine) as opened:
            catalog = Catalog(opened)
            bindings, held = set(catalog.bindings(asset_id)), catalog.manifests(asset_id)
        return [label for label, store in reversed(held.items()) if bindings & _named(store)]

    def _bound(self, alg: str, value: str) -> Iterator[tuple[str, bytes]]:
        if "\0" in alg + value:
            return
        with session(self._log.engine) as opened:
            catalog = Catalog(opened)
            for record in catalog.by_binding(alg, value):
                yield from reversed(catalog.manifests(record.asset_id).items())
            wanted = (
                select(ForeignManifest)
                .join(ForeignBinding, ForeignBinding.label == ForeignManifest.label)
                .where(ForeignBinding.alg == alg, ForeignBinding.value == value)
                .order_by(ForeignManifest.created_at, ForeignManifest.label)
            )
            for row in opened.scalars(wanted):
                yield row.label, row.store

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────
    def add(self, store: bytes, trust: TrustLists) -> Held:
        """Keeps a manifest store of another maker. The same one again changes nothing. Raises ManifestError."""
        read = read_stored(store, trust)
        # A repository keeps what others signed: that nobody here knows the signer is no fault of the manifest.
        holds = read.state in ("trusted", "valid") or set(read.failures) == {"signingCredential.untrusted"}
        if not holds or not read.label:
            codes = ", ".join(read.failures[:5]) or read.state
            raise ManifestError(f"the manifest store does not hold by itself: {codes}", code="provenance.manifest.bad")
        label = read.label
        if len(label) > MAX_LABEL or label not in labels(store):
            raise ManifestError("the manifest's label is not one", code="provenance.manifest.bad")
        known = self.manifest(label)
        if known is not None:
            if known.store == store:
                return known
            raise ManifestError("another manifest has this label", code="provenance.manifest.taken")
        try:
            with self._log.transaction() as change:
                row = ForeignManifest(label=label, store=store, log_index=-1)
                change.session.add(row)
                change.session.flush()
                row.log_index = change.append(_entry("manifest.stored", label, store))
        except IntegrityError:
            raise ManifestError("another manifest has this label", code="provenance.manifest.taken") from None
        return Held(label, store, None, row.log_index)

    def remove(self, label: str) -> bool:
        """Gives a foreign manifest up, with its bindings. Raises ManifestError for one that was released here."""
        known = self.manifest(label)
        if known is None:
            return False
        self._foreign(known)
        with self._log.transaction() as change:
            change.session.execute(delete(ForeignBinding).where(ForeignBinding.label == label))
            change.session.execute(delete(ForeignManifest).where(ForeignManifest.label == label))
            change.append(_entry("manifest.deleted", label, known.store))
        return True

    def bind(self, label: str, value: str, alg: str | None, *, again: bool) -> bool:
        """Lets a binding lead to a foreign manifest, which must carry it. False: there is no such manifest.

        ``again``: it may be there already. Raises ManifestError where the manifest does not carry the binding, was
        released here, or is bound so already."""
        known = self.manifest(label)
        if known is None:
            return False
        self._foreign(known)
        wanted = spellings(value)
        carried = [pair for pair in sorted(_named(known.store)) if pair[1] in wanted and alg in (None, pair[0])]
        if not carried:
            raise ManifestError("the manifest carries no such soft binding", code="provenance.manifest.binding")
        with session(self._log.engine, write=True) as opened:
            for one_alg, one_value in carried:
                if len(one_alg) > MAX_ALG or len(one_value) > MAX_VALUE or "\0" in one_alg + one_value:
                    raise ManifestError("the soft binding is too long, or no text", code="provenance.manifest.binding")
                query = select(ForeignBinding).where(
                    ForeignBinding.alg == one_alg, ForeignBinding.value == one_value, ForeignBinding.label == label
                )
                if opened.scalar(query) is None:
                    opened.add(ForeignBinding(alg=one_alg, value=one_value, label=label))
                elif not again:
                    raise ManifestError("this binding is there already", code="provenance.manifest.taken")
        return True

    def _foreign(self, held: Held) -> None:
        if held.asset_id is not None:
            raise ManifestError(
                "this manifest belongs to a release and cannot be changed", code="provenance.manifest.released"
            )


def active_only(held: Held) -> bytes:
    """The store with the active manifest alone."""
    return only(held.store, held.label)


def _entry(kind: str, label: str, store: bytes) -> dict[str, str]:
    return {"type": kind, "manifest": label, "sha256": sha256(store).hexdigest()}
