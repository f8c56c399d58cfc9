"""A host name that two agents use is disputed; times that nobody read go."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.alter_column(
        "hosts", "claimed_by", new_column_name="disputed_by", existing_type=sa.String(36)
    )
    op.drop_column("hosts", "claimed_at")
    op.drop_column("hosts", "announced_at")
