"""Indexes for the filters of the list of cases."""

from labapi.db.migrations.steps import add_index

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    add_index("ix_testcases_result_id", "testcases", "result", "id")
    add_index("ix_testcases_plugin_id", "testcases", "plugin", "id")
    add_index("ix_testcases_method_id", "testcases", "method", "id")
    add_index("ix_testcases_created_at", "testcases", "created_at")
