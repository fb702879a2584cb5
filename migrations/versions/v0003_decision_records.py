"""Decision records: one signed account of each released asset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"


def upgrade() -> None:
    op.create_table(
        "decision_records",
        sa.Column("asset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", name="pk_decision_records"),
        sa.ForeignKeyConstraint(["asset_id"], ["assets.asset_id"], name="fk_decision_records_asset_id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if op.get_bind().execute(found, {"name": WRITER}).first():
            op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON decision_records TO {WRITER}")


def downgrade() -> None:
    op.drop_table("decision_records")
