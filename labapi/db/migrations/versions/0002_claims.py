"""Agents that claim the host of another one."""

import sqlalchemy as sa
from alembic import op

from labapi.db.models import UTCDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("hosts", sa.Column("claimed_by", sa.String(36)))
    op.add_column("hosts", sa.Column("claimed_at", UTCDateTime()))
