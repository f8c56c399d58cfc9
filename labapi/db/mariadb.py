"""A connection to MariaDB or MySQL that never waits longer than it may."""

from __future__ import annotations

from typing import Any

from pymysql.constants import ER
from pymysql.err import OperationalError

from labapi.db import allowance, packets


class Connection(packets.Connection):
    """One that knows what the request that uses it has left, and what the server takes.

    PyMySQL looks at its timeouts before it waits; here they are asked for at that moment.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._largest: int | None = None
        kwargs["connect_timeout"] = allowance.shortened(kwargs["connect_timeout"])
        super().__init__(*args, **kwargs)

    @property
    def _read_timeout(self) -> float:
        return allowance.shortened(self._longest_read)

    @_read_timeout.setter
    def _read_timeout(self, seconds: float) -> None:
        self._longest_read = seconds

    @property
    def _write_timeout(self) -> float:
        return allowance.shortened(self._longest_write)

    @_write_timeout.setter
    def _write_timeout(self, seconds: float) -> None:
        self._longest_write = seconds

    def connect(self, sock: Any = None) -> None:
        """Connect, ask how large a statement may be, and say what to read and how to find it.

        :raises OperationalError: the node is not, or not yet, up to date
        """
        super().connect(sock)
        with self.cursor() as cursor:
            # What is read under a lock is what was committed before it was got, and no statement
            # locks rows that are not there yet: two insertions would wait for each other.
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # An intersection reads all that both indexes find, where one of them, read in the order
            # that is asked for, may be left after a page.
            cursor.execute("SET SESSION optimizer_switch = 'index_merge_intersection=off'")
            cursor.execute(
                "SHOW VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'wsrep_on')"
            )
            told = dict(cursor.fetchall())
            self._largest = int(told["max_allowed_packet"])
            if told.get("wsrep_on") == "ON":
                self._catch_up(cursor)

    def _catch_up(self, cursor: Any) -> None:
        """Wait until this node of a cluster has all that was committed on any until now.

        After a failover it may be behind the one before, whose commits were answered already.
        """
        cursor.execute("SET SESSION wsrep_sync_wait = 1")
        cursor.execute("SELECT 1")
        cursor.execute("SET SESSION wsrep_sync_wait = DEFAULT")

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """Send a statement.

        :raises OperationalError: it is larger than the server takes, which would end the connection
            and look like an outage
        """
        text = sql.encode(self.encoding, "surrogateescape") if isinstance(sql, str) else sql
        if self._largest is not None and len(text) >= self._largest:
            raise OperationalError(
                ER.NET_PACKET_TOO_LARGE,
                f"a statement of {len(text)} bytes; max_allowed_packet is {self._largest}",
            )
        return int(super().query(text, unbuffered))
