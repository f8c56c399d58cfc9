"""Connections lent to statements and to transactions, no more at a time than there are."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, exc

from labapi.db import allowance
from labapi.exceptions import DatabaseUnavailable

T = TypeVar("T")

RECYCLE = 3600  # seconds after which a connection is replaced


class Pool:
    """Connections of one kind, lent to no more at a time than there are.

    :param connect: what lends one
    """

    def __init__(self, connect: Callable[[], Any], engine: Engine, options: Any) -> None:
        self.engine = engine
        self.connect = connect
        self._timeout: float = options.timeout
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(options.pool_size + options.max_overflow):
            self._free.put(None)

    def run(self, query: Callable[..., T], args: Any, kwargs: Any) -> T:
        """Run ``query(connection, …)`` once.

        :raises DatabaseUnavailable: no connection becomes free in time
        """
        try:
            # SQLAlchemy's own wait takes always as long.
            self._free.get(timeout=allowance.shortened(self._timeout))
        except queue.Empty:
            raise DatabaseUnavailable("the database is too busy") from None
        try:
            return self._lend(query, args, kwargs)
        finally:
            self._free.put(None)

    def close(self) -> None:
        """Close what is open; later use opens connections anew."""
        self.engine.dispose()

    def _lend(self, query: Callable[..., T], args: Any, kwargs: Any) -> T:
        with self.connect() as connection:
            return query(connection, *args, **kwargs)


class Kept(Pool):
    """Connections for statements by themselves, which are kept here and not in SQLAlchemy's pool.

    To give one back there and to borrow it again takes 50 functions, as many as to run a statement
    that is prepared. What has no transaction leaves nothing behind that would have to be ended.

    :param engine: has no pool of its own
    """

    def __init__(self, engine: Engine, options: Any) -> None:
        super().__init__(engine.connect, engine, options)
        self._most: int = options.pool_size
        self._kept: list[tuple[Connection, float]] = []  # and until when

    def close(self) -> None:
        """Close what is open; later use opens connections anew."""
        self._let_go()
        super().close()

    def _lend(self, query: Callable[..., T], args: Any, kwargs: Any) -> T:
        connection, until = self._connection()
        try:
            found = query(connection, *args, **kwargs)
        except Exception as error:
            # When one is lost, the others are, too: each would fail the next who asks.
            if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
                self._let_go()
            self._keep(connection, until)
            raise
        except BaseException:
            connection.close()  # it may be in the middle of an answer
            raise
        self._keep(connection, until)
        return found

    def _connection(self) -> tuple[Connection, float]:
        """Return one, and the monotonic time until which it is kept."""
        now = time.monotonic()
        try:
            connection, until = self._kept.pop()
        except IndexError:
            return self.connect(), now + RECYCLE
        if now < until:
            return connection, until
        connection.close()
        return self.connect(), now + RECYCLE

    def _keep(self, connection: Connection, until: float) -> None:
        if len(self._kept) < self._most and not connection.invalidated:
            self._kept.append((connection, until))
        else:
            connection.close()

    def _let_go(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._kept.pop()[0].close()
