"""The schema's versions, by alembic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import exc

from labapi.db import outage
from labapi.db.session import Database
from labapi.exceptions import ConfigError, DatabaseUnavailable


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema to a revision.

    :raises ConfigError: the database is of a newer labapi, or there is no such revision
    """
    with _errors_named(database):
        _refuse_unknown(database)
        with database.engine().begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise ConfigError(str(error)) from None


def current(database: Database) -> str | None:
    """Return the revision that the database has, None before the first upgrade."""
    with _errors_named(database), database.engine().connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def history() -> list[tuple[str, str]]:
    """Return ``(revision, title)`` of all revisions, newest first."""
    scripts = ScriptDirectory.from_config(_config())
    return [(script.revision, script.doc) for script in scripts.walk_revisions()]


def require_current(database: Database) -> None:
    """Check that the schema is the one this labapi works with.

    :raises ConfigError: it is older or newer; the text says what to do
    """
    _refuse_unknown(database)
    if current(database) != history()[0][0]:
        raise ConfigError("the database's schema is not current; run: labapi-manage db upgrade")


def _refuse_unknown(database: Database) -> None:
    revision = current(database)
    if revision is not None and revision not in dict(history()):
        raise ConfigError(
            f"the database was made by a newer version of labapi (schema revision {revision});"
            " upgrade labapi, or use another database"
        )


def _config() -> Config:
    config = Config()
    folder = Path(__file__).with_name("migrations")
    # alembic's configuration is an ini file in disguise: a percent sign must be doubled.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _errors_named(database: Database) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        kind = DatabaseUnavailable if outage.is_outage(error) else ConfigError
        shown = database.url.render_as_string(hide_password=True)
        raise kind(f"cannot use the database {shown}: {error.orig}") from error
