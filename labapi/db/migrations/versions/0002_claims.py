"""Agents that use the host name of another one."""

import sqlalchemy as sa

from labapi.db.migrations.steps import MOMENT, add_column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_column("hosts", sa.Column("claimed_by", sa.String(36)))
    add_column("hosts", sa.Column("claimed_at", MOMENT))
