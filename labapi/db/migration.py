"""The schema's versions, by alembic.

An upgrade adds and takes nothing away: programs of the release before go on beside those of the new
one, and may even be started again, for the database says how old they may be (``FLOOR``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from oslo_log import log
from sqlalchemy import Connection, exc, inspect, select, text

from labapi.db import outage
from labapi.db.models import SchemaFloor
from labapi.db.session import Database
from labapi.db.upsert import upsert
from labapi.exceptions import ConfigError, DatabaseUnavailable

LOG = log.getLogger(__name__)

# Seconds: for one step, which may build an index over millions of rows, and for another upgrade of
# the same database to end.
STEP_TIMEOUT = 3600.0
LOCK_TIMEOUT = 60.0

# The oldest revision whose programs can work with the newest one: of the revisions after it none
# drops or renames anything, or adds a column that has to be given. Raise it with one that does.
FLOOR = "0013"


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema to a revision; of two upgrades at once the second waits for the first.

    :raises ConfigError: the database is of a newer labapi, or there is no such revision
    :raises DatabaseUnavailable: it is away, or another upgrade does not end
    """
    with _errors_named(database), database.patient(STEP_TIMEOUT, LOCK_TIMEOUT) as connection:
        _lock(connection)
        if _is_newer(connection):
            return
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise ConfigError(str(error)) from None
        _note_floor(connection)


def current(database: Database) -> str | None:
    """Return the revision that the database has, None before the first upgrade."""
    with _errors_named(database), database.engine().connect() as connection:
        return _revision(connection)


def history() -> list[tuple[str, str]]:
    """Return ``(revision, title)`` of all revisions, newest first."""
    scripts = ScriptDirectory.from_config(_config())
    return [(script.revision, script.doc) for script in scripts.walk_revisions()]


def require_current(database: Database) -> None:
    """Check that the schema is one that this labapi works with.

    :raises ConfigError: it is older, or too new; the text says what to do
    """
    with _errors_named(database), database.engine().connect() as connection:
        revision = _revision(connection)
        newer = _is_newer(connection)
    if newer:
        LOG.warning("the database is of a newer labapi (schema revision %s)", revision)
    elif revision != history()[0][0]:
        raise ConfigError("the database's schema is not current; run: labapi-manage db upgrade")


def _lock(connection: Connection) -> None:
    """Be the only upgrade for as long as this connection lasts."""
    if connection.dialect.name == "sqlite":
        return  # the transaction is, from its beginning
    wait = text("SELECT GET_LOCK(CONCAT('labapi.upgrade.', MD5(DATABASE())), :seconds)")
    if connection.execute(wait, {"seconds": LOCK_TIMEOUT}).scalar_one() != 1:
        raise DatabaseUnavailable(
            "another upgrade of this database is running; try again when it has ended"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_newer(connection: Connection) -> bool:
    """Say whether the schema is of a newer labapi.

    :raises ConfigError: it is, and this one cannot work with it
    """
    revision, known = _revision(connection), dict(history())
    if revision is None or revision in known:
        return False
    if inspect(connection).has_table(SchemaFloor.__tablename__):
        floor = select(SchemaFloor.floor).where(SchemaFloor.revision == revision)
        if connection.execute(floor).scalar_one_or_none() in known:
            return True
    raise ConfigError(
        f"the database was made by a newer version of labapi (schema revision {revision});"
        " upgrade labapi, or use another database"
    )


def _note_floor(connection: Connection) -> None:
    """Have the database say which programs can work with it, if it has the newest schema."""
    newest = history()[0][0]
    if _revision(connection) == newest:
        row = {"revision": newest, "floor": FLOOR}
        upsert(connection, SchemaFloor, ("revision",), [row], keep=())


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
        raise kind(f"cannot use the database {database.shown}: {outage.said(error)}") from error
