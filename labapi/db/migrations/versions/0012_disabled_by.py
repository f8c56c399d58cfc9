"""Who disabled a service."""

import sqlalchemy as sa

from labapi.db.migrations.steps import add_column

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    add_column("services", sa.Column("disabled_by", sa.String(255)))
