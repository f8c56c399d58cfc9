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


class SchemaFloor(Base):
    """The oldest revision whose programs can work with that of a newer release."""

    __tablename__ = "schema_floors"
    __table_args__ = (_MYSQL,)

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
    floor: Mapped[str] = mapped_column(String(32))


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
    # Short names of the conductors' keys that its agent trusts; null if it obeys all.
    trusted_keys: Mapped[Any | None] = mapped_column(JSONText)
    # Another agent that uses this host's name, refused until an operator accepts it.
    disputed_by: Mapped[str | None] = mapped_column(String(36))
    # When anything above was said or set last; null if that was before this was noted.
    changed_at: Mapped[datetime.datetime | None]
    # The lease that holds this host; it is given to one that holds it already by no statement.
    lease_id: Mapped[int | None] = mapped_column(Integer, index=True)
    # Since when, why, and by whom this host is benched: it gets no more cases. Null: it is not.
    bad_since: Mapped[datetime.datetime | None]
    bad_reason: Mapped[str | None] = mapped_column(String(255))
    bad_by: Mapped[str | None] = mapped_column(String(255))


class HostFault(Base):
    """A case that ended on a host by the lab's fault; old ones are purged."""

    __tablename__ = "host_faults"
    __table_args__ = (Index("ix_host_faults_host_at", "host", "at"), _MYSQL)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime.datetime]
    testcase: Mapped[str] = mapped_column(String(36))
    reason: Mapped[str | None] = mapped_column(String(64))


class HostGroup(Base):
    """Hosts that only some projects may use."""

    __tablename__ = "host_groups"
    __table_args__ = (UniqueConstraint("uuid"), UniqueConstraint("name"), _MYSQL)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(64))
    meta: Mapped[Any] = mapped_column(JSONText, default=dict)
    # {"plugin", "method", "parameters"} of the case that a benched host has to pass, or null.
    health_case: Mapped[Any | None] = mapped_column(JSONText)
    created_at: Mapped[datetime.datetime]


class HostGroupHost(Base):
    """A host that is in a group; by name, so that one that comes back is in it again."""

    __tablename__ = "host_group_hosts"
    __table_args__ = (_MYSQL,)

    group_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    host: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)


class HostGroupProject(Base):
    """A project that may use the hosts of a group."""

    __tablename__ = "host_group_projects"
    __table_args__ = (_MYSQL,)

    group_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    project_id: Mapped[str] = mapped_column(String(255), primary_key=True, index=True)


