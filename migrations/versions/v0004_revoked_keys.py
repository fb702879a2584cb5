"""Signing keys that were revoked for a stretch of the log, and the assets that were signed again; both append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("key_revocations", "resignings")
TAKEN = {
    "key_revocations": "EXISTS (SELECT 1 FROM key_revocations WHERE log_index = NEW.log_index)",
    "resignings": "EXISTS (SELECT 1 FROM resignings WHERE log_index = NEW.log_index)",
}
WRITER = "filigrana_writer"


def _big_key() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "key_revocations",
        sa.Column("log_index", _big_key(), autoincrement=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("serial", sa.String(64), nullable=False),
        sa.Column("first_index", sa.BigInteger(), nullable=False),
        sa.Column("last_index", sa.BigInteger()),
        sa.Column("reason", sa.String(128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name="pk_key_revocations"),
    )
    op.create_table(
        "resignings",
        sa.Column("log_index", _big_key(), autoincrement=False),
        sa.Column("asset_id", _big_key(), nullable=False),
        sa.Column("label", sa.String(256), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name="pk_resignings"),
        sa.ForeignKeyConstraint(["asset_id"], ["assets.asset_id"], name="fk_resignings_asset_id"),
    )
    op.create_index("ix_resignings_asset_id", "resignings", ["asset_id"])
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _guard_sqlite() -> None:
    for table in TABLES:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        # INSERT OR REPLACE deletes without firing a delete trigger unless a connection asks for it.
        op.execute(
            f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} WHEN {TAKEN[table]} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _guard_postgresql() -> None:
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION filigrana_append_only()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER")
    found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
    if op.get_bind().execute(found, {"name": WRITER}).first():
        op.execute(f"GRANT SELECT, INSERT ON {', '.join(TABLES)} TO {WRITER}")
