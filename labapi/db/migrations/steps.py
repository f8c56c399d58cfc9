"""What revisions are made of: steps that look at what is there, so that each can be begun again.

MariaDB commits every change of the schema by itself: an upgrade that is killed may have made half
of a revision and noted nothing.

Revisions import this and no model, for the models go on changing. What stands here must not: a
revision that was released would make something else.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
JSON_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def add_table(name: str, *items: sa.schema.SchemaItem) -> None:
    """Add a table unless it is there."""
    if not sa.inspect(op.get_bind()).has_table(name):
        op.create_table(name, *items, **_OPTIONS)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column unless it is there."""
    if column.name not in _columns(table):
        op.add_column(table, column)


def allow_null(table: str, name: str, of: sa.types.TypeEngine[Any]) -> None:
    """Let a column of this type be null unless it may be; SQLite copies the table for it."""
    columns = sa.inspect(op.get_bind()).get_columns(table)
    if not next(column for column in columns if column["name"] == name)["nullable"]:
        with op.batch_alter_table(table) as batch:
            batch.alter_column(name, existing_type=of, nullable=True)


def drop_column(table: str, name: str) -> None:
    """Drop a column if it is there."""
    if name in _columns(table):
        op.drop_column(table, name)


def rename_column(table: str, name: str, to: str, of: sa.types.TypeEngine[Any]) -> None:
    """Rename a column of this type unless it has been renamed."""
    if name in _columns(table):
        op.alter_column(table, name, new_column_name=to, existing_type=of)


def add_index(name: str, table: str, *columns: str) -> None:
    """Add an index unless it is there."""
    if name not in _indexes(table):
        op.create_index(name, table, list(columns))


def drop_index(name: str, table: str) -> None:
    """Drop an index if it is there."""
    if name in _indexes(table):
        op.drop_index(name, table)


def _columns(table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}


def _indexes(table: str) -> set[str | None]:
    return {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}
