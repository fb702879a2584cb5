"""The log, the catalog, the release outbox and the vault; the log's tables take inserts only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LOG_TABLES = ("log_entries", "log_tiles", "log_checkpoints")
OTHER_TABLES = (
    "intents",
    "assets",
    "manifests",
    "bindings",
    "previews",
    "tenant_keys",
    "subject_keys",
    "sealed_texts",
)
WRITER = "filigrana_writer"
"""A PostgreSQL role that, where an operator made it, gets what the program needs and no more."""


def upgrade() -> None:
    _log_tables()
    _catalog_tables()
    _vault_tables()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    for table in reversed(LOG_TABLES + OTHER_TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION filigrana_append_only()")
        op.execute("DROP FUNCTION filigrana_dense()")


def _log_tables() -> None:
    op.create_table(
        "log_entries",
        sa.Column("seq", _big_key(), primary_key=True, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("seq", name="pk_log_entries"),
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False),
        sa.Column("tile_index", _big_key(), autoincrement=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("hashes", sa.LargeBinary(8192), nullable=False),
        sa.PrimaryKeyConstraint("level", "tile_index", name="pk_log_tiles"),
    )
    op.create_table(
        "log_checkpoints",
        sa.Column("size", _big_key(), autoincrement=False),
        sa.Column("verifier_key", sa.String(512)),
        sa.Column("note", sa.Text(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("size", "verifier_key", name="pk_log_checkpoints"),
    )


def _catalog_tables() -> None:
    op.create_table(
        "intents",
        sa.Column("id", sa.Uuid()),
        sa.Column("asset_id", sa.BigInteger()),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        sa.Column("request", _json(), nullable=False),
        sa.Column("result", _json()),
        sa.PrimaryKeyConstraint("id", name="pk_intents"),
        sa.UniqueConstraint("asset_id", name="uq_intents_asset_id"),
        sa.CheckConstraint("kind IN ('generate', 'seal')", name=op.f("ck_intents_kind")),
        sa.CheckConstraint(
            "state IN ('open', 'result', 'released', 'abandoned', 'refused', 'held', 'failed')",
            name=op.f("ck_intents_state"),
        ),
    )
    op.create_index("ix_intents_state", "intents", ["state"])
    op.create_table(
        "assets",
        sa.Column("asset_id", _big_key(), autoincrement=False),
        sa.Column("media", sa.String(16), nullable=False),
        sa.Column("mime", sa.String(64), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("byte_count", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("duration", sa.Double()),
        _time("created_at"),
        sa.Column("intent_id", sa.Uuid()),
        sa.Column("log_index", sa.BigInteger()),
        sa.Column("public_name", sa.Text()),
        sa.Column("source_type", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", name="pk_assets"),
        sa.UniqueConstraint("sha256", name="uq_assets_sha256"),
        sa.UniqueConstraint("intent_id", name="uq_assets_intent_id"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name="fk_assets_intent_id"),
    )
    op.create_index("ix_assets_log_index", "assets", ["log_index"])
    op.create_table(
        "manifests",
        sa.Column("asset_id", _big_key(), autoincrement=False),
        sa.Column("label", sa.String(256)),
        sa.Column("store", sa.LargeBinary(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("asset_id", "label", name="pk_manifests"),
        sa.ForeignKeyConstraint(["asset_id"], ["assets.asset_id"], name="fk_manifests_asset_id"),
    )
    op.create_index("ix_manifests_label", "manifests", ["label"])
    op.create_table(
        "bindings",
        sa.Column("id", _big_key(), autoincrement=True),
        sa.Column("alg", sa.String(128), nullable=False),
        sa.Column("value", sa.String(512), nullable=False),
        sa.Column("asset_id", _big_key(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bindings"),
        sa.UniqueConstraint("alg", "value", "asset_id", name="uq_bindings_alg_value_asset_id"),
        sa.ForeignKeyConstraint(["asset_id"], ["assets.asset_id"], name="fk_bindings_asset_id"),
    )
    op.create_index("ix_bindings_asset_id", "bindings", ["asset_id"])
    op.create_table(
        "previews",
        sa.Column("asset_id", _big_key(), autoincrement=False),
        sa.Column("mime", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", name="pk_previews"),
        sa.ForeignKeyConstraint(["asset_id"], ["assets.asset_id"], name="fk_previews_asset_id"),
    )


def _vault_tables() -> None:
    op.create_table(
        "tenant_keys",
        sa.Column("id", sa.String(16)),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("key", sa.LargeBinary(32), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_tenant_keys"),
    )
    op.create_index("ix_tenant_keys_tenant", "tenant_keys", ["tenant"])
    op.create_table(
        "subject_keys",
        sa.Column("subject", sa.String(256)),
        sa.Column("key", sa.LargeBinary(32)),
        _time("created_at"),
        _time("destroyed_at", nullable=True),
        sa.PrimaryKeyConstraint("subject", name="pk_subject_keys"),
        sa.CheckConstraint("(key IS NULL) = (destroyed_at IS NOT NULL)", name=op.f("ck_subject_keys_destroyed")),
    )
    op.create_table(
        "sealed_texts",
        sa.Column("id", sa.Uuid()),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("intent_id", sa.Uuid()),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("nonce", sa.LargeBinary(12), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("commitment", sa.String(128), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_sealed_texts"),
        sa.ForeignKeyConstraint(["subject"], ["subject_keys.subject"], name="fk_sealed_texts_subject"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name="fk_sealed_texts_intent_id"),
    )
    for column in ("subject", "intent_id", "commitment"):
        op.create_index(f"ix_sealed_texts_{column}", "sealed_texts", [column])


def _guard_sqlite() -> None:
    """Triggers. INSERT OR REPLACE deletes without firing delete triggers unless recursive_triggers is on.

    So the guard stands before the insert, where no connection can switch it off.
    """
    taken = {
        # The next index and no other: dense, and no row can be replaced.
        "log_entries": "NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM log_entries)",
        "log_tiles": ("EXISTS (SELECT 1 FROM log_tiles WHERE level = NEW.level AND tile_index = NEW.tile_index)"),
        "log_checkpoints": (
            "EXISTS (SELECT 1 FROM log_checkpoints WHERE size = NEW.size AND verifier_key = NEW.verifier_key)"
        ),
    }
    for table in LOG_TABLES:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        op.execute(
            f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} WHEN {taken[table]} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _guard_postgresql() -> None:
    """Triggers that no session setting skips (ENABLE ALWAYS), and grants: SELECT and INSERT only, owner
    included.

    A superuser, or an owner who grants it back, can undo both: that is what outside checkpoints are for.
    """
    op.execute(
        "CREATE FUNCTION filigrana_append_only() RETURNS trigger LANGUAGE plpgsql AS $body$ "
        "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; "
        "END $body$"
    )
    op.execute(
        "CREATE FUNCTION filigrana_dense() RETURNS trigger LANGUAGE plpgsql AS $body$ "
        "DECLARE low bigint; high bigint; many bigint; "
        "BEGIN SELECT min(seq), max(seq), count(*) INTO low, high, many FROM fresh; "
        "IF many > 0 AND (low < 0 OR high - low + 1 <> many "
        "OR (low > 0 AND NOT EXISTS (SELECT 1 FROM log_entries WHERE seq = low - 1))) THEN "
        "RAISE EXCEPTION 'log_entries takes the next index only' USING ERRCODE = 'restrict_violation'; "
        "END IF; RETURN NULL; END $body$"
    )
    for table in LOG_TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION filigrana_append_only()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    op.execute(
        "CREATE TRIGGER log_entries_dense AFTER INSERT ON log_entries REFERENCING NEW TABLE AS fresh "
        "FOR EACH STATEMENT EXECUTE FUNCTION filigrana_dense()"
    )
    op.execute("ALTER TABLE log_entries ENABLE ALWAYS TRIGGER log_entries_dense")
    found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
    if op.get_bind().execute(found, {"name": WRITER}).first():
        op.execute(f"GRANT SELECT, INSERT ON {', '.join(LOG_TABLES)} TO {WRITER}")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(OTHER_TABLES)} TO {WRITER}")
        op.execute(f"GRANT USAGE ON SEQUENCE bindings_id_seq TO {WRITER}")
        op.execute(f"GRANT SELECT ON alembic_version TO {WRITER}")


def _big_key() -> Any:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _json() -> Any:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
