"""${message}."""

import sqlalchemy as sa

from labapi.db.migrations.steps import add_column

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
