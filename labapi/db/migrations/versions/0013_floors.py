"""Which older programs can work with the schema."""

import sqlalchemy as sa

from labapi.db.migrations.steps import add_table

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    add_table(
        "schema_floors",
        sa.Column("revision", sa.String(32), nullable=False),
        sa.Column("floor", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_schema_floors"),
    )
