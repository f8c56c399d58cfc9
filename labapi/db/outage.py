"""What an error of the database means: that it is away or busy, or that something is wrong.

Only what passes by itself counts as an outage: a lost connection, a timeout, a lock, a full disk.
Everything else (a missing column, a value that does not fit) would fail for ever.
"""

from __future__ import annotations

import sqlite3

from pymysql.constants import CR, ER
from sqlalchemy import exc

# Of two transactions one was chosen to begin again. MariaDB: the row changed since it was read.
_AGAIN = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.CHECKREAD}
_STATEMENT_TIMEOUT = {1969, 3024}  # MariaDB's max_statement_time, MySQL's max_execution_time
_CONNECTION_KILLED = 1927  # MariaDB's ER_CONNECTION_KILLED
# Galera's, of a node that is not, or not yet, with more than half of the others.
_NOT_PRIMARY = ER.UNKNOWN_COM_ERROR
_NO_PASSWORD = 1698  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
_AWAY = (
    _AGAIN
    | _STATEMENT_TIMEOUT
    | {
        CR.CR_CONNECTION_ERROR,
        CR.CR_CONN_HOST_ERROR,
        CR.CR_SERVER_GONE_ERROR,
        CR.CR_SERVER_LOST,
        CR.CR_SERVER_LOST_EXTENDED,
        _CONNECTION_KILLED,
        _NOT_PRIMARY,
        ER.CON_COUNT_ERROR,
        ER.TOO_MANY_USER_CONNECTIONS,
        ER.USER_LIMIT_REACHED,
        ER.SERVER_SHUTDOWN,
        ER.NORMAL_SHUTDOWN,
        ER.SHUTDOWN_COMPLETE,
        ER.FORCING_CLOSE,
        ER.ABORTING_CONNECTION,
        ER.NEW_ABORTING_CONNECTION,
        ER.NET_READ_ERROR,
        ER.NET_READ_INTERRUPTED,
        ER.NET_ERROR_ON_WRITE,
        ER.NET_WRITE_INTERRUPTED,
        ER.QUERY_INTERRUPTED,
        ER.DISK_FULL,
        ER.RECORD_FILE_FULL,
        ER.ERROR_ON_WRITE,
    }
)
# The server lets this program in no more, until somebody there puts it right.
_REFUSED = {
    ER.DBACCESS_DENIED_ERROR,
    ER.ACCESS_DENIED_ERROR,
    ER.BAD_DB_ERROR,
    ER.HOST_IS_BLOCKED,
    ER.HOST_NOT_PRIVILEGED,
    _NO_PASSWORD,
}
_AWAY_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
}


class Cause(Exception):
    """What a server or its driver said, and which server it was; for the log, not for clients."""


def cause(error: exc.DBAPIError, where: str) -> Cause:
    """Return the cause of an error.

    :param where: the URL of the database, without its password
    """
    made = Cause(f"{where}: {said(error)}")
    made.__cause__ = error.orig
    return made


def said(error: exc.DBAPIError) -> str:
    """Return the text of an error without the statement that met it."""
    args: tuple[object, ...] = getattr(error.orig, "args", ())
    if len(args) == 2 and isinstance(args[0], int):
        if not args[1]:  # PyMySQL of a connection that it has closed itself
            return "the connection was lost"
        return f"{args[1]} ({args[0]})"
    return str(error.orig)


def is_outage(error: exc.DBAPIError) -> bool:
    """Say whether the same statement may succeed later, with nothing changed but time."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        # The lowest byte is the kind of error, the others say more of it.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _AWAY_SQLITE
    return _code(error) in _AWAY


def is_of_a_lost_node(error: BaseException) -> bool:
    """Say whether the server answers nothing any more over this connection, perhaps over another.

    :param error: of the driver
    """
    return bool(error.args) and error.args[0] == _NOT_PRIMARY


def is_refusal(error: exc.DBAPIError) -> bool:
    """Say whether the server does not let this program in.

    While a program runs that is as good as an outage; when it starts it is a mistake of its
    configuration.
    """
    return _code(error) in _REFUSED


def is_worth_a_retry(error: exc.DBAPIError) -> bool:
    """Say whether a transaction may succeed if it runs again at once."""
    return error.connection_invalidated or _code(error) in _AGAIN


def is_deadlock(error: exc.DBAPIError) -> bool:
    """Say whether another transaction went on, which had to wait for this one and made it wait."""
    return bool(_code(error) == ER.LOCK_DEADLOCK)


def _code(error: exc.DBAPIError) -> object:
    return error.orig.args[0] if error.orig is not None and error.orig.args else None
