"""Engines and transactions.

Queries are functions that take a connection; ``Database.read`` and ``Database.write`` run them.
A read is one statement without a transaction, for that costs one round trip and no more, and so is
``Database.insert``, whose statement commits itself. A write is one transaction; on SQLite it takes
the write lock at its beginning, for a lock taken half-way cannot wait and fails.

Every wait (for a connection, a lock, bytes from the server) takes at most ``[database] timeout``,
and within a request no longer than its allowance lasts (:mod:`labapi.db.allowance`).
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from oslo_config import cfg
from oslo_log import log
from sqlalchemy import Connection, Engine, NullPool, event, exc

from labapi import tls
from labapi.db import allowance, outage
from labapi.db.mariadb import Connection as MariaDBConnection
from labapi.db.pools import RECYCLE, Kept, Pool
from labapi.exceptions import ConfigError, DatabaseUnavailable

LOG = log.getLogger(__name__)

T = TypeVar("T")

# What a query returns: a row whose columns are attributes.
Record = sqlalchemy.Row[*tuple[Any, ...]]

ATTEMPTS = 5
_PORTS = {"mysql": 3306, "mariadb": 3306}  # of a URL that names none


def url_of(conf: cfg.ConfigOpts) -> sqlalchemy.URL:
    """Return the database's URL: the one configured, or an SQLite file in ``state_path``.

    :raises ConfigError: this is not the URL of a database, or names a driver that is not ours
    """
    if not conf.database.connection:
        return sqlalchemy.URL.create(
            "sqlite", database=str(Path(conf.state_path).absolute() / "labapi.sqlite")
        )
    try:
        url = sqlalchemy.make_url(conf.database.connection)
    # A ValueError is of what stands where the port should: part of a password with a / in it.
    except (exc.ArgumentError, ValueError):
        raise ConfigError("[database] connection is not an SQLAlchemy URL") from None
    if url.get_backend_name() in _PORTS and url.get_driver_name() != "pymysql":
        # Sessions of another would not be READ COMMITTED, and would wait for as long as they like.
        raise ConfigError(
            f"[database] connection begins with {url.drivername}://; the driver of labapi is"
            " PyMySQL: mysql+pymysql://"
        )
    return url


class Database:
    """A database and its two pools: of statements by themselves, and of transactions.

    :param conf: configuration with the ``[database]`` group
    :ivar shown: its URL as it may be shown; the query may hold a password, too
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.url = url_of(conf)
        port = self.url.port or _PORTS.get(self.url.get_backend_name())
        self.shown = self.url.set(query={}, port=port).render_as_string(hide_password=True)
        options = self._options = conf.database
        self._tls = tls.files("database", options)
        waits = (options.timeout,) * 3
        # How long SQLite waits for a lock is told to each connection that SQLAlchemy's pool lends.
        keeps = self.url.get_backend_name() != "sqlite"
        try:
            statements = _engine(
                self.url,
                self._tls,
                *waits,
                isolation_level="AUTOCOMMIT",
                skip_autocommit_rollback=True,
                **({"poolclass": NullPool} if keeps else _pooled(options)),
            )
            transactions = _engine(self.url, self._tls, *waits, **_pooled(options))
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            raise ConfigError(f"[database] connection: {error}") from None
        _begin_by_itself(transactions)
        self._statements = (
            Kept(statements, options) if keeps else Pool(statements.connect, statements, options)
        )
        self._transactions = Pool(transactions.begin, transactions, options)

    def read(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``query(connection, …)`` outside a transaction.

        :raises DatabaseUnavailable: the database is away
        """
        return self._run(self._statements, query, args, kwargs)

    def insert(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``query(connection, …)``, which changes the database by one statement at most.

        It is committed with that statement. As with ``write`` it may run again.

        :raises DatabaseUnavailable: the database is away
        """
        return self._run(self._statements, query, args, kwargs)

    def write(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run ``query(connection, …)`` in a transaction of its own and commit it.

        It runs again after a deadlock and after a connection that turns out to be dead, so it must
        have no effects outside the database.

        :raises DatabaseUnavailable: the database is away
        """
        return self._run(self._transactions, query, args, kwargs)

    def close(self) -> None:
        """Close all connections; later use opens new ones."""
        self._statements.close()
        self._transactions.close()

    def engine(self) -> Engine:
        """Return the engine of transactions."""
        return self._transactions.engine

    @contextlib.contextmanager
    def patient(self, answer: float, lock: float) -> Iterator[Connection]:
        """Lend a connection in a transaction, for statements that take long.

        :param answer: seconds that one of them may take
        :param lock: seconds to wait for the whole of an SQLite database
        """
        engine = _engine(
            self.url, self._tls, self._options.timeout, lock, answer, poolclass=NullPool
        )
        _begin_by_itself(engine)
        with engine.begin() as connection:
            yield connection

    def _run(self, pool: Pool, query: Callable[..., T], args: Any, kwargs: Any) -> T:
        given = allowance.current()
        if given is None:
            return self._try(pool, query, args, kwargs)
        try:
            if not given.begin():
                raise DatabaseUnavailable("the database did not answer in time")
            return self._try(pool, query, args, kwargs)
        finally:
            given.end()

    def _try(self, pool: Pool, query: Callable[..., T], args: Any, kwargs: Any) -> T:
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return pool.run(query, args, kwargs)
            except exc.DBAPIError as error:
                waited = time.monotonic() - began
                late = waited >= self._options.timeout or allowance.remaining() <= 0
                # Of those in a deadlock one goes on, so that each of many has its turn.
                last = attempt >= ATTEMPTS and not outage.is_deadlock(error)
                if late or last or not outage.is_worth_a_retry(error):
                    if outage.is_outage(error):
                        raise DatabaseUnavailable("the database is away") from self._cause(error)
                    if outage.is_refusal(error):
                        why = "the database refuses this service"
                        raise DatabaseUnavailable(why) from self._cause(error)
                    raise
                LOG.debug("transaction runs again: %s", error.orig)
                # Not all at the same moment, or the same ones meet again.
                time.sleep(random.uniform(0, 0.02 * min(attempt, ATTEMPTS)))  # noqa: S311

    def _cause(self, error: exc.DBAPIError) -> Exception:
        return outage.cause(error, self.shown)


def _engine(
    url: sqlalchemy.URL,
    files: tls.Files,
    connect: float,
    lock: float,
    answer: float,
    **options: Any,
) -> Engine:
    """Return an engine that waits so many seconds for each of these."""
    sqlite = url.get_backend_name() == "sqlite"
    connect_args: dict[str, Any] = {"timeout": lock}
    if not sqlite:
        connect_args = {
            "connect_timeout": connect,
            "read_timeout": answer,
            "write_timeout": answer,
            "charset": "utf8mb4",
        }
        if files:
            connect_args["ssl"] = files.context()
    engine = sqlalchemy.create_engine(
        url,
        # A connection is only ever used in a "with", which ends its transaction: a ROLLBACK on its
        # return would be one more round trip for nothing.
        pool_reset_on_return=None,
        connect_args=connect_args,
        **options,
    )
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "checkout", _wait_no_longer(lock))
    elif url.get_driver_name() == "pymysql":
        event.listen(engine, "handle_error", _leave_lost_node)
        event.listen(
            engine, "do_connect", lambda _, __, args, more: MariaDBConnection(*args, **more)
        )
    return engine


def _leave_lost_node(context: Any) -> None:
    if outage.is_of_a_lost_node(context.original_exception):
        context.is_disconnect = True


def _pooled(options: Any) -> dict[str, Any]:
    return {
        "pool_size": options.pool_size,
        "max_overflow": options.max_overflow,
        "pool_timeout": options.timeout,
        "pool_recycle": RECYCLE,
    }


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins and commits, not the driver
    cursor = connection.cursor()
    # WAL lets readers read while a writer writes. NORMAL survives the end of the process, not a
    # power cut; who needs that runs MariaDB.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _wait_no_longer(timeout: float) -> Callable[..., None]:
    """Return what has an SQLite connection wait for locks as long as its next user may."""

    def limit(connection: Any, record: Any, _proxy: Any) -> None:
        seconds = allowance.shortened(timeout)
        if record.info.get("timeout", timeout) != seconds:
            connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            record.info["timeout"] = seconds

    return limit


def _begin_by_itself(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "begin", _begin_immediate)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
