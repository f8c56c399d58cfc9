"""Hosts, services, test cases and their output."""

import sqlalchemy as sa

from labapi.db.migrations.steps import BIG_ID, BLOB, JSON_TEXT, MOMENT, add_index, add_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    add_table(
        "hosts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("address", sa.String(64)),
        sa.Column("agent", sa.String(36), nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("plugins", JSON_TEXT, nullable=False),
        sa.Column("meta", JSON_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("announced_at", MOMENT, nullable=False),
        sa.UniqueConstraint("uuid", name="uq_hosts_uuid"),
        sa.UniqueConstraint("host", name="uq_hosts_host"),
    )
    add_index("ix_hosts_address", "hosts", "address")
    add_table(
        "services",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("binary", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("last_seen_at", MOMENT),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(255)),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("facts", JSON_TEXT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.UniqueConstraint("binary", "host", name="uq_services_binary_host"),
    )
    add_table(
        "testcases",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("plugin", sa.String(64), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("parameters", JSON_TEXT, nullable=False),
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
        sa.Column("data", JSON_TEXT),
        sa.Column("attempt", sa.String(64)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("dispatched_at", MOMENT),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.Column("output_size", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("uuid", name="uq_testcases_uuid"),
        sa.UniqueConstraint("idempotency", name="uq_testcases_idempotency"),
    )
    add_index(
        *("ix_testcases_state_host_queue_rank_id", "testcases"),
        *("state", "host", "queue_rank", "id"),
    )
    add_index("ix_testcases_host_id", "testcases", "host", "id")
    add_index("ix_testcases_project_id_id", "testcases", "project_id", "id")
    add_table(
        "output_chunks",
        sa.Column("testcase_id", BIG_ID, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("data", BLOB, nullable=False),
    )
