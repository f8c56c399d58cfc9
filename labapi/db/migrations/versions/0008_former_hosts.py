"""The metadata of hosts that are off the list."""

import sqlalchemy as sa

from labapi.db.migrations.steps import JSON_TEXT, add_table

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    add_table(
        "former_hosts",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("meta", JSON_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_former_hosts"),
    )
