"""How much output an agent has sent in all."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("testcases", sa.Column("output_sent", sa.BigInteger()))
