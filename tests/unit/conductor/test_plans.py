"""How a conductor moves test plans on."""

from __future__ import annotations

import datetime
import time
from typing import Any

import msgspec
import pytest
from sqlalchemy import event

from labapi.case import State
from labapi.conductor import registered
from labapi.conductor.plans import PACE, Plans
from labapi.db import leases, notices
from labapi.db import plans as queries
from labapi.plans.entry import Retry, Rules
from labapi.rpc import messages
from labapi.rpc.messages import CaseChanged, CaseResult, RunCase, Wake
from tests import plans_to_run as rows
from tests.hosts import make_lease
from tests.plans_to_run import entry, parallel, serial
from tests.unit.conductor.conftest import Parts

GET_X = {"get_param": "X"}


class Mover:
    """A conductor's plans, moved on by the test."""

    def __init__(self, parts: Parts, **options: Any) -> None:
        self.parts = parts
        for name, value in options.items():
            parts.conf.set_override(name, value, group="conductor")
        self.plans = Plans(parts.conf, parts.database, parts.outbox, parts.dispatcher)
        self.uuid = ""

    def add(self, entries: list[dict[str, Any]], **values: Any) -> str:
        """Add a plan whose entries are on the one host unless they say otherwise; begin it."""
        for one in entries:
            one["columns"].setdefault("host", self.parts.host)
        self.uuid = rows.add(self.parts.database, entries, **values)
        self.advance()
        return self.uuid

    def advance(self) -> None:
        self.plans.advance(self.uuid)

    def commands(self) -> list[RunCase]:
        """Return what was sent to agents since the last time."""
        self.parts.outbox.take(CaseChanged)
        found: list[RunCase] = self.parts.outbox.take(RunCase)
        return found

    def report(self, command: RunCase, result: str = "PASS", **values: Any) -> None:
        """End a case as its agent does."""
        names = {"case": command.case, "attempt": command.attempt, "host": command.host}
        report = CaseResult(**{**names, "result": result, "ran": 0.0, **values})
        self.parts.reports.handle([report])

    def end(self, *results: str) -> None:
        """End the cases that were sent last, with these results in their order, and move on."""
        commands = self.commands()
        assert len(commands) == len(results)
        for command, result in zip(commands, results, strict=True):
            self.report(command, result)
        self.advance()

    def cancel(self) -> Any:
        now = datetime.datetime.now(datetime.UTC)
        return self.parts.database.write(queries.cancel, self.uuid, now)

    @property
    def row(self) -> Any:
        return rows.plan(self.parts.database, self.uuid)

    @property
    def entries(self) -> list[Any]:
        return rows.entries(self.parts.database, self.uuid)

    def told(self) -> str:
        """Return the results of the entries, or their states: ``PASS skipped running``."""
        return " ".join(row.result or row.state for row in self.entries)


@pytest.fixture
def mover(parts: Parts) -> Mover:
    return Mover(parts)


def test_a_serial_plan_from_rows_to_its_end(mover: Mover) -> None:
    mover.add(serial({}, {"parameters": {"command": "true"}}))
    assert (mover.row.state, mover.told()) == (State.RUNNING, "running queued")
    (first,) = mover.commands()
    case = mover.parts.get(first.case)
    assert (case.plan, case.project_id, case.request_id) == (mover.uuid, "lab", "req-plan")
    mover.report(first)
    mover.advance()
    assert mover.told() == "PASS running"
    (second,) = mover.commands()
    assert second.parameters == {"command": "true"}
    mover.report(second)
    mover.advance()
    assert (mover.row.state, mover.row.result, mover.told()) == (
        State.FINISHED,
        "PASS",
        "PASS PASS",
    )
    assert [row.case for row in mover.entries] == [first.case, second.case]


def test_a_parallel_turn_begins_at_once_and_ends_together(mover: Mover) -> None:
    mover.add([*parallel({}, {}, {}), entry(4, 1)])
    first, second, third = mover.commands()
    mover.report(second)
    mover.advance()
    assert mover.told() == "running PASS running queued"
    mover.report(first)
    mover.report(third)
    mover.advance()
    mover.end("PASS")
    assert mover.row.result == "PASS"


