"""Test plans, their entries, and whom to tell of their end."""

import sqlalchemy as sa

from labapi.db.migrations.steps import (
    BIG_ID,
    JSON_TEXT,
    MOMENT,
    add_column,
    add_index,
    add_table,
)

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    add_column("testcases", sa.Column("plan", sa.String(36)))
    add_index("ix_testcases_plan", "testcases", "plan")
    _plans()
    _entries()
    _notices()


def _plans() -> None:
    add_table(
        "testplans",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("document", JSON_TEXT, nullable=False),
        sa.Column("outline", JSON_TEXT, nullable=False),
        sa.Column("stop_on_fail", sa.Boolean, nullable=False),
        sa.Column("notify", JSON_TEXT),
        sa.Column("rerun_of", sa.String(36)),
        sa.Column("idempotency", sa.String(64)),
        sa.Column("body_digest", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("result", sa.String(16)),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text),
        sa.Column("registered", JSON_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_testplans"),
        sa.UniqueConstraint("uuid", name="uq_testplans_uuid"),
        sa.UniqueConstraint("idempotency", name="uq_testplans_idempotency"),
    )
    add_index("ix_testplans_state_id", "testplans", "state", "id")
    add_index("ix_testplans_project_id_id", "testplans", "project_id", "id")


def _entries() -> None:
    add_table(
        "plan_entries",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("plan_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("test_case", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("always", sa.Boolean, nullable=False),
        sa.Column("columns", JSON_TEXT, nullable=False),
        sa.Column("rules", JSON_TEXT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("result", sa.String(16)),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text),
        sa.Column("case", sa.String(36)),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("started_at", MOMENT),
        sa.Column("finished_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_plan_entries"),
        sa.UniqueConstraint("plan_id", "number", name="uq_plan_entries_plan_id_number"),
    )
    columns = ("plan_id", "state", "turn", "number")
    add_index("ix_plan_entries_plan_id_state_turn", "plan_entries", *columns)


def _notices() -> None:
    add_table(
        "notices",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("plan_id", BIG_ID, nullable=False),
        sa.Column("target", JSON_TEXT, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", MOMENT),
        sa.Column("error", sa.Text),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("sent_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )
    add_index("ix_notices_next_at", "notices", "next_at")
    add_index("ix_notices_plan_id", "notices", "plan_id")
