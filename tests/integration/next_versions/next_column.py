"""A column that programs of this release do not know."""

from pathlib import Path

import sqlalchemy as sa

import labapi.db.migrations.versions
from labapi.db.migrations.steps import add_column

_known = Path(labapi.db.migrations.versions.__file__).parent.glob("[0-9]*.py")

revision = "next"
down_revision = max(file.stem for file in _known).partition("_")[0]


def upgrade() -> None:
    add_column(
        "testcases",
        sa.Column("release", sa.String(16), nullable=False, server_default="before"),
    )
