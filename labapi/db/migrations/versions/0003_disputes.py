"""A host name that two agents use is disputed; times that nobody read go."""

import sqlalchemy as sa

from labapi.db.migrations.steps import drop_column, rename_column

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    rename_column("hosts", "claimed_by", "disputed_by", sa.String(36))
    drop_column("hosts", "claimed_at")
    drop_column("hosts", "announced_at")
