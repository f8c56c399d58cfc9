"""Reading what MariaDB answers in fewer steps than PyMySQL takes.

PyMySQL asks for the timeout and reads twice for each packet, and an answer of one row with ten
columns is fourteen packets. It takes the description of each column apart, which is the same each
time that a statement runs, calls three functions for each value, and reads points in time with a
regular expression. Here packets are cut out of what has come already, descriptions are kept, and a
row is taken apart in one loop.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import pymysql.connections
from pymysql import converters, err
from pymysql.connections import MySQLResult
from pymysql.constants import CR, FIELD_TYPE, SERVER_STATUS
from pymysql.protocol import MysqlPacket

READ, MOST = 16 * 1024, 256 * 1024  # bytes that are asked for at once
KEPT = 512  # results whose columns are remembered

_HEAD = struct.Struct("<HBB")  # of a packet: two parts of its size, its number
_ERROR = b"\xff"
_NO_BACKSLASH = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
# What a value in a row begins with: its size, or one of these.
_NULL = 251
_WIDTHS = {252: 2, 253: 3, 254: 8}  # bytes of its size that follow


class Connection(pymysql.connections.Connection):  # type: ignore[misc]  # no type information
    """A connection that reads what there is, and cuts packets out of it."""

    _next_seq_id: int
    _file: Any = None
    _came = b""
    _at = 0  # where in what has come the next packet begins

    @property
    def _rfile(self) -> Any:
        return self._file

    @_rfile.setter
    def _rfile(self, file: Any) -> None:
        # Somebody in between could have sent more before TLS began: that does not count.
        self._file, self._came, self._at = file, b"", 0

    def escape(self, obj: Any, mapping: Any = None) -> Any:
        """Return a value as it stands in a statement: as PyMySQL does, which takes three calls."""
        kind = type(obj)
        if kind is str and not self.server_status & _NO_BACKSLASH:
            return f"'{converters.escape_string(obj)}'"
        if kind is int:
            return str(obj)
        return "NULL" if obj is None else super().escape(obj, mapping)

    def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        came, at = self._came, self._at
        start = at + _HEAD.size
        if start < len(came):
            low, high, number = _HEAD.unpack_from(came, at)
            end = start + low + (high << 16)
            usual = number == self._next_seq_id and came[start : start + 1] != _ERROR
            if usual and end <= len(came):
                self._at = end
                self._next_seq_id = (number + 1) % 256
                return packet_type(came[start:end], self.encoding)
        return super()._read_packet(packet_type)

    def _read_bytes(self, num_bytes: int) -> bytes:
        parts = [self._came[self._at : self._at + num_bytes]]
        self._at += len(parts[0])
        missing = num_bytes - len(parts[0])
        while missing > 0:
            self._came = self._receive(max(READ, min(missing, MOST)))
            parts.append(self._came[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def _receive(self, most: int) -> bytes:
        """Return some bytes.

        :raises OperationalError: the connection is lost, or none come in time
        """
        try:
            data: bytes = self._sock.recv(most)
        except OSError as error:
            self._force_close()
            raise _lost(f" ({error})") from error
        except BaseException:
            self._force_close()
            raise
        if not data:
            self._force_close()
            raise _lost()
        return data

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        if unbuffered:
            return super()._read_query_result(unbuffered)
        self._result = None
        result = _Result(self)
        result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows


def _lost(why: str = "") -> err.OperationalError:
    text = f"Lost connection to MySQL server during query{why}"
    return err.OperationalError(CR.CR_SERVER_LOST, text)


class _Columns(NamedTuple):
    """What a result knows of its columns, by the names of :class:`MySQLResult`."""

    fields: Any
    description: Any
    converters: Any


class _Result(MySQLResult):  # type: ignore[misc]
    """A result whose columns may be known from the last time."""

    def _get_descriptions(self) -> None:
        connection = self.connection
        # One for each column, and one that says that there are no more.
        packets = [connection._read_packet() for _ in range(self.field_count + 1)]
        told = tuple([packet.get_all_data() for packet in packets])
        columns = _columns(told, connection.encoding, connection.use_unicode)
        self.fields, self.description, self.converters = columns

    def _read_row_from_packet(self, packet: Any) -> tuple[Any, ...]:
        data, at = packet.get_all_data(), 0
        row: list[Any] = []
        for encoding, convert in self.converters:
            if at >= len(data):
                break  # as PyMySQL: a row may have fewer values than there are columns
            size = data[at]
            at += 1
            if size == _NULL:
                row.append(None)
                continue
            if size > _NULL:
                width = _WIDTHS[size]
                size = int.from_bytes(data[at : at + width], "little")
                at += width
            value = data[at : at + size]
            at += size
            if encoding is not None:
                value = value.decode(encoding)
            row.append(value if convert is None else convert(value))
        if at > len(data):
            raise _lost(" (a row ends before its last value)")
        return tuple(row)


@lru_cache(maxsize=KEPT)
def _columns(packets: tuple[bytes, ...], encoding: str, use_unicode: bool) -> _Columns:
    result = MySQLResult(_Told(packets, encoding, use_unicode))
    result.field_count = len(packets) - 1
    result._get_descriptions()
    return _Columns(result.fields, result.description, result.converters)


def _point_in_time(text: str) -> Any:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return converters.convert_datetime(text)  # it has no year 0, say


class _Told:
    """Stands for a connection over which some packets come."""

    decoders: ClassVar[dict[int, Any]] = {
        **converters.decoders,
        FIELD_TYPE.DATETIME: _point_in_time,
        FIELD_TYPE.TIMESTAMP: _point_in_time,
    }

    def __init__(self, packets: Iterable[bytes], encoding: str, use_unicode: bool) -> None:
        self.encoding = encoding
        self.use_unicode = use_unicode
        self._packets = iter(packets)

    def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        return packet_type(next(self._packets), self.encoding)
