"""The service: jobs, idempotency keys, and the keys of those who may use it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"
TABLES = ("jobs", "idempotency_keys", "api_keys")
STATES = "'queued', 'running', 'released', 'refused', 'held', 'failed', 'cancelled'"


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "jobs",
        sa.Column("place", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("request", json, nullable=False),
        sa.Column("texts", json, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run_after", sa.BigInteger(), nullable=False),
        sa.Column("lease", sa.Uuid()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("worker", sa.String(128)),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("progress", json),
        sa.Column("outcome", json),
        sa.Column("asset_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("place", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        # Erasing a person takes the name away; the texts go with the key, and the job fails.
        sa.ForeignKeyConstraint(["subject"], ["subject_keys.subject"], name="fk_jobs_subject", ondelete="SET NULL"),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_jobs_state")),
        sa.CheckConstraint("kind IN ('generate', 'seal')", name=op.f("ck_jobs_kind")),
    )
    op.create_index("ix_jobs_next", "jobs", ["state", "rank", "place"])
    op.create_index("ix_jobs_tenant_state", "jobs", ["tenant", "state"])
    op.create_index("ix_jobs_tenant_place", "jobs", ["tenant", "place"])
    op.create_index("ix_jobs_asset_id", "jobs", ["asset_id"])
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("scopes", json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant"])
    if op.get_bind().dialect.name == "postgresql":
        found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if op.get_bind().execute(found, {"name": WRITER}).first():
            op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO {WRITER}")
            op.execute(f"GRANT USAGE ON SEQUENCE jobs_place_seq TO {WRITER}")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
