"""How the database finds what the statements on the way of every case ask for."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import Connection, Engine, event

from bench.report import table
from bench.stored import case_values
from labapi.case import State
from labapi.db import attempts, host_states, hosts, outputs, queue, testcases
from labapi.db.session import Database

Step = tuple[str, str, Any]  # what it is for, the statement, its parameters


FILTERS: tuple[dict[str, str], ...] = (
    {"project_id": "noauth"},
    {"host": "bench-7"},
    {"plugin": "linux_system"},
    {"method": "run_shell"},
    {"result": "FAIL"},
    {"state": "running"},
    {"state": "finished"},
    {"project_id": "noauth", "result": "FAIL"},
)


class Recorder:
    """Notes the statements that are sent while it is open."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.label = ""

    def __enter__(self) -> Recorder:
        """Begin to note."""
        event.listen(Engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Note no more."""
        event.remove(Engine, "before_cursor_execute", self._note)

    def _note(
        self,
        _connection: Any,
        _cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        many: bool,
    ) -> None:
        if statement.split(None, 1)[0] in ("SELECT", "UPDATE"):
            self.steps.append((self.label, statement, parameters[0] if many else parameters))


def shown(database: Database) -> str:
    """Return the plans as a table.

    :raises RuntimeError: a statement looks at a whole table
    """
    explain = _on_sqlite if database.url.get_backend_name() == "sqlite" else _on_mariadb
    with Recorder() as recorder, database.engine().connect() as connection:
        _go_the_way_of_a_case(connection, recorder)
        steps = list(recorder.steps)
        rows = [
            (label, *plan)
            for label, statement, parameters in steps
            for plan in explain(connection, statement, parameters)
        ]
        connection.rollback()
    database.close()
    whole = [row for row in rows if row[-1] == "WHOLE TABLE"]
    text = table((f"on {database.url.get_backend_name()}", "table", "rows", "index"), rows)
    if whole:
        raise RuntimeError(f"statements look at whole tables:\n{text}")
    return text


def _go_the_way_of_a_case(connection: Connection, recorder: Recorder) -> None:
    """Run what API and conductor run, in a transaction that nobody will see."""
    now = datetime.datetime.now(datetime.UTC)
    host = "bench-7"
    key = str(testcases.target(connection, host)[0].uuid)
    recorder.steps.clear()
    for label, step in (
        ("API: one host", lambda: hosts.get(connection, key)),
        ("API: a page of hosts", lambda: hosts.page(connection, after=5, limit=5, whole=True)),
        ("API: the host of a case", lambda: testcases.target(connection, host)),
        ("API: a repeated POST", lambda: testcases.with_key(connection, "0" * 64)),
    ):
        recorder.label = label
        step()
    values = case_values(host)
    testcases.create(connection, values)
    recorder.label = "conductor: what waits"
    found = queue.demand(connection, [host])
    recorder.label = "conductor: claim"
    (claimed,) = queue.waiting(connection, [host], 8)
    host_states.lock(connection, [row.host for row in found])
    queue.claim(connection, [claimed.id], {}, "plans-", now)
    recorder.label = "conductor: what waits for any host"
    queue.unplaced(connection, 0)
    recorder.label = "conductor: what the API gave"
    queue.given(connection, [claimed.uuid])
    recorder.label = "conductor: a report"
    locked = attempts.lock(connection, [claimed.uuid])[claimed.uuid]
    attempts.change(connection, {locked.id: {"state": State.RUNNING, "started_at": now}})
    for label, step in (
        ("conductor: sweep", lambda: queue.waiting_hosts(connection)),
        ("conductor: sweep", lambda: attempts.expired(connection, now)),
        ("conductor: sweep", lambda: attempts.active(connection, now)),
        ("conductor: an agent's return", lambda: queue.unbegun(connection, [host])),
        ("API: one case", lambda: testcases.get(connection, claimed.uuid)),
        ("API: its output", lambda: outputs.read(connection, locked.id, 0, 16)),
        ("API: newest cases", lambda: _page(connection, {})),
        ("API: since an hour ago", lambda: _page(connection, {}, now)),
    ):
        recorder.label = label
        step()
    for filters in FILTERS:
        recorder.label = f"API: newest of {', '.join(map('='.join, filters.items()))}"
        _page(connection, filters)


def _page(
    connection: Connection, filters: dict[str, str], now: datetime.datetime | None = None
) -> None:
    since = now and now - datetime.timedelta(hours=1)
    testcases.page(connection, filters, since=since, before=10**6, limit=100)


def _on_mariadb(connection: Connection, statement: str, parameters: Any) -> list[tuple[str, ...]]:
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings()
    return [
        (row["table"], f"{int(row['rows']):,}", row["key"] or "WHOLE TABLE")
        for row in rows
        if row["table"] is not None and row["rows"] is not None
    ]


def _on_sqlite(connection: Connection, statement: str, parameters: Any) -> list[tuple[str, ...]]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    found = []
    for row in rows:
        words = row.detail.split()
        if words[0] in ("SCAN", "SEARCH"):
            index = " ".join(words[words.index("USING") + 1 :]) if "USING" in words else ""
            found.append((words[1], "-", index or "WHOLE TABLE"))
    return found
