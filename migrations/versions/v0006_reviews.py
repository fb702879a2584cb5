"""What people decide: held work and appeals, and what each person said of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"
TABLES = ("reviews", "review_acts")


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("side", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256)),
        sa.Column("assignee", sa.String(256)),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("appeal_until", sa.DateTime(timezone=True)),
        sa.Column("kept", sa.String(80)),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("intent_id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name="fk_reviews_intent_id"),
        # Erasing a person takes the name away, and leaves the review to end by itself.
        sa.ForeignKeyConstraint(["subject"], ["subject_keys.subject"], name="fk_reviews_subject", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["assignee"], ["subject_keys.subject"], name="fk_reviews_assignee", ondelete="SET NULL"
        ),
        sa.CheckConstraint("kind IN ('hold', 'appeal')", name=op.f("ck_reviews_kind")),
        sa.CheckConstraint("side IN ('prompt', 'output')", name=op.f("ck_reviews_side")),
        sa.CheckConstraint("status IN ('open', 'approved', 'rejected', 'expired')", name=op.f("ck_reviews_status")),
    )
    op.create_index("ix_reviews_status", "reviews", ["status"])
    op.create_table(
        "review_acts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256)),
        sa.Column("reason", sa.Uuid()),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_acts"),
        sa.UniqueConstraint("intent_id", "round", "actor", name="uq_review_acts_intent_id_round_actor"),
        sa.ForeignKeyConstraint(["intent_id"], ["reviews.intent_id"], name="fk_review_acts_intent_id"),
        sa.ForeignKeyConstraint(
            ["subject"], ["subject_keys.subject"], name="fk_review_acts_subject", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["reason"], ["sealed_texts.id"], name="fk_review_acts_reason", ondelete="SET NULL"),
    )
    if op.get_bind().dialect.name == "postgresql":
        found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if op.get_bind().execute(found, {"name": WRITER}).first():
            op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO {WRITER}")


def downgrade() -> None:
    op.drop_table("review_acts")
    op.drop_table("reviews")
