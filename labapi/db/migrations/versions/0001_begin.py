"""Hosts, services, test cases and their output."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from labapi.db.models import JSONText, UTCDateTime

revision = "0001"
down_revision = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("agent", sa.String(36), nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("plugins", JSONText(), nullable=False),
        sa.Column("meta", JSONText(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("announced_at", UTCDateTime(), nullable=False),
        sa.UniqueConstraint("uuid", name="uq_hosts_uuid"),
        sa.UniqueConstraint("host", name="uq_hosts_host"),
        **OPTIONS,
    )
    op.create_index("ix_hosts_address", "hosts", ["address"])
    op.create_table(
        "services",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("binary", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("last_seen_at", UTCDateTime()),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(255)),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("facts", JSONText()),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.UniqueConstraint("binary", "host", name="uq_services_binary_host"),
        **OPTIONS,
    )
    op.create_table(
        "testcases",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("plugin", sa.String(64), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("parameters", JSONText(), nullable=False),
        sa.Column("timeout", sa.Double(), nullable=False),
        sa.Column("queue_rank", sa.Integer(), nullable=False),
        sa.Column("rerun_on_loss", sa.Boolean(), nullable=False),
        sa.Column("idempotency", sa.String(64)),
        sa.Column("body_digest", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("result", sa.String(16)),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("data", JSONText()),
        sa.Column("attempt", sa.String(64)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("dispatched_at", UTCDateTime()),
        sa.Column("started_at", UTCDateTime()),
        sa.Column("finished_at", UTCDateTime()),
        sa.Column("output_size", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("uuid", name="uq_testcases_uuid"),
        sa.UniqueConstraint("idempotency", name="uq_testcases_idempotency"),
        **OPTIONS,
    )
    op.create_index(
        "ix_testcases_state_host_queue_rank_id", "testcases", ["state", "host", "queue_rank", "id"]
    )
    op.create_index("ix_testcases_host_id", "testcases", ["host", "id"])
    op.create_index("ix_testcases_project_id_id", "testcases", ["project_id", "id"])
    op.create_table(
        "output_chunks",
        sa.Column("testcase_id", BIG_ID, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data", BLOB, nullable=False),
        **OPTIONS,
    )
