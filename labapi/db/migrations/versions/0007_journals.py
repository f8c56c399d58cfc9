"""The journal and the session that an agent announces."""

import sqlalchemy as sa

from labapi.db.migrations.steps import add_column

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    add_column("hosts", sa.Column("journal", sa.String(36)))
    add_column("hosts", sa.Column("session", sa.String(36)))
