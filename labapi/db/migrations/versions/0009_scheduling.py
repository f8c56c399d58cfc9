"""Cases without a host, groups, leases, and the health of hosts."""

import sqlalchemy as sa

from labapi.db.migrations.steps import (
    BIG_ID,
    JSON_TEXT,
    MOMENT,
    add_column,
    add_index,
    add_table,
    allow_null,
)

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    _cases()
    _hosts()
    _groups()
    _leases()


def _cases() -> None:
    allow_null("testcases", "host", sa.String(255))
    add_column("testcases", sa.Column("placement", JSON_TEXT))
    add_column("testcases", sa.Column("tried_hosts", JSON_TEXT))
    add_column("testcases", sa.Column("batch", sa.String(36)))
    add_index("ix_testcases_batch", "testcases", "batch")


def _hosts() -> None:
    add_column("hosts", sa.Column("changed_at", MOMENT))
    add_column("hosts", sa.Column("lease_id", sa.Integer))
    add_column("hosts", sa.Column("bad_since", MOMENT))
    add_column("hosts", sa.Column("bad_reason", sa.String(255)))
    add_column("hosts", sa.Column("bad_by", sa.String(255)))
    add_index("ix_hosts_lease_id", "hosts", "lease_id")
    add_table(
        "host_faults",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("testcase", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_host_faults"),
    )
    add_index("ix_host_faults_host_at", "host_faults", "host", "at")


def _groups() -> None:
    add_table(
        "host_groups",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("meta", JSON_TEXT, nullable=False),
        sa.Column("health_case", JSON_TEXT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_host_groups"),
        sa.UniqueConstraint("uuid", name="uq_host_groups_uuid"),
        sa.UniqueConstraint("name", name="uq_host_groups_name"),
    )
    add_table(
        "host_group_hosts",
        sa.Column("group_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "host", name="pk_host_group_hosts"),
    )
    add_index("ix_host_group_hosts_host", "host_group_hosts", "host")
    add_table(
        "host_group_projects",
        sa.Column("group_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "project_id", name="pk_host_group_projects"),
    )
    add_index("ix_host_group_projects_project_id", "host_group_projects", "project_id")


def _leases() -> None:
    add_table(
        "leases",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("note", sa.String(255)),
        sa.Column("hosts", JSON_TEXT),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("placement", JSON_TEXT),
        sa.Column("keys", JSON_TEXT),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("starts_at", MOMENT),
        sa.Column("ends_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("ended_by", sa.String(255)),
        sa.Column("idempotency", sa.String(64)),
        sa.Column("body_digest", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
        sa.UniqueConstraint("uuid", name="uq_leases_uuid"),
        sa.UniqueConstraint("idempotency", name="uq_leases_idempotency"),
    )
    add_index("ix_leases_state_id", "leases", "state", "id")
    add_index("ix_leases_project_id_id", "leases", "project_id", "id")