def test_what_has_no_room_waits_and_is_dispatched(mover: Mover) -> None:
    mover.add(parallel(*({} for _ in range(6))))
    commands = mover.commands()
    assert len(commands) == 4
    mover.report(commands[0])
    assert len(mover.commands()) == 1


def test_a_second_move_changes_nothing(mover: Mover) -> None:
    mover.add(parallel({}, {}))
    before = mover.entries
    mover.advance()
    assert mover.entries == before
    assert len(mover.commands()) == 2


@pytest.mark.parametrize("result", ["FAIL", "ERROR", "TIMEOUT", "CANCELLED"])
def test_what_does_not_pass_breaks_its_test_case(mover: Mover, result: str) -> None:
    mover.add(
        [
            *serial({}, {}, {"always": True}),
            entry(4, 3, step=1),
            entry(5, 4, test_case=1),
        ]
    )
    mover.end(result)
    assert mover.told() == f"{result} skipped running skipped queued"
    assert mover.entries[1].detail == f"1/Serial-Step-1/1 has ended as {result}"
    mover.end("PASS")
    mover.end("PASS")
    assert mover.told() == f"{result} skipped PASS skipped PASS"
    assert mover.row.result == result


def test_the_turn_goes_on_in_which_something_broke(mover: Mover) -> None:
    mover.add([*parallel({}, {}), entry(3, 1)])
    first, second = mover.commands()
    mover.report(first, "FAIL")
    mover.advance()
    assert mover.told() == "FAIL running skipped"
    mover.report(second)
    mover.advance()
    assert mover.row.result == "FAIL"


def test_stop_on_fail(mover: Mover) -> None:
    mover.add(
        [*serial({}), entry(2, 1, test_case=1), entry(3, 2, test_case=2, always=True)],
        stop_on_fail=True,
    )
    mover.end("ERROR")
    assert mover.told() == "ERROR skipped running"
    mover.end("PASS")
    assert mover.row.result == "ERROR"


def test_continue_on(mover: Mover) -> None:
    mover.add(serial({"rules": Rules(continue_on=("FAIL",))}, {}))
    mover.end("FAIL")
    mover.end("PASS")
    assert (mover.told(), mover.row.result) == ("FAIL PASS", "FAIL")


def test_an_entry_runs_again_as_often_as_it_says(mover: Mover) -> None:
    mover.add(serial({"rules": Rules(retry=Retry(on=("ERROR", "FAIL"), attempts=3))}, {}))
    (first,) = mover.commands()
    mover.report(first, "ERROR")
    mover.advance()
    assert (mover.told(), mover.entries[0].tries) == ("running queued", 2)
    (second,) = mover.commands()
    assert second.case != first.case
    mover.report(second, "PASS")
    mover.advance()
    assert (mover.told(), mover.entries[0].case) == ("PASS running", second.case)


def test_an_entry_does_not_run_again_for_ever(mover: Mover) -> None:
    mover.add(serial({"rules": Rules(retry=Retry(attempts=2))}, {}))
    mover.end("ERROR")
    mover.end("ERROR")
    assert (mover.told(), mover.row.result) == ("ERROR skipped", "ERROR")


def test_what_is_registered_is_put_in(mover: Mover) -> None:
    mover.add(
        serial(
            {"rules": Rules(register="DATA")},
            {"rules": Rules(register="LINE")},
            {
                "rules": Rules(uses=("DATA", "LINE")),
                "parameters": {"a": {"get_param": "DATA:x:1"}, "b": [{"get_param": "LINE"}]},
            },
        )
    )
    (first,) = mover.commands()
    mover.report(first, data={"x": [1, 2]}, output=b"no\n", output_size=3)
    mover.advance()
    (second,) = mover.commands()
    mover.report(second, output=b" hello \nworld\n", output_size=14)
    mover.advance()
    (third,) = mover.commands()
    assert third.parameters == {"a": 2, "b": ["hello"]}


