"""Webhooks: the secret before, which signs for a while, and why a message was not taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("old_secret", sa.LargeBinary(32)))
    op.add_column("webhooks", sa.Column("old_until", sa.DateTime(timezone=True)))
    op.add_column("webhook_deliveries", sa.Column("reason", sa.String(64)))


def downgrade() -> None:
    with op.batch_alter_table("webhook_deliveries") as batch:
        batch.drop_column("reason")
    with op.batch_alter_table("webhooks") as batch:
        batch.drop_column("old_until")
        batch.drop_column("old_secret")
