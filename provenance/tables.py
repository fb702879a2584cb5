"""Every table of the audit database, SQLAlchemy 2 declarative. The migrations create them; a test compares
both.

Append-only by trigger and grant (see the migrations): ``log_entries``, ``log_tiles``, ``log_checkpoints``,
``key_revocations``, ``resignings``. Deletable on purpose:
``sealed_texts`` and the key in ``subject_keys``. Times are UTC, aware in Python.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

APPEND_ONLY = ("log_entries", "log_tiles", "log_checkpoints")
INTENT_KINDS = ("generate", "seal")
INTENT_STATES = ("open", "result", "released", "abandoned", "refused", "held", "failed")
REVIEW_KINDS = ("hold", "appeal")
REVIEW_SIDES = ("prompt", "output")
REVIEW_STATES = ("open", "approved", "rejected", "expired")


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


class UtcTime(TypeDecorator[datetime]):
    """An aware time: ``timestamptz`` on PostgreSQL, UTC text on SQLite, which knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits; on SQLite spelled INTEGER, so that a primary key is the row id itself."""
Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class LogEntry(Base):
    """One leaf of the tree. ``leaf``: canonical JSON. ``created_at`` is a convenience that no hash covers."""

    __tablename__ = "log_entries"

    seq: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class LogTile(Base):
    """A full tile of C2SP tlog-tiles, written once, in the transaction of the entry that fills it.

    ``hashes``: 256 x 32 bytes, the nodes ``(8 * level, 256 * tile_index + i)``. ``root``: the node above
    them, ``(8 * (level + 1), tile_index)``. Partial tiles are not stored: their hashes are the ``root``s one
    level below, or the leaf hashes.
    """

    __tablename__ = "log_tiles"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tile_index: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    hashes: Mapped[bytes] = mapped_column(LargeBinary(8192))


class LogCheckpoint(Base):
    """A signed checkpoint. ``verifier_key``: whose it is (the key's text form); several keys may sign one
    size.
    """

    __tablename__ = "log_checkpoints"

    size: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    verifier_key: Mapped[str] = mapped_column(String(512), primary_key=True)
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


QUEUE = MetaData()
"""Tables of PostgreSQL alone: how processes hand entries to the one that commits (:mod:`.log.leader`)."""

LOG_QUEUE = Table(
    "log_queue",
    QUEUE,
    Column("place", BigInteger, Identity(always=True), primary_key=True),
    Column("handover", BigInteger, nullable=False, unique=True),
    Column("leaves", ARRAY(LargeBinary), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    CheckConstraint("cardinality(leaves) > 0 AND array_position(leaves, NULL) IS NULL", name="ck_log_queue_leaves"),
    prefixes=["UNLOGGED"],
)
LOG_HANDOVERS = Table(
    "log_handovers",
    QUEUE,
    Column("handover", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("committed_at", DateTime(timezone=True), nullable=False, index=True),
)


class Intent(Base):
    """The release outbox: what was asked, how far it came. ``request`` holds commitments, never prompts."""

    __tablename__ = "intents"
    __table_args__ = (
        CheckConstraint(f"kind IN {INTENT_KINDS!r}", name="kind"),
        CheckConstraint(f"state IN {INTENT_STATES!r}", name="state"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    asset_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default="open", index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcTime, default=now, onupdate=now)
    request: Mapped[dict[str, Any]] = mapped_column(Json)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)


class IntentEntry(Base):
    """Which entries are about a request: an index beside the log, which `provenance.by_request` holds against it."""

    __tablename__ = "intent_entries"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012  SQLAlchemy's own form

    intent_id: Mapped[UUID] = mapped_column(primary_key=True)
    log_index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class Asset(Base):
    """A released file. ``sha256`` is of the released bytes, ``duration`` in seconds, ``log_index`` of its
    release.
    """

    __tablename__ = "assets"

    asset_id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    media: Mapped[str] = mapped_column(String(16))
    mime: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    byte_count: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    duration: Mapped[float | None] = mapped_column(Double)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("intents.id"), unique=True)
    log_index: Mapped[int | None] = mapped_column(BigInteger, index=True)
    public_name: Mapped[str | None] = mapped_column(Text)
    source_type: Mapped[str] = mapped_column(String(128))


class Manifest(Base):
    """A C2PA manifest store that was embedded in an asset; ``label`` is its active manifest's."""

    __tablename__ = "manifests"

    asset_id: Mapped[int] = mapped_column(ForeignKey("assets.asset_id"), primary_key=True, autoincrement=False)
    label: Mapped[str] = mapped_column(String(256), primary_key=True, index=True)
    store: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class Binding(Base):
    """A soft binding: what a watermark or fingerprint of the asset says. One fingerprint may fit several
    assets.
    """

    __tablename__ = "bindings"
    __table_args__ = (UniqueConstraint("alg", "value", "asset_id"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    alg: Mapped[str] = mapped_column(String(128))
    value: Mapped[str] = mapped_column(String(512))
    asset_id: Mapped[int] = mapped_column(ForeignKey("assets.asset_id"), index=True)


class Preview(Base):
    """A small picture of the asset, which copies are registered onto."""

    __tablename__ = "previews"

    asset_id: Mapped[int] = mapped_column(ForeignKey("assets.asset_id"), primary_key=True, autoincrement=False)
    mime: Mapped[str] = mapped_column(String(64))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)


class DecisionRecord(Base):
    """The signed account of a release, from the verdict on its prompt to its file: see :mod:`.record`."""

    __tablename__ = "decision_records"

    asset_id: Mapped[int] = mapped_column(ForeignKey("assets.asset_id"), primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class ForeignManifest(Base):
    """A manifest store of another maker, given to the recovery API. ``log_index``: the entry that it was taken in
    with."""

    __tablename__ = "foreign_manifests"

    label: Mapped[str] = mapped_column(String(256), primary_key=True)
    store: Mapped[bytes] = mapped_column(LargeBinary)
    log_index: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class ForeignBinding(Base):
    """A soft binding that leads to a manifest of another maker, which names it itself."""

    __tablename__ = "foreign_bindings"
    __table_args__ = (UniqueConstraint("alg", "value", "label"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    alg: Mapped[str] = mapped_column(String(128))
    value: Mapped[str] = mapped_column(String(512))
    label: Mapped[str] = mapped_column(ForeignKey("foreign_manifests.label"), index=True)


class KeyRevocation(Base):
    """A signing certificate that is not believed for releases of these log indices (inclusive; no last: to the end).
    ``log_index``: of the revocation's own entry. ``serial``: in decimal, as manifests name their signer."""

    __tablename__ = "key_revocations"

    log_index: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    fingerprint: Mapped[str] = mapped_column(String(64))
    serial: Mapped[str] = mapped_column(String(64))
    first_index: Mapped[int] = mapped_column(BigInteger)
    last_index: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class Resigning(Base):
    """An asset that got a new manifest after its key was revoked. ``sha256``: of the file that carries it now."""

    __tablename__ = "resignings"

    log_index: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    asset_id: Mapped[int] = mapped_column(ForeignKey("assets.asset_id"), index=True)
    label: Mapped[str] = mapped_column(String(256))
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class Review(Base):
    """A request that people decide on, or did: held work, or the appeal of somebody who was refused.

    ``round`` counts how often it was put before people. ``log_index``: of the entry that did so last, which has all
    the terms; ``approvals`` and ``deadline`` repeat them. ``subject`` asked for the work and ``assignee`` looks at it:
    names that go with their keys. ``kept``: the digest of the description of what is kept of finished work.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint(f"kind IN {REVIEW_KINDS!r}", name="kind"),
        CheckConstraint(f"side IN {REVIEW_SIDES!r}", name="side"),
        CheckConstraint(f"status IN {REVIEW_STATES!r}", name="status"),
    )

    intent_id: Mapped[UUID] = mapped_column(ForeignKey("intents.id"), primary_key=True)
    round: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16))
    side: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), index=True)
    actor: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(ForeignKey("subject_keys.subject", ondelete="SET NULL"))
    assignee: Mapped[str | None] = mapped_column(ForeignKey("subject_keys.subject", ondelete="SET NULL"))
    policy_digest: Mapped[str] = mapped_column(String(64))
    approvals: Mapped[int] = mapped_column(Integer)
    deadline: Mapped[datetime] = mapped_column(UtcTime)
    appeal_until: Mapped[datetime | None] = mapped_column(UtcTime)
    kept: Mapped[str | None] = mapped_column(String(80))
    log_index: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime] = mapped_column(UtcTime)


class ReviewAct(Base):
    """What one person said in one round: once a round. ``reason``: the sealed text; ``log_index``: of its entry.
    An act whose ``subject`` was erased counts no more, since nobody can tell any longer whose it was."""

    __tablename__ = "review_acts"
    __table_args__ = (UniqueConstraint("intent_id", "round", "actor"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("reviews.intent_id"))
    round: Mapped[int] = mapped_column(Integer)
    act: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(ForeignKey("subject_keys.subject", ondelete="SET NULL"))
    reason: Mapped[UUID | None] = mapped_column(ForeignKey("sealed_texts.id", ondelete="SET NULL"))
    log_index: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcTime)


class TenantKey(Base):
    """A key for text commitments (HMAC-SHA256, 32 bytes). The youngest of a tenant is in use."""

    __tablename__ = "tenant_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(128), index=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)


class SubjectKey(Base):
    """The AES-256 key of one subject's texts. Erasing the subject deletes the row; the first release left the name,
    without a key.
    """

    __tablename__ = "subject_keys"
    __table_args__ = (CheckConstraint("(key IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed"),)

    subject: Mapped[str] = mapped_column(String(256), primary_key=True)
    key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
    destroyed_at: Mapped[datetime | None] = mapped_column(UtcTime)


class SealedText(Base):
    """A text that must be kept, encrypted under its subject's key. ``kind``: ``prompt``,
    ``negative_prompt``, ...
    """

    __tablename__ = "sealed_texts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    subject: Mapped[str] = mapped_column(ForeignKey("subject_keys.subject"), index=True)
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("intents.id"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    nonce: Mapped[bytes] = mapped_column(LargeBinary(12))
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    commitment: Mapped[str] = mapped_column(String(128), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=now)