def test_a_turn_is_begun_to_its_end_however_many_of_it_are_skipped(parts: Parts) -> None:
    mover = Mover(parts, plan_window=2)
    uses = {"rules": Rules(uses=("X",))}
    first = entry(1, 0, rules=Rules(register="X", continue_on=("FAIL",)))
    mover.add([first, *(entry(n, 1, **uses) for n in (2, 3, 4)), entry(5, 1), entry(6, 2)])
    mover.end("FAIL")
    assert mover.told() == "FAIL skipped skipped skipped running queued"


def test_a_plan_that_is_cancelled_before_it_begins_says_when_it_began(parts: Parts) -> None:
    mover = Mover(parts)
    mover.uuid = rows.add(
        parts.database, serial({"host": parts.host}, {"host": parts.host, "always": True})
    )
    mover.cancel()
    mover.advance()
    mover.end("PASS")
    row = mover.row
    assert (row.state, row.result, mover.told()) == (State.FINISHED, "CANCELLED", "skipped PASS")
    assert row.created_at <= row.started_at <= row.finished_at


def test_an_entry_whose_lease_has_ended_does_not_wait_for_it(mover: Mover) -> None:
    now = datetime.datetime.now(datetime.UTC)
    lease = make_lease(mover.parts.database, [mover.parts.host], now, project_id="lab")
    within = {"columns": {"host": None, "placement": {"lease": lease}}}
    mover.add(serial({}, within, {**within, "always": True}, {"always": True}))
    row = mover.parts.database.read(leases.get, lease)
    mover.parts.database.write(leases.end, row.id, now, "u")
    mover.end("PASS")
    assert mover.told() == "PASS ERROR ERROR running"
    assert mover.entries[1].detail == f"lease {lease} has ended"
    mover.end("PASS")
    assert mover.row.state == State.FINISHED


def test_what_is_registered_is_bounded(mover: Mover) -> None:
    count = registered.MAX_ALL // registered.MAX_SIZE + 1
    registers = [{"rules": Rules(register=f"N{number}")} for number in range(count)]
    uses = [
        {
            "rules": Rules(uses=(name,), continue_on=("ERROR",)),
            "parameters": {"a": times * [{"get_param": name}]},
        }
        for name, times in (("N0", 4), ("N0", 5), (f"N{count - 1}", 1))
    ]
    mover.add(serial(*registers, *uses))
    for _ in registers:
        (command,) = mover.commands()
        mover.report(command, data="x" * (registered.MAX_SIZE - 2))
        mover.advance()
    assert len(msgspec.json.encode(mover.row.registered)) <= registered.MAX_ALL + 1000
    (command,) = mover.commands()
    assert len(command.parameters["a"]) == 4
    mover.report(command)
    mover.advance()
    assert [(row.result, row.detail) for row in mover.entries[-2:]] == [
        ("ERROR", "get_param: more than 262144 bytes are put in"),
        ("ERROR", f"get_param: 'N{count - 1}': the plan has registered more than 1048576 bytes"),
    ]


def test_what_ends_together_is_registered_by_one_statement(mover: Mover) -> None:
    """All that is registered is one value: writing it for each entry takes seconds."""
    mover.add(parallel(*({"rules": Rules(register=f"N{number}")} for number in range(4))))
    for command in mover.commands():
        mover.report(command, data="x" * 60_000)
    written: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        written.append(statement)

    event.listen(mover.parts.database.engine(), "before_cursor_execute", note)
    try:
        mover.advance()
    finally:
        event.remove(mover.parts.database.engine(), "before_cursor_execute", note)
    assert sum("registered=" in statement.replace("`", "") for statement in written) == 1
    assert mover.row.registered == {f"N{number}": "x" * 60_000 for number in range(4)}


