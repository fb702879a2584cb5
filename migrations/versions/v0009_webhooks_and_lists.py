"""Webhooks: the secret before, which signs for a while, and why a message was not taken. Lists that stay quick in a
full house: a tenant's jobs by what they make, its releases by their kind and by when they were released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.add_column("webhooks", sa.Column("old_secret", sa.LargeBinary(32)))
    op.add_column("webhooks", sa.Column("old_until", time))
    op.add_column("webhook_deliveries", sa.Column("reason", sa.String(64)))
    op.add_column("jobs", sa.Column("mime", sa.String(64)))
    op.add_column("job_owners", sa.Column("released_at", time))
    op.add_column("job_owners", sa.Column("media", sa.String(16)))
    if op.get_bind().dialect.name == "sqlite":
        op.execute("UPDATE jobs SET mime = substr(json_extract(request, '$.mime'), 1, 64)")
    else:
        op.execute("UPDATE jobs SET mime = substr(request ->> 'mime', 1, 64)")
    its = "FROM assets WHERE assets.asset_id = job_owners.asset_id"
    owners = "UPDATE job_owners SET released_at = (SELECT created_at {0}), media = (SELECT media {0})"
    op.execute(owners.format(its) + " WHERE asset_id IS NOT NULL")
    op.create_index("ix_jobs_tenant_mime_place", "jobs", ["tenant", "mime", "place"])
    op.create_index("ix_job_owners_tenant_released_at", "job_owners", ["tenant", "released_at"])
    op.create_index("ix_job_owners_tenant_media_released_at", "job_owners", ["tenant", "media", "released_at"])


def downgrade() -> None:
    op.drop_index("ix_job_owners_tenant_media_released_at", "job_owners")
    op.drop_index("ix_job_owners_tenant_released_at", "job_owners")
    op.drop_index("ix_jobs_tenant_mime_place", "jobs")
    for table, columns in (
        ("job_owners", ("media", "released_at")), ("jobs", ("mime",)), ("webhook_deliveries", ("reason",)),
        ("webhooks", ("old_until", "old_secret")),
    ):  # fmt: skip
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column)
