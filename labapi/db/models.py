"""The tables.

``testcases.id`` and ``hosts.id`` grow with time, so the newest rows are found, and pages of them
cut, by the primary key. What the world outside sees of a case is its UUID.
"""

from __future__ import annotations

import datetime
from typing import Any, ClassVar

import msgspec
from sqlalchemy import (
    BigInteger,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from labapi.nesting import deeper_than


class UTCDateTime(TypeDecorator[datetime.datetime]):
    """A point in time with microseconds, kept as UTC and returned as an aware datetime."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(
        self, value: datetime.datetime | None, dialect: Dialect
    ) -> datetime.datetime | None:
        """Take the zone off; only aware datetimes are accepted."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: datetime.datetime | None, dialect: Dialect
    ) -> datetime.datetime | None:
        """Put the zone on."""
        return None if value is None else value.replace(tzinfo=datetime.UTC)


# What stands in the place of a JSON value that cannot be shown, and the deepest one that can.
CANNOT_BE_SHOWN = "cannot_be_shown"
MAX_DEPTH = 200


class JSONText(TypeDecorator[Any]):
    """A JSON value kept as text: nothing looks into it with SQL."""

    impl = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode; None is NULL."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Decode; a value that cannot be shown says so in its place, and breaks no list."""
        if value is None:
            return None
        try:
            document = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            return {CANNOT_BE_SHOWN: str(error)}
        nested = value.count("[") + value.count("{")
        if nested > MAX_DEPTH and deeper_than(document, MAX_DEPTH):
            return {CANNOT_BE_SHOWN: f"it is nested deeper than {MAX_DEPTH} levels"}
        return document


BigId = BigInteger().with_variant(Integer(), "sqlite")
Blob = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")

# Names and ids are compared byte by byte on every database; MariaDB's default would fold case.
_MYSQL = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


class Base(DeclarativeBase):
    """The root of the tables; constraints have names, so that migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime.datetime: UTCDateTime()}


class Host(Base):
    """A lab machine, as its agent announced it last."""

    __tablename__ = "hosts"
    __table_args__ = (UniqueConstraint("uuid"), UniqueConstraint("host"), _MYSQL)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    host: Mapped[str] = mapped_column(String(255))
    address: Mapped[str | None] = mapped_column(String(64), index=True)
    agent: Mapped[str] = mapped_column(String(36))
    # Ids of what the agent remembers its attempts in, and of the time since it lost contact.
    journal: Mapped[str | None] = mapped_column(String(36))
    session: Mapped[str | None] = mapped_column(String(36))
    release: Mapped[str] = mapped_column(String(64))
    slots: Mapped[int] = mapped_column(Integer)
    # {plugin: {method: {"description": …, "schema": …}}}
    plugins: Mapped[Any] = mapped_column(JSONText)
    # {key: value}, set by operators; an announcement leaves them alone.
    meta: Mapped[Any] = mapped_column(JSONText, default=dict)
    created_at: Mapped[datetime.datetime]
    # Another agent that uses this host's name, refused until an operator accepts it.
    disputed_by: Mapped[str | None] = mapped_column(String(36))


class FormerHost(Base):
    """A host that is off the list: the metadata that guard what ran there."""

    __tablename__ = "former_hosts"
    __table_args__ = (_MYSQL,)

    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    meta: Mapped[Any] = mapped_column(JSONText)


class Service(Base):
    """A program that is or was running somewhere, and when it was last heard of.

    Apart from ``hosts`` because heartbeats write it all the time: the rows stay narrow.
    """

    __tablename__ = "services"
    __table_args__ = (UniqueConstraint("binary", "host"), _MYSQL)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    binary: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    # Stamped with the clock of the conductor that heard it.
    last_seen_at: Mapped[datetime.datetime | None]
    zone: Mapped[str] = mapped_column(String(64), default="lab")
    # A disabled agent finishes what it runs and is given nothing new.
    disabled: Mapped[bool] = mapped_column(default=False)
    disabled_reason: Mapped[str | None] = mapped_column(String(255))
    stopped: Mapped[bool] = mapped_column(default=False)
    facts: Mapped[Any | None] = mapped_column(JSONText)
    created_at: Mapped[datetime.datetime]


class TestCase(Base):
    """One method on one host, once."""

    __tablename__ = "testcases"
    __table_args__ = (
        UniqueConstraint("uuid"),
        UniqueConstraint("idempotency"),
        Index("ix_testcases_state_host_queue_rank_id", "state", "host", "queue_rank", "id"),
        Index("ix_testcases_host_id", "host", "id"),
        Index("ix_testcases_project_id_id", "project_id", "id"),
        # For the filters of the list: what has the value, in the order of the list.
        Index("ix_testcases_result_id", "result", "id"),
        Index("ix_testcases_plugin_id", "plugin", "id"),
        Index("ix_testcases_method_id", "method", "id"),
        Index("ix_testcases_created_at", "created_at"),
        _MYSQL,
    )
    __test__ = False  # pytest: this is not a test

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    project_id: Mapped[str | None] = mapped_column(String(255))
    user_id: Mapped[str | None] = mapped_column(String(255))
    request_id: Mapped[str] = mapped_column(String(64))
    plugin: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    parameters: Mapped[Any] = mapped_column(JSONText)
    timeout: Mapped[float] = mapped_column(Double)
    # The negative of the priority, so that the order of the index is the order of the queue.
    queue_rank: Mapped[int] = mapped_column(Integer, default=0)
    rerun_on_loss: Mapped[bool] = mapped_column(default=False)
    # Digest of project and Idempotency-Key, and of the body that came with it.
    idempotency: Mapped[str | None] = mapped_column(String(64))
    body_digest: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    result: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    exit_code: Mapped[int | None] = mapped_column(Integer)
    data: Mapped[Any | None] = mapped_column(JSONText)
    # The fencing token: a report of another attempt changes nothing.
    attempt: Mapped[str | None] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime.datetime]
    dispatched_at: Mapped[datetime.datetime | None]
    # When its command was sent again; null as long as it was not.
    resent_at: Mapped[datetime.datetime | None]
    started_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]
    # Bytes that its agent wrote, and what it has sent of them: unknown until an agent reports the
    # end, and less than it wrote where the agent's max_output cut it.
    output_size: Mapped[int] = mapped_column(BigInteger, default=0)
    output_sent: Mapped[int | None] = mapped_column(BigInteger)


class OutputChunk(Base):
    """A piece of a case's output, from ``offset`` bytes on."""

    __tablename__ = "output_chunks"
    __table_args__ = (_MYSQL,)

    testcase_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    offset: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(Blob)
