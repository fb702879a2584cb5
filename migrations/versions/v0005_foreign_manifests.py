"""Manifests of other makers, that the recovery API keeps, and the soft bindings that lead to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"
TABLES = ("foreign_manifests", "foreign_bindings")


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "foreign_manifests",
        sa.Column("label", sa.String(256), nullable=False),
        sa.Column("store", sa.LargeBinary(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("label", name="pk_foreign_manifests"),
    )
    op.create_table(
        "foreign_bindings",
        sa.Column("id", key, nullable=False),
        sa.Column("alg", sa.String(128), nullable=False),
        sa.Column("value", sa.String(512), nullable=False),
        sa.Column("label", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_foreign_bindings"),
        sa.UniqueConstraint("alg", "value", "label", name="uq_foreign_bindings_alg_value_label"),
        sa.ForeignKeyConstraint(["label"], ["foreign_manifests.label"], name="fk_foreign_bindings_label"),
    )
    op.create_index("ix_foreign_bindings_label", "foreign_bindings", ["label"])
    if op.get_bind().dialect.name == "postgresql":
        found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if op.get_bind().execute(found, {"name": WRITER}).first():
            op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO {WRITER}")
            op.execute(f"GRANT USAGE ON SEQUENCE foreign_bindings_id_seq TO {WRITER}")


def downgrade() -> None:
    op.drop_table("foreign_bindings")
    op.drop_table("foreign_manifests")
