"""How test plans look from outside: a summary, and a tree in the shape of the document."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from labapi.api.views import testcases
from labapi.case import Result, State
from labapi.db.session import Record
from labapi.plans.summary import Summary
from labapi.plans.tally import Tally


class Log(msgspec.Struct, kw_only=True):
    """What an entry came to.

    :ivar log: the beginning of the output; what is not UTF-8 in it shows as the replacement
        character; None where it is left out
    :ivar truncated: there is more output than this
    """

    log: str | None
    truncated: bool
    result: str | None


class Entry(msgspec.Struct, kw_only=True):
    """An entry of a step. Each field but three is the column of its name.

    :ivar description: the column ``description``
    :ivar input: what its case runs, as the body of a POST has it, and where it runs
    :ivar flaky: it passed, and not at the first try
    """

    description: str | None = msgspec.field(name="DESCRIPTION")
    number: int
    input: dict[str, Any]
    output: Log
    state: str
    case: str | None
    reason: str | None
    detail: str | None
    exit_code: int | None
    tries: int
    flaky: bool
    always: bool
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None


class Notice(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Somebody who is told of the end.

    :ivar state: ``waiting``, ``sent`` or ``given_up``
    :ivar error: why it was not sent at the last try
    """

    mail: str | None = None
    webhook: str | None = None
    state: str
    tries: int
    error: str | None
    sent_at: datetime.datetime | None


class Plan(Summary, kw_only=True):
    """A plan with entries.

    :ivar counts: of the whole plan
    :ivar testplan: test cases, in these steps, in these :class:`Entry`, by their names
    """

    counts: Mapping[str, int]
    notices: list[Notice]
    testplan: dict[str, dict[str, Any]]


_AS_THEY_ARE = (
    *("number", "description", "state", "case", "reason", "detail", "exit_code", "tries"),
    *("always", "started_at", "finished_at"),
)


def summary(plan: Record) -> Summary:
    """Return a plan without its entries."""
    return Summary.of(plan)


def entry(row: Record, output: bytes | None) -> Entry:
    """Return an entry.

    :param row: of :func:`labapi.db.testplans.entries`
    :param output: bytes of its beginning, None if it is to be left out
    """
    shown = Log(
        log=None if output is None else output.decode("utf-8", errors="replace"),
        truncated=len(output or b"") < (row.case_output_size or 0),
        result=row.result,
    )
    fields = {name: getattr(row, name) for name in _AS_THEY_ARE}
    if row.state == State.RUNNING:  # its own columns are written when it ends
        fields["started_at"] = row.case_started_at
    flaky = row.result == Result.PASS and row.tries > 1
    return Entry(**fields, input=_input(row), output=shown, flaky=flaky)


def whole(
    plan: Record,
    tallies: Sequence[Record],
    notices: Iterable[Record],
    entries: Iterable[tuple[Record, Entry]],
) -> Plan:
    """Return a plan with entries.

    :param tallies: of :func:`labapi.db.testplans.tallies`
    :param entries: those of this page
    """
    cases, steps = defaultdict(list), defaultdict(list)
    for row in tallies:
        cases[row.test_case].append(row)
        steps[row.test_case, row.step].append(row)
    tree = {}
    for i, case in enumerate(plan.outline):
        node = tree[case["name"]] = _node(case, cases[i])
        for j, step in enumerate(case["steps"]):
            node[step["name"]] = _node(step, steps[i, j])
    for row, shown in entries:
        case = plan.outline[row.test_case]
        tree[case["name"]][case["steps"][row.step]["name"]][row.name] = shown
    return Plan.of(
        plan,
        counts=Tally.of(tallies).counts,
        notices=_notices(plan, list(notices)),
        testplan=tree,
    )


def _node(what: Mapping[str, Any], rows: Iterable[Record]) -> dict[str, Any]:
    tally = Tally.of(rows)
    return {
        "DESCRIPTION": what["description"],
        "state": tally.state,
        "result": tally.result,
        "counts": tally.counts,
    }


def _input(row: Record) -> dict[str, Any]:
    """Return what its case ran with, or would if it had one."""
    columns = row.columns
    ran = row.case_parameters is not None
    placement = row.case_placement if ran else columns.get("placement")
    shown = {
        "plugin": columns["plugin"],
        "host": row.case_host if ran else columns.get("host"),
        "method": columns["method"],
        "parameters": row.case_parameters if ran else columns["parameters"],
        "timeout": columns["timeout"],
        "priority": -columns["queue_rank"],
        "rerun_on_loss": columns["rerun_on_loss"],
    }
    return shown if placement is None else shown | {"placement": testcases.asked(placement)}


def _notices(plan: Record, rows: Sequence[Record]) -> list[Notice]:
    if not rows:  # they are written when it ends
        return [
            Notice(**_target(target), state="waiting", tries=0, error=None, sent_at=None)
            for target in plan.notify or ()
        ]
    return [
        Notice(
            **_target(row.target),
            state="waiting" if row.next_at else "sent" if row.sent_at else "given_up",
            tries=row.tries,
            error=row.error,
            sent_at=row.sent_at,
        )
        for row in rows
    ]


def _target(target: Mapping[str, str]) -> dict[str, str]:
    """Return who is told; a webhook's secret may also stand in the query of its URL."""
    if "mail" in target:
        return {"mail": target["mail"]}
    url = urlsplit(target["webhook"])
    return {"webhook": url._replace(query="***" if url.query else "", fragment="").geturl()}
