"""Many finished cases, as a lab that has been running for long has them."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import Connection, text

from labapi.case import State
from labapi.db.session import Database

BATCH = 10_000  # rows in one transaction

# The number makes the UUID, spread over the index as random ones are.
_MARIADB_UUID = (
    "INSERT(INSERT(INSERT(INSERT(MD5(n), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')"
)
_SQLITE_UUID = "printf('%08x-0000-4000-8000-%012x', (n * 2654435761) % 4294967296, n)"
_ADD = """
INSERT INTO testcases (
    uuid, project_id, user_id, request_id, plugin, method, host, parameters, timeout, queue_rank,
    rerun_on_loss, state, result, exit_code, attempt, attempts, created_at, dispatched_at,
    started_at, finished_at, output_size
)
WITH digits (d) AS (
    SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
), numbers (n) AS (
    SELECT :first + a.d + 10 * b.d + 100 * c.d + 1000 * e.d
    FROM digits AS a, digits AS b, digits AS c, digits AS e
)
SELECT
    {uuid}, {project}, 'somebody', 'req-5b9e675c-728d-4eb7-9b9f-cc76ebdd4381',
    'linux_system', 'run_shell', {host}, '{{"command":"true"}}', 600, 0,
    0, 'finished', 'PASS', 0, {uuid}, 1, :now, :now, :now, :now, 0
FROM numbers WHERE n <= :last
"""


def add_cases(database: Database, cases: int, hosts: int) -> None:
    """Add finished cases of a few projects, spread over the hosts ``bench-<number>``."""
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    sqlite = database.url.get_backend_name() == "sqlite"
    statement = text(
        _ADD.format(
            uuid=_SQLITE_UUID if sqlite else _MARIADB_UUID,
            project="'p' || (n % 5)" if sqlite else "IF(n % 5, CONCAT('p', n % 5), 'noauth')",
            host=f"'bench-' || (1 + n % {hosts})"
            if sqlite
            else f"CONCAT('bench-', 1 + n % {hosts})",
        )
    )

    def add(connection: Connection, first: int, last: int) -> None:
        connection.execute(statement, {"first": first, "last": last, "now": now})

    for first in range(1, cases + 1, BATCH):
        database.write(add, first, min(first + BATCH - 1, cases))


def case_values(host: str, **values: Any) -> dict[str, Any]:
    """Return what a waiting case of a host is made of."""
    return {
        "uuid": str(uuid.uuid4()),
        "project_id": "noauth",
        "user_id": "noauth",
        "request_id": f"req-{uuid.uuid4()}",
        "plugin": "linux_system",
        "method": "run_shell",
        "host": host,
        "parameters": {"command": "true"},
        "timeout": 600.0,
        "queue_rank": 0,
        "rerun_on_loss": False,
        "idempotency": None,
        "state": State.QUEUED,
        "created_at": datetime.datetime.now(datetime.UTC),
        "output_size": 0,
        **values,
    }
