"""The service goes on: whose requests they are, limits of keys, sessions, webhooks, counters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WRITER = "filigrana_writer"
TABLES = ("job_owners", "web_sessions", "webhooks", "webhook_deliveries", "service_counters")


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    time = sa.DateTime(timezone=True)
    op.add_column("jobs", sa.Column("api_key", sa.String(16)))
    op.create_index("ix_jobs_api_key_state", "jobs", ["api_key", "state"])
    op.create_index("ix_jobs_ended_at", "jobs", ["ended_at"])
    op.add_column("api_keys", sa.Column("limits", json))
    op.create_table(
        "job_owners",
        sa.Column("intent", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("asset_id", sa.BigInteger()),
        sa.Column("created_at", time, nullable=False),
        sa.PrimaryKeyConstraint("intent", name="pk_job_owners"),
    )
    op.create_index("ix_job_owners_job_id", "job_owners", ["job_id"])
    op.create_index("ix_job_owners_asset_id", "job_owners", ["asset_id"])
    op.create_index("ix_job_owners_tenant_created_at", "job_owners", ["tenant", "created_at"])
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("key_id", sa.String(16)),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("scopes", json, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("seen_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_web_sessions"),
    )
    for column in ("key_id", "subject", "expires_at"):
        op.create_index(f"ix_web_sessions_{column}", "web_sessions", [column])
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("events", json, nullable=False),
        sa.Column("secret", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_tenant", "webhooks", ["tenant"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.String(16), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("body", json, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("created_at", time, nullable=False),
        sa.Column("ended_at", time),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name="fk_webhook_deliveries_webhook_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'given_up')", name=op.f("ck_webhook_deliveries_state")),
    )
    op.create_index("ix_webhook_deliveries_due", "webhook_deliveries", ["state", "due"])
    op.create_index("ix_webhook_deliveries_webhook_id", "webhook_deliveries", ["webhook_id"])
    op.create_table(
        "service_counters",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("labels", sa.String(256), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name="pk_service_counters"),
    )
    _owners()
    if op.get_bind().dialect.name == "postgresql":
        found = sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name")
        if op.get_bind().execute(found, {"name": WRITER}).first():
            op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES)} TO {WRITER}")


def _owners() -> None:
    """Of the attempts of jobs that there are: their ids follow from the job's (`pipeline.jobs.fence`)."""
    from uuid import UUID, uuid5

    space = UUID("6f1d1a0e-9c3b-5a52-8a5e-2f3f0f6c8b11")
    jobs = sa.table(
        "jobs", sa.column("id", sa.Uuid()), sa.column("tenant", sa.String), sa.column("attempts", sa.Integer),
        sa.column("asset_id", sa.BigInteger), sa.column("created_at", sa.DateTime(timezone=True)),
    )  # fmt: skip
    owners = sa.table(
        "job_owners", sa.column("intent", sa.Uuid()), sa.column("job_id", sa.Uuid()), sa.column("tenant", sa.String),
        sa.column("asset_id", sa.BigInteger), sa.column("created_at", sa.DateTime(timezone=True)),
    )  # fmt: skip
    bind = op.get_bind()
    for row in bind.execute(sa.select(jobs).where(jobs.c.attempts > 0)).all():
        bind.execute(
            owners.insert(),
            [
                {"intent": uuid5(space, f"{row.id}:{number}"), "job_id": row.id, "tenant": row.tenant,
                 "asset_id": row.asset_id if number == row.attempts else None, "created_at": row.created_at}
                for number in range(1, row.attempts + 1)
            ],
        )  # fmt: skip


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_index("ix_jobs_ended_at", "jobs")
    op.drop_index("ix_jobs_api_key_state", "jobs")
    with op.batch_alter_table("api_keys") as batch:
        batch.drop_column("limits")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("api_key")
