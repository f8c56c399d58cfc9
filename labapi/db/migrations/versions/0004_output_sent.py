"""How much output an agent has sent in all."""

import sqlalchemy as sa

from labapi.db.migrations.steps import add_column

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    add_column("testcases", sa.Column("output_sent", sa.BigInteger()))
