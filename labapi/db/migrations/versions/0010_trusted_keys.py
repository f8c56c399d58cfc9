"""The keys that an agent trusts."""

import sqlalchemy as sa

from labapi.db.migrations.steps import JSON_TEXT, add_column

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    add_column("hosts", sa.Column("trusted_keys", JSON_TEXT))