def test_entries_that_ask_for_much_begin_in_several_moves(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One move that writes down 120 MiB would keep other plans waiting for seconds."""
    monkeypatch.setattr(registered, "MAX_TOGETHER", 3 * 60_000)
    uses = {"rules": Rules(uses=("N",)), "parameters": {"a": {"get_param": "N"}}}
    many = [entry(number, 1, **uses) for number in range(2, 9)]
    mover.add([entry(1, 0, rules=Rules(register="N")), *many])
    (command,) = mover.commands()
    mover.report(command, data="x" * 60_000)
    mover.advance()
    assert mover.told() == "PASS running running running queued queued queued queued"
    mover.end("PASS", "PASS", "PASS")
    mover.end("PASS", "PASS", "PASS")
    assert mover.told() == f"PASS {' '.join(6 * ['PASS'])} running"
    mover.end("PASS")
    assert mover.row.result == "PASS"


def test_what_uses_what_was_not_registered_is_skipped(mover: Mover) -> None:
    mover.add(
        serial(
            {"rules": Rules(register="LINE", continue_on=("FAIL",))},
            *({"rules": Rules(uses=("LINE",)), "always": True} for _ in range(40)),
            {},
        )
    )
    mover.end("FAIL")
    assert mover.told() == f"FAIL{40 * ' skipped'} running"
    assert mover.entries[1].detail == "nothing has registered 'LINE'"


def test_a_path_that_leads_nowhere_is_an_error_of_the_entry(mover: Mover) -> None:
    uses = {"rules": Rules(uses=("X",)), "parameters": {"a": {"get_param": "X:y"}}}
    mover.add(serial({"rules": Rules(register="X")}, uses, {}))
    mover.end("PASS")
    assert mover.told() == "PASS ERROR skipped"
    assert (mover.entries[1].reason, mover.row.result) == ("bad_data", "ERROR")


def test_parameters_are_no_deeper_than_a_command_may_be(mover: Mover) -> None:
    """An agent that drops the command would keep the plan waiting."""
    uses = {"rules": Rules(uses=("X",), continue_on=("ERROR",))}
    deep = [{**uses, "parameters": {"a": value}} for value in ([{"get_param": "X"}], GET_X)]
    mover.add(serial({"rules": Rules(register="X")}, *deep))
    value: Any = 1
    for _ in range(199):
        value = [value]
    (command,) = mover.commands()
    mover.report(command, data=value)
    mover.advance()
    (command,) = mover.commands()
    assert messages.decode(messages.encode(command)) == command
    assert mover.told() == "PASS ERROR running"
    assert mover.entries[1].detail == "get_param: parameters are nested deeper than 200 levels"


def test_same_host_as(mover: Mover) -> None:
    placed = {"host": None, "columns": {"placement": {"group": "g"}}}
    mover.add([*parallel({}, {**placed, "rules": Rules(same_host_as=(1,))}), entry(3, 1, **placed)])
    first, second = mover.entries[:2]
    assert mover.parts.get(second.case).placement == {"group": "g", "same_host_as": [first.case]}


def test_same_host_as_what_was_skipped(mover: Mover) -> None:
    mover.add(
        [
            entry(1, 0),
            entry(2, 1, rules=Rules(same_host_as=(3,)), always=True),
            entry(3, 1, rules=Rules(same_host_as=(4,)), always=True),
            entry(4, 1, rules=Rules(uses=("X",)), always=True),
        ]
    )
    mover.end("PASS")
    assert mover.told() == "PASS skipped skipped skipped"
    assert mover.row.result == "PASS"


def test_the_window(parts: Parts) -> None:
    mover = Mover(parts, plan_window=2)
    mover.add([*parallel(*({} for _ in range(40))), entry(41, 1)])
    for _ in range(20):
        assert sum(row.state == State.RUNNING for row in mover.entries) == 2
        mover.end("PASS", "PASS")
    mover.end("PASS")
    assert mover.row.result == "PASS"


def test_plans_are_found_that_nobody_tells_of(mover: Mover) -> None:
    database = mover.parts.database
    uuid = rows.add(database, serial({"host": mover.parts.host}))
    assert uuid in database.read(queries.due)
    mover.uuid = uuid
    mover.advance()
    assert uuid not in database.read(queries.due)
    (command,) = mover.commands()
    mover.report(command)
    assert uuid in database.read(queries.due)
    mover.advance()
    assert uuid not in database.read(queries.due)


def test_notices_are_written_with_the_end(mover: Mover) -> None:
    mover.add(serial({}), notify=[{"mail": "a@example.org"}, {"webhook": "http://x/"}])
    mover.end("PASS")
    found = mover.parts.database.read(notices.list_of, mover.row.id)
    assert [notice.target for notice in found] == mover.row.notify


def test_a_plan_is_made_once(mover: Mover) -> None:
    uuid = mover.add(serial({}), idempotency="key")
    assert rows.add(mover.parts.database, serial({}), idempotency="key") == uuid
    assert len(mover.entries) == 1


def test_the_thread_moves_on_what_the_api_tells_of(mover: Mover) -> None:
    uuid = rows.add(mover.parts.database, serial({"host": mover.parts.host}))
    mover.plans.handle([Wake(plans=[uuid])])
    assert mover.plans._take() == uuid


def test_a_plan_that_is_cancelled(mover: Mover) -> None:
    mover.parts.announce(mover.parts.host, slots=1)
    mover.add([*parallel({}, {}), entry(3, 1), entry(4, 2, always=True), entry(5, 3, test_case=1)])
    first, second = mover.entries[:2]
    cancelled = mover.cancel()
    assert cancelled == queries.Cancelled(ended=[second.case], ending=[first.case])
    assert (mover.row.state, mover.told()) == (
        State.CANCELLING,
        "running running skipped queued skipped",
    )
    mover.end("CANCELLED")
    assert mover.told() == "CANCELLED CANCELLED skipped running skipped"
    assert mover.cancel() == queries.Cancelled([], []), "what always runs goes on"
    mover.end("PASS")
    assert (mover.row.state, mover.row.result) == (State.FINISHED, "CANCELLED")
    assert mover.cancel() is None


def test_what_is_cancelled_does_not_run_again(mover: Mover) -> None:
    again = Rules(retry=Retry(on=("CANCELLED", "ERROR")))
    mover.add(parallel({"rules": again}, {"rules": again, "always": True}))
    mover.cancel()
    mover.end("CANCELLED", "ERROR")
    assert mover.told() == "CANCELLED running"


def test_a_plan_that_is_cancelled_before_it_began(mover: Mover) -> None:
    database = mover.parts.database
    mover.uuid = rows.add(database, serial({"host": mover.parts.host}))
    mover.cancel()
    mover.advance()
    assert (mover.row.state, mover.row.result, mover.told()) == ("finished", "CANCELLED", "skipped")


@pytest.mark.parametrize(
    ("ends", "waits"), [((0,), True), ((0, 1), True), ((0, 1, 2), False), ((0, 0, -1), False)]
)
def test_what_ends_while_others_run_is_settled_together(
    mover: Mover, ends: tuple[int, ...], waits: bool
) -> None:
    mover.add(parallel({}, {}, {}))
    cases = [*(row.case for row in mover.entries), "of another conductor"]
    mover.plans._look_at = float("inf")
    before = time.monotonic()
    for end in ends:
        mover.plans.ended([(mover.uuid, cases[end])])
    (due,) = mover.plans._due.values()
    assert due >= before + PACE if waits else due <= time.monotonic()
    assert mover.plans._take() == mover.uuid


def test_a_report_says_that_a_plan_can_be_moved_on(mover: Mover) -> None:
    told: list[tuple[str, str]] = []
    mover.parts.reports._ended = told.extend
    mover.add(serial({}))
    (command,) = mover.commands()
    mover.report(command)
    assert told == [(mover.uuid, command.case)]
