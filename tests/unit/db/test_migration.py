from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, text

from labapi import config
from labapi.db import migration
from labapi.db.models import Base
from labapi.db.session import Database
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
        except Killed:
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
