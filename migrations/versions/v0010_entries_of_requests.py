"""Which entries of the log are about which request: what people ask of one request no longer reads the whole log."""

from __future__ import annotations

import json
from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"
_AT_ONCE = 2048


def upgrade() -> None:
    table = op.create_table(
        "intent_entries",
        sa.Column("intent_id", sa.Uuid(), primary_key=True),
        sa.Column("log_index", sa.BigInteger(), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    bind = op.get_bind()
    low, last = 0, bind.scalar(sa.text("SELECT max(seq) FROM log_entries"))
    read = sa.text("SELECT seq, leaf FROM log_entries WHERE seq >= :low AND seq < :high")
    while last is not None and low <= last:
        found = bind.execute(read, {"low": low, "high": low + _AT_ONCE})
        rows = [{"intent_id": intent, "log_index": seq} for seq, leaf in found if (intent := _intent(leaf)) is not None]
        if rows:
            bind.execute(table.insert(), rows)
        low += _AT_ONCE
    if bind.dialect.name == "postgresql":
        writer = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if bind.execute(writer, {"name": WRITER}).first():
            op.execute(f"GRANT SELECT, INSERT, DELETE ON intent_entries TO {WRITER}")


def downgrade() -> None:
    op.drop_table("intent_entries")


def _intent(leaf: object) -> UUID | None:
    """None of what is damaged: that is for `audit verify` to tell."""
    try:
        entry = json.loads(leaf) if isinstance(leaf, bytes) else None
        intent = entry.get("intent") if isinstance(entry, dict) else None
        return UUID(intent) if isinstance(intent, str) else None
    except (ValueError, RecursionError):
        return None
