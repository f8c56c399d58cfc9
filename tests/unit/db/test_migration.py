from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, inspect, select, text
from sqlalchemy.exc import PendingRollbackError

from labapi import config
from labapi.db import migration
from labapi.db.models import Base, SchemaFloor
from labapi.db.session import Database
from labapi.db.upsert import upsert
from labapi.exceptions import ConfigError, DatabaseUnavailable
from tests.lab import MariaDB


@pytest.fixture(params=["sqlite", "mariadb"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    server = MariaDB().create() if request.param == "mariadb" else None
    conf = config.new(
        database__connection=server.url if server else f"sqlite:///{tmp_path}/labapi.sqlite"
    )
    conf([], project="labapi", default_config_files=[])
    opened = Database(conf)
    yield opened
    opened.close()
    if server:
        server.drop()


def differences(database: Database) -> list[Any]:
    """Return what the schema has that the models do not say, and the other way round."""
    with database.engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    assert differences(database) == []


def test_upgrading_again_changes_nothing(database: Database) -> None:
    before = migration.current(database)
    migration.upgrade(database)
    assert migration.current(database) == before == migration.history()[0][0]
    migration.require_current(database)


def test_an_unknown_revision(database: Database) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        migration.upgrade(database, "nowhere")


class Killed(BaseException):
    """The program ends here."""


def test_an_upgrade_that_was_killed_goes_on_where_it_was(empty: Database) -> None:
    """After each single statement once; MariaDB has committed the one before."""
    for allowed in itertools.count():
        left = iter(range(allowed))

        def kill(_connection: Any, _cursor: Any, statement: str, *_: Any, left: Any = left) -> None:
            if not statement.startswith(("SELECT", "SHOW", "DESCRIBE", "PRAGMA", "BEGIN")):
                try:
                    next(left)
                except StopIteration:
                    raise Killed from None

        event.listen(Engine, "before_cursor_execute", kill)
        try:
            migration.upgrade(empty)
        except (Killed, PendingRollbackError):  # the latter while a copied table is tidied up
            continue
        else:
            break
        finally:
            event.remove(Engine, "before_cursor_execute", kill)
    assert allowed > 3
    assert differences(empty) == []
    migration.require_current(empty)


def test_the_steps_themselves_can_be_begun_again(empty: Database) -> None:
    """As after a kill between a revision's last step and the note that it is done."""
    revisions = [revision for revision, _ in migration.history()][::-1]
    for before, revision in zip([None, *revisions], revisions, strict=False):
        migration.upgrade(empty, revision)
        with empty.engine().begin() as connection:
            connection.execute(
                text("UPDATE alembic_version SET version_num = :before")
                if before
                else text("DELETE FROM alembic_version"),
                {"before": before} if before else {},
            )
        migration.upgrade(empty, revision)
    assert differences(empty) == []


def test_who_comes_while_another_upgrades_waits_and_is_told(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "LOCK_TIMEOUT", 0.5)
    with empty.patient(60.0, 60.0) as connection:
        migration._lock(connection)
        with pytest.raises(DatabaseUnavailable, match=r"another upgrade|locked"):
            migration.upgrade(empty)
    migration.upgrade(empty)
    migration.require_current(empty)


def of_the_next_release(database: Database, floor: str | None) -> None:
    """Have a database of a release that is not there yet."""

    def change(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = 'next'"))
        if floor is not None:
            row = {"revision": "next", "floor": floor}
            upsert(connection, SchemaFloor, ("revision",), [row], keep=())

    migration.upgrade(database)
    database.write(change)


def test_a_newer_database_that_this_release_can_work_with(empty: Database) -> None:
    of_the_next_release(empty, migration.history()[0][0])
    migration.require_current(empty)
    migration.upgrade(empty)
    assert migration.current(empty) == "next"


@pytest.mark.parametrize("floor", [None, "later"])
def test_a_newer_database_that_this_release_cannot_work_with(
    empty: Database, floor: str | None
) -> None:
    of_the_next_release(empty, floor)
    for use in (migration.require_current, migration.upgrade):
        with pytest.raises(ConfigError, match=r"newer version of labapi \(schema revision next\)"):
            use(empty)


def test_an_upgraded_database_says_who_can_work_with_it(database: Database) -> None:
    migration.upgrade(database)
    said = dict(database.read(lambda c: c.execute(select(SchemaFloor)).all()))
    assert said == {migration.history()[0][0]: migration.FLOOR}


def test_revisions_after_the_floor_only_add(empty: Database) -> None:
    revisions = [revision for revision, _ in migration.history()][::-1]
    migration.upgrade(empty, migration.FLOOR)
    before = columns(empty)
    for revision in revisions[revisions.index(migration.FLOOR) :]:
        migration.upgrade(empty, revision)
        after = columns(empty)
        for table, known in before.items():
            assert known.keys() <= after[table].keys(), (revision, table)
            for name in after[table].keys() - known.keys():
                column = after[table][name]
                given = column["nullable"] or column["default"] is not None
                assert given, f"{revision}: the programs of the floor do not fill {table}.{name}"
        before = after


def columns(database: Database) -> dict[str, dict[str, Any]]:
    """Return what a database has: ``{table: {column: what it is}}``."""
    look = inspect(database.engine())
    return {
        table: {column["name"]: column for column in look.get_columns(table)}
        for table in look.get_table_names()
    }
