"""Reading MariaDB's answers: the same as PyMySQL reads, whatever comes in one piece or in many."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.protocol import MysqlPacket

from labapi.db import packets

SERVER = {"host": "127.0.0.1", "port": 3306, "user": "root", "database": "mysql"}
STATEMENTS = (
    "SELECT 1, 2.5, NULL, 'größe', x'00ff', NOW() - INTERVAL 1 DAY > NOW(), CAST('{}' AS CHAR)",
    "SELECT DATE '2026-11-22' AS a, TIMESTAMP '2026-11-22 01:02:03.5' AS b, '' AS c",
    "SELECT TIMESTAMP '0000-00-00 00:00:00' AS a, TIMESTAMP '1000-01-01 23:59:59.000001' AS b",
    "SELECT seq, REPEAT('x', seq), NULL FROM seq_1_to_400",
    "SELECT REPEAT('x', 65535), REPEAT('x', 65536)",
    "SELECT REPEAT('y', 3000000), 1",
    "SELECT REPEAT('z', 17000000)",  # more than a packet holds
    "SELECT 1 FROM DUAL WHERE FALSE",
    "SET @a = 1",
)


@pytest.fixture
def ours() -> Iterator[Any]:
    with packets.Connection(**SERVER) as connection:
        yield connection


def ask(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION max_statement_time = 60")
        count = cursor.execute(statement)
        return count, cursor.description, cursor.fetchall()


@pytest.mark.parametrize("read", [7, packets.READ])
def test_what_is_read_is_what_pymysql_reads(
    ours: Any, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "READ", read)
    with pymysql.connect(**SERVER) as theirs:
        for statement in STATEMENTS:
            expected = ask(theirs, statement)
            assert [ask(ours, statement) for _ in range(2)] == [expected] * 2


def test_an_error_between_answers_ends_nothing(ours: Any) -> None:
    for _ in range(2):
        with pytest.raises(pymysql.err.ProgrammingError, match="no_such"):
            ask(ours, "SELECT 1 FROM mysql.no_such")
        assert ask(ours, "SELECT 2")[2] == ((2,),)


def test_an_error_within_an_answer(ours: Any) -> None:
    statement = "SELECT IF(seq < 300, 1, (SELECT 1 UNION SELECT 2)) FROM seq_1_to_400"
    with pytest.raises(pymysql.err.OperationalError, match="more than 1 row"):
        ask(ours, statement)
    assert ask(ours, "SELECT 2")[2] == ((2,),)


def test_a_row_that_is_cut_off_is_a_lost_connection() -> None:
    result = packets._Result(None)
    result.converters = [("utf8", None), ("utf8", None)]
    for row in (b"\x03ab", b"\xfc\x03", b"\x01a\x02b"):
        with pytest.raises(pymysql.err.OperationalError, match="a row ends"):
            result._read_row_from_packet(MysqlPacket(row, "utf8"))


def test_columns_are_described_once(ours: Any) -> None:
    """Check that a statement which runs again takes half of the calls."""

    def calls(connection: Any) -> int:
        count = 0

        def note(_frame: Any, what: str, _argument: Any) -> None:
            nonlocal count
            count += what == "call"

        sys.setprofile(note)
        try:
            ask(connection, STATEMENTS[0])
        finally:
            sys.setprofile(None)
        return count

    ask(ours, STATEMENTS[0])
    with pymysql.connect(**SERVER) as theirs:
        assert calls(ours) < calls(theirs) / 2


@pytest.fixture
def pair() -> Iterator[tuple[Any, socket.socket]]:
    """A connection, and the server's end of it."""
    ends = socket.socketpair()
    connection = packets.Connection(defer_connect=True)
    connection._sock, connection._rfile = ends[0], ends[0].makefile("rb")
    connection._next_seq_id, connection._current_timeout = 0, None
    with ends[0], ends[1]:
        yield connection, ends[1]
        connection._force_close()


def packet(number: int, data: bytes) -> bytes:
    return struct.pack("<HBB", len(data), 0, number) + data


def test_what_came_before_tls_does_not_count(pair: tuple[Any, socket.socket]) -> None:
    connection, server = pair
    server.sendall(packet(0, b"hello") + packet(1, b"a word of somebody in between"))
    assert connection._read_packet().get_all_data() == b"hello"
    connection._rfile = connection._sock.makefile("rb")  # as PyMySQL does when TLS has begun
    server.sendall(packet(1, b"the server's"))
    assert connection._read_packet().get_all_data() == b"the server's"


@pytest.mark.parametrize("wrong", [b"", packet(0, b"half")[:-1], packet(3, b"of another number")])
def test_what_is_not_the_next_packet_ends_the_connection(
    pair: tuple[Any, socket.socket], wrong: bytes
) -> None:
    connection, server = pair
    server.sendall(packet(0, b"first") + wrong)
    server.shutdown(socket.SHUT_WR)
    assert connection._read_packet().get_all_data() == b"first"
    with pytest.raises(pymysql.err.MySQLError):
        connection._read_packet()
    assert not connection.open


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_allowed(
    pair: tuple[Any, socket.socket],
) -> None:
    connection, server = pair
    connection._read_timeout = 0.05
    server.sendall(packet(0, b"half")[:-1])
    with pytest.raises(pymysql.err.OperationalError, match="timed out"):
        connection._read_packet()


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES"])
def test_values_in_statements_are_those_of_pymysql(ours: Any, mode: str) -> None:
    values = ["", "größe", "it's \\ \" \0 \n \r \x1a %s", 7, -1, True, None, 1.5, b"\0'"]
    with pymysql.connect(**SERVER) as theirs:
        for connection in (ours, theirs):
            ask(connection, f"SET SESSION sql_mode = '{mode}'")
        assert [ours.escape(value) for value in values] == [theirs.escape(v) for v in values]
    with ours.cursor() as cursor:
        cursor.execute("SELECT %s, %s, %s", values[:3])
        assert cursor.fetchall() == (tuple(values[:3]),)