class Lease(Base):
    """Hosts that are one project's until a time; ``hosts.lease_id`` says which."""

    __tablename__ = "leases"
    __table_args__ = (
        UniqueConstraint("uuid"),
        UniqueConstraint("idempotency"),
        Index("ix_leases_state_id", "state", "id"),
        Index("ix_leases_project_id_id", "project_id", "id"),
        _MYSQL,
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    project_id: Mapped[str | None] = mapped_column(String(255))
    user_id: Mapped[str | None] = mapped_column(String(255))
    request_id: Mapped[str] = mapped_column(String(64))
    note: Mapped[str | None] = mapped_column(String(255))
    # Names of hosts, or null: then any ``count`` that ``placement`` allows.
    hosts: Mapped[Any | None] = mapped_column(JSONText)
    count: Mapped[int] = mapped_column(Integer)
    placement: Mapped[Any | None] = mapped_column(JSONText)
    # ssh public keys that agents put into an account as long as the lease lasts.
    keys: Mapped[Any | None] = mapped_column(JSONText)
    state: Mapped[str] = mapped_column(String(16))
    # How long it lasts from its start; null where ``ends_at`` was asked for.
    seconds: Mapped[float | None] = mapped_column(Double)
    created_at: Mapped[datetime.datetime]
    starts_at: Mapped[datetime.datetime | None]
    ends_at: Mapped[datetime.datetime | None]
    ended_at: Mapped[datetime.datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(255))
    # Digest of project and Idempotency-Key, and of the body that came with it.
    idempotency: Mapped[str | None] = mapped_column(String(64))
    body_digest: Mapped[str | None] = mapped_column(String(64))


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
    # The user whom the pipeline established, or user@machine of who ran labapi-manage.
    disabled_by: Mapped[str | None] = mapped_column(String(255))
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
        Index("ix_testcases_batch", "batch"),
        Index("ix_testcases_plan", "plan"),
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
    # Null as long as a case that names none has not been given to one.
    host: Mapped[str | None] = mapped_column(String(255))
    parameters: Mapped[Any] = mapped_column(JSONText)
    timeout: Mapped[float] = mapped_column(Double)
    # What it asks of its host instead of naming one (labapi.scheduler.spec.Placement), and names of
    # hosts that failed it by the lab's fault.
    placement: Mapped[Any | None] = mapped_column(JSONText)
    tried_hosts: Mapped[Any | None] = mapped_column(JSONText)
    # The UUID of the first of the cases that one request made.
    batch: Mapped[str | None] = mapped_column(String(36))
    # The UUID of the test plan that it is an entry of.
    plan: Mapped[str | None] = mapped_column(String(36))
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


class TestPlan(Base):
    """Many cases in one order; its entries are rows of their own."""

    __tablename__ = "testplans"
    __table_args__ = (
        UniqueConstraint("uuid"),
        UniqueConstraint("idempotency"),
        Index("ix_testplans_state_id", "state", "id"),
        Index("ix_testplans_project_id_id", "project_id", "id"),
        _MYSQL,
    )
    __test__ = False  # pytest: this is not a test

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(36))
    project_id: Mapped[str | None] = mapped_column(String(255))
    user_id: Mapped[str | None] = mapped_column(String(255))
    request_id: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(255))
    # As it was sent; a rerun reads it again.
    document: Mapped[Any] = mapped_column(JSONText)
    # [{"name", "description", "steps": [{"name", "description"}]}], in their order.
    outline: Mapped[Any] = mapped_column(JSONText)
    stop_on_fail: Mapped[bool] = mapped_column(default=False)
    # Whom to tell of the end: [{"mail": …}, {"webhook": …, "secret": …}]. Secrets are never shown.
    notify: Mapped[Any | None] = mapped_column(JSONText)
    # The UUID of the plan that this one runs again.
    rerun_of: Mapped[str | None] = mapped_column(String(36))
    # Digest of project and Idempotency-Key, and of the body that came with it.
    idempotency: Mapped[str | None] = mapped_column(String(64))
    body_digest: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    result: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    # {NAME: value} of the entries that register one.
    registered: Mapped[Any] = mapped_column(JSONText, default=dict)
    created_at: Mapped[datetime.datetime]
    started_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]


class PlanEntry(Base):
    """An entry of a test plan: a case to be, with what became of it.

    Entries of the same ``turn`` run at the same time, turns one after another. The end of its case
    is the mark that it is to be settled.
    """

    __tablename__ = "plan_entries"
    __table_args__ = (
        UniqueConstraint("plan_id", "number"),
        Index("ix_plan_entries_plan_id_state_turn", "plan_id", "state", "turn", "number"),
        _MYSQL,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    plan_id: Mapped[int] = mapped_column(BigId)
    # Its place in the plan, from 1; those of its step and test case in the outline, from 0.
    number: Mapped[int] = mapped_column(Integer)
    turn: Mapped[int] = mapped_column(Integer)
    test_case: Mapped[int] = mapped_column(Integer)
    step: Mapped[int] = mapped_column(Integer)
    # "1", or "1[STA=a]" of a matrix: what it is called within its step.
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    always: Mapped[bool] = mapped_column(default=False)
    # The columns of its case, in which {"get_param": NAME} may stand for what is registered.
    columns: Mapped[Any] = mapped_column(JSONText)
    # labapi.plans.entry.Rules
    rules: Mapped[Any] = mapped_column(JSONText)
    # queued, running, finished, or skipped: then it never runs.
    state: Mapped[str] = mapped_column(String(16))
    # Of its last case, once that has ended.
    result: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    case: Mapped[str | None] = mapped_column(String(36))
    tries: Mapped[int] = mapped_column(Integer, default=0)
    exit_code: Mapped[int | None] = mapped_column(Integer)
    started_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]


class Notice(Base):
    """Somebody to be told of a plan's end; kept until that is done or given up."""

    __tablename__ = "notices"
    __table_args__ = (
        Index("ix_notices_next_at", "next_at"),
        Index("ix_notices_plan_id", "plan_id"),
        _MYSQL,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    plan_id: Mapped[int] = mapped_column(BigId)
    # {"mail": address} or {"webhook": url, "secret": …}
    target: Mapped[Any] = mapped_column(JSONText)
    tries: Mapped[int] = mapped_column(Integer, default=0)
    # When it is tried next; null: it is done, or given up.
    next_at: Mapped[datetime.datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime.datetime]
    sent_at: Mapped[datetime.datetime | None]
