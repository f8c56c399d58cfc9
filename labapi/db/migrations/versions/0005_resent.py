"""When a command was sent again: apart from when its case was dispatched."""

import sqlalchemy as sa

from labapi.db.migrations.steps import MOMENT, add_column

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    add_column("testcases", sa.Column("resent_at", MOMENT))
