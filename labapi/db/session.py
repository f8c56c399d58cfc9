"""Engines and transactions.

Queries are functions that take a connection; ``Database.read`` and ``Database.write`` run them.
A read is one statement without a transaction, for that costs one round trip and no more, and so is
``Database.insert``, whose statement commits itself. A write is one transaction; on SQLite it takes
the write lock at its beginning, for a lock taken half-way cannot wait and fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from oslo_config import cfg
from oslo_log import log
from sqlalchemy import Connection, Engine, event, exc

from labapi.exceptions import ConfigError, DatabaseUnavailable

LOG = log.getLogger(__name__)

T = TypeVar("T")

# What a query returns: a row whose columns are attributes.
Record = sqlalchemy.Row[*tuple[Any, ...]]

ATTEMPTS = 5
# MariaDB: deadlock found, lock wait timeout exceeded.
_RETRY_CODES = (1213, 1205)


def url_of(conf: cfg.ConfigOpts) -> sqlalchemy.URL:
    """Return the database's URL: the one configured, or an SQLite file in ``state_path``.

    :raises ConfigError: this is no URL of a database
    """
    if not conf.database.connection:
        return sqlalchemy.URL.create(
            "sqlite", database=str(Path(conf.state_path).absolute() / "labapi.sqlite")
        )
    try:
        return sqlalchemy.make_url(conf.database.connection)
    except exc.ArgumentError:
        raise ConfigError("[database] connection is not an SQLAlchemy URL") from None


class Database:
    """A database and its two pools: of statements by themselves, and of transactions.

    :param conf: configuration with the ``[database]`` group
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.url = url_of(conf)
        options = conf.database
        try:
            self._statements = _engine(
                self.url, options, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
            )
            self._transactions = _engine(self.url, options)
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            raise ConfigError(f"[database] connection: {error}") from None
        if self.url.get_backend_name() == "sqlite":
            event.listen(self._transactions, "begin", _begin_immediate)

    def read(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``query(connection, …)`` outside a transaction.

        :raises DatabaseUnavailable: the database is away
        """
        return self._run(self._statements.connect, query, args, kwargs)

    def insert(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``query(connection, …)``, which changes the database by one statement at most.

        It is committed with that statement. As with ``write`` it may run again.

        :raises DatabaseUnavailable: the database is away
        """
        return self._run(self._statements.connect, query, args, kwargs)

    def write(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``query(connection, …)`` in a transaction of its own and commit it.

        It runs again after a deadlock and after a connection that turns out to be dead, so it must
        have no effects outside the database.

        :raises DatabaseUnavailable: the database is away
        """
        return self._run(self._transactions.begin, query, args, kwargs)

    def close(self) -> None:
        """Close all connections; later use opens new ones."""
        self._statements.dispose()
        self._transactions.dispose()

    def engine(self) -> Engine:
        """Return the engine of transactions, for migrations."""
        return self._transactions

    def _run(self, opened: Callable[[], Any], query: Callable[..., T], args: Any, kwargs: Any) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with opened() as connection:
                    return query(connection, *args, **kwargs)
            except exc.TimeoutError as error:
                raise DatabaseUnavailable("the database is too busy") from error
            except exc.DBAPIError as error:
                if attempt == ATTEMPTS or not _worth_retrying(error):
                    if _is_outage(error):
                        raise DatabaseUnavailable("the database is away") from error
                    raise
                LOG.debug("transaction runs again: %s", error.orig)
                time.sleep(0.01 * attempt)
        raise AssertionError  # the loop returns or raises


def _worth_retrying(error: exc.DBAPIError) -> bool:
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return code in _RETRY_CODES or error.connection_invalidated


def _is_outage(error: exc.DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(
        error, exc.OperationalError | exc.InterfaceError
    )


def _engine(url: sqlalchemy.URL, options: Any, **more: Any) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    connect_args: dict[str, Any] = {"timeout": options.timeout}
    if not sqlite:
        seconds = max(1, round(options.timeout))
        connect_args = {
            "connect_timeout": seconds,
            "read_timeout": seconds,
            "write_timeout": seconds,
            "charset": "utf8mb4",
        }
    engine = sqlalchemy.create_engine(
        url,
        pool_size=options.pool_size,
        max_overflow=options.max_overflow,
        pool_timeout=options.timeout,
        pool_recycle=3600,
        # A connection is only ever used in a "with", which ends its transaction: a ROLLBACK on its
        # return would be one more round trip for nothing.
        pool_reset_on_return=None,
        connect_args=connect_args,
        **more,
    )
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins and commits, not the driver
    cursor = connection.cursor()
    # WAL lets readers read while a writer writes. NORMAL survives the end of the process, not a
    # power cut; who needs that runs MariaDB.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
