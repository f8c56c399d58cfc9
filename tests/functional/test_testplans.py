"""What clients see of test plans, whoever wrote their rows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event

from labapi.case import State
from labapi.db import notices, plan_reports, testplans
from labapi.db.session import Record
from labapi.exceptions import DatabaseUnavailable
from labapi.plans.entry import SKIPPED
from tests import plans
from tests.lab import Lab, ask
from tests.plans import NOW, after, entry, step, waiting

ZERO = {
    **dict.fromkeys(("PASS", "FAIL", "ERROR", "TIMEOUT", "CANCELLED"), 0),
    **dict.fromkeys(("skipped", "queued", "running", "flaky"), 0),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that leaves the rows of plans alone for the time of the tests."""
    folder = tmp_path_factory.mktemp("lab")
    lab = Lab(folder, conductor__sweep_interval=600.0).start(agent=False)
    yield lab
    lab.stop()


def two_stations(lab: Lab, **values: Any) -> Record:
    return plans.add(
        lab.database,
        {
            "1": [
                step(
                    "Parallel-Step-1",
                    entry("PASS", "64 bytes\n", description="STA1 reaches STA2"),
                    entry("FAIL", "no\n", host="lab-2", exit_code=1, detail="exit code 1"),
                    description="both stations are there",
                )
            ],
            "2": [
                step("Serial-Step-1", entry("PASS", tries=2), entry("ERROR", reason="agent_lost")),
                step("Serial-Step-2", entry(None, state=SKIPPED, tries=0, detail="1/… failed")),
            ],
        },
        **{"result": "FAIL", **values},
    )


def show(lab: Lab, plan: Record, query: str = "") -> Any:
    answer = ask(lab.app, f"/testplans/{plan.uuid}{query}")
    assert answer.status_code == 200, answer.text
    return answer.json


def numbers(tree: dict[str, Any]) -> list[int]:
    return [
        entry["number"]
        for case in tree["testplan"].values()
        for step in case.values()
        if isinstance(step, dict)
        for entry in step.values()
        if isinstance(entry, dict) and "number" in entry
    ]


def test_the_tree_has_the_shape_of_the_document(lab: Lab) -> None:
    plan = show(lab, two_stations(lab))
    assert (plan["name"], plan["state"], plan["result"]) == ("two stations", "finished", "FAIL")
    assert plan["counts"] == ZERO | {"PASS": 2, "FAIL": 1, "ERROR": 1, "skipped": 1, "flaky": 1}
    first = plan["testplan"]["1"]
    assert (first["state"], first["result"]) == ("finished", "FAIL")
    stations = first["Parallel-Step-1"]
    assert stations["DESCRIPTION"] == "both stations are there"
    assert stations["counts"] == ZERO | {"PASS": 1, "FAIL": 1}
    one = stations["1"]
    assert one["DESCRIPTION"] == "STA1 reaches STA2"
    assert one["output"] == {"log": "64 bytes\n", "truncated": False, "result": "PASS"}
    assert one["input"] == {
        "plugin": "linux_system",
        "host": "lab-1",
        "method": "run_shell",
        "parameters": {"command": "true"},
        "timeout": 600.0,
        "priority": 0,
        "rerun_on_loss": False,
    }
    assert stations["2"]["input"]["host"] == "lab-2"
    assert (stations["2"]["exit_code"], stations["2"]["detail"]) == (1, "exit code 1")


def test_results_go_up_the_tree_and_what_was_skipped_counts_for_nothing(lab: Lab) -> None:
    second = show(lab, two_stations(lab))["testplan"]["2"]
    assert second["result"] == "ERROR"
    assert second["Serial-Step-1"]["3"]["flaky"]
    assert not second["Serial-Step-1"]["4"]["flaky"]
    nothing = second["Serial-Step-2"]
    assert (nothing["state"], nothing["result"]) == ("finished", None)
    skipped = nothing["5"]
    assert (skipped["state"], skipped["output"]["result"], skipped["case"]) == (SKIPPED, None, None)
    assert skipped["detail"] == "1/… failed"


def test_parameters_are_those_that_it_ran_with(lab: Lab) -> None:
    given = {"command": {"get_param": "NAME"}}
    ran = entry(parameters=given, ran={"command": "date"}, host=None, placement={"client": "::1"})
    queued = waiting(parameters=given)
    plan = plans.add(
        lab.database, {"1": [step("Serial-Step-1", ran, queued)]}, state="running", result=None
    )
    shown = show(lab, plan)["testplan"]["1"]["Serial-Step-1"]
    assert shown["1"]["input"]["parameters"] == {"command": "date"}
    assert shown["1"]["input"]["placement"] == {}
    assert shown["2"]["input"]["parameters"] == given
    assert (shown["state"], shown["result"]) == ("running", None)


def test_pages_of_entries(lab: Lab) -> None:
    plan = two_stations(lab)
    path, seen = f"/testplans/{plan.uuid}?limit=2", []
    while path:
        answer = ask(lab.app, path)
        seen.append(numbers(answer.json))
        assert answer.json["counts"]["PASS"] == 2
        assert answer.json["testplan"]["2"]["counts"]["ERROR"] == 1
        link = answer.headers.get("Link", "")
        path = link.partition("/v2.1")[2].partition(">")[0]
    assert seen == [[1, 2], [3, 4], [5]]


def test_a_page_is_bounded_in_bytes(lab: Lab) -> None:
    large = [entry(parameters={"command": "x" * 400_000}) for _ in range(3)]
    plan = plans.add(lab.database, {"1": [step("Serial-Step-1", *large)]})
    answer = ask(lab.app, f"/testplans/{plan.uuid}")
    assert numbers(answer.json) == [1]
    assert 'marker=1>; rel="next"' in answer.headers["Link"]


def test_logs_share_what_a_page_may_hold(lab: Lab) -> None:
    many = [entry(output="x" * 60_000) for _ in range(50)]
    plan = plans.add(lab.database, {"1": [step("Serial-Step-1", *many)]})
    entries = show(lab, plan)["testplan"]["1"]["Serial-Step-1"]
    logs = [entries[str(number)]["output"] for number in range(1, 51)]
    assert all(log["truncated"] for log in logs)
    assert 900_000 < sum(len(log["log"]) for log in logs) <= 1024 * 1024
    short = show(lab, plan, "?limit=1")["testplan"]["1"]["Serial-Step-1"]["1"]["output"]
    assert (len(short["log"]), short["truncated"]) == (60_000, False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?state=skipped", [5]),
        ("?result=PASS", [1, 3]),
        ("?state=finished&result=FAIL", [2]),
        ("?result=PASS&marker=1", [3]),
        ("?state=running", []),
    ],
)
def test_filters_of_entries(lab: Lab, query: str, expected: list[int]) -> None:
    assert numbers(show(lab, two_stations(lab), query)) == expected


def test_without_output_there_are_no_logs(lab: Lab) -> None:
    plan = show(lab, two_stations(lab), "?output=false")
    first = plan["testplan"]["1"]["Parallel-Step-1"]["1"]["output"]
    assert first == {"log": None, "truncated": True, "result": "PASS"}


@pytest.mark.parametrize(
    "query",
    ["?state=done", "?result=OK", "?marker=x", "?limit=0", "?output=1", "?nothing=1"],
)
def test_a_bad_query_is_named(lab: Lab, query: str) -> None:
    answer = ask(lab.app, f"/testplans/{two_stations(lab).uuid}{query}")
    assert answer.status_code == 400
    assert query[1:].partition("=")[0] in answer.json["badRequest"]["message"]


@pytest.mark.parametrize("name", ["1", "nobody", "00000000-0000-0000-0000-000000000000"])
def test_a_plan_that_is_not_there(lab: Lab, name: str) -> None:
    answer = ask(lab.app, f"/testplans/{name}")
    assert answer.status_code == 404
    assert "GET /v2.1/testplans lists them" in answer.json["itemNotFound"]["message"]


def test_the_list_is_paged_and_filtered(lab: Lab) -> None:
    first, second, third = (
        two_stations(lab, name="nightly", created_at=after(86400 * day)) for day in range(3)
    )
    path = "/testplans?name=nightly&limit=2"
    answer = ask(lab.app, path)
    assert [plan["id"] for plan in answer.json["testplans"]] == [third.uuid, second.uuid]
    assert "document" not in answer.json["testplans"][0]
    link = answer.headers["Link"].partition("/v2.1")[2].partition(">")[0]
    assert [plan["id"] for plan in ask(lab.app, link).json["testplans"]] == [first.uuid]
    since = ask(lab.app, "/testplans?name=nightly&since=2026-11-23T00:00:00Z")
    assert [plan["id"] for plan in since.json["testplans"]] == [third.uuid]
    none = ask(lab.app, "/testplans?name=nightly&result=PASS")
    assert none.json == {"testplans": []}
    assert "marker" in ask(lab.app, "/testplans?marker=x").json["badRequest"]["message"]


def test_plans_of_other_projects_are_not_there(lab: Lab) -> None:
    mine, other = two_stations(lab, name="theirs"), lab.app_of("q")
    assert ask(other, f"/testplans/{mine.uuid}").status_code == 404
    assert ask(other, "/testplans?name=theirs").json == {"testplans": []}
    assert ask(other, f"/testplans?marker={mine.uuid}").status_code == 400
    own = lab.app_of("p", "reader")
    assert len(ask(own, "/testplans?name=theirs").json["testplans"]) == 1
    assert ask(own, f"/testplans/{mine.uuid}").status_code == 200


def test_what_passed_is_not_taken_over_into_another_project(lab: Lab) -> None:
    plan, admin = two_stations(lab), lab.app_of("q", "admin")
    answer = ask(admin, f"/testplans/{plan.uuid}/rerun", {"only": "failed"})
    assert answer.status_code == 403
    assert "is another project's to see; run all" in answer.text


def test_entries_on_hidden_hosts_are_left_out(lab: Lab) -> None:
    plans.host(lab.database, "closed", **{"allow-dev": "192.0.2.1"})
    plan = plans.add(
        lab.database,
        {
            "1": [
                step(
                    "Parallel-Step-1",
                    entry(output="secret", host="closed"),
                    entry(host="open"),
                    waiting(host="closed"),
                    waiting(host=None),
                )
            ]
        },
        state="running",
    )
    app = lab.app_of("p", allow_own_addresses="false")
    path = f"/testplans/{plan.uuid}"
    answer = ask(app, path)
    assert numbers(answer.json) == [2, 4]
    assert "secret" not in answer.text
    assert numbers(ask(app, path, client="192.0.2.1").json) == [1, 2, 3, 4]
    # A page that shows nothing still leads to the next one.
    assert 'marker=1>; rel="next"' in ask(app, f"{path}?limit=1").headers["Link"]


def test_whom_it_tells_without_their_secrets(lab: Lab) -> None:
    hook = {"webhook": "https://ci.example.org/hook?token=t0ken", "secret": "s3cret"}
    plan = two_stations(lab, notify=[{"mail": "lab@example.org"}, hook])
    shown = ask(lab.app, f"/testplans/{plan.uuid}")
    waits = {"state": "waiting", "tries": 0, "error": None, "sent_at": None}
    url = "https://ci.example.org/hook?***"
    told = [{"mail": "lab@example.org", **waits}, {"webhook": url, **waits}]
    assert shown.json["notices"] == told
    assert "s3cret" not in shown.text
    assert "t0ken" not in shown.text
    lab.database.write(notices.add, notices.of_plan(plan.id, plan.notify, after(60)))
    assert show(lab, plan)["notices"] == told
    first, second = lab.database.read(notices.list_of, plan.id)
    for row in (first, second):
        lab.database.write(notices.claim, row, after(90))
    lab.database.write(notices.sent, first.id, after(90), after(61))
    lab.database.write(notices.failed, second.id, after(90), "it answered 410", None)
    mail, webhook = show(lab, plan)["notices"]
    assert (mail["state"], mail["sent_at"]) == ("sent", "2026-11-21T08:01:01Z")
    assert (webhook["state"], webhook["error"], webhook["tries"]) == (
        "given_up",
        "it answered 410",
        1,
    )


def test_what_it_costs_does_not_grow_with_the_plan(lab: Lab) -> None:
    hook = [{"webhook": "https://ci.example.org/"}]
    small = two_stations(lab, notify=hook)
    many = [entry(output="x", host=f"lab-{number}") for number in range(100)]
    large = plans.add(lab.database, {"1": [step("Parallel-Step-1", *many)]}, notify=hook)
    counted: Counter[str] = Counter()
    mine = threading.get_ident()

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        if threading.get_ident() == mine:  # the lab has threads that beat now and then
            counted[statement.split()[0]] += 1

    event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
    try:
        show(lab, small)
        first = counted.copy()
        show(lab, large)
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
    # The plan, sizes, entries, metadata of hosts, outputs, notices, counts.
    assert first == {"SELECT": 7}
    assert counted - first == {"SELECT": 7}


def test_times(lab: Lab) -> None:
    plan = show(lab, two_stations(lab))
    assert plan["created_at"] == NOW.isoformat().replace("+00:00", "Z")
    assert plan["finished_at"] == "2026-11-21T08:01:00Z"


def test_the_beginning_of_an_entry_that_runs(lab: Lab) -> None:
    """It is its case's: the entry itself is written when it ends."""
    running = entry(None, state=State.RUNNING)
    steps = [step("Parallel-Step-1", running, waiting())]
    plan = show(lab, plans.add(lab.database, {"1": steps}, state=State.RUNNING, result=None))
    begun, queued = (plan["testplan"]["1"]["Parallel-Step-1"][name] for name in ("1", "2"))
    assert begun["started_at"] == after(1).isoformat().replace("+00:00", "Z")
    assert queued["started_at"] is None


@pytest.mark.parametrize(
    ("name", "content_type", "says"),
    [
        ("report.xml", "application/xml", '<testsuite name="1/Parallel-Step-1"'),
        ("report.html", "text/html", "STA1 reaches STA2</td>"),
        ("report.txt", "text/plain", "1/Parallel-Step-1: both stations are there"),
    ],
)
def test_reports(lab: Lab, name: str, content_type: str, says: str) -> None:
    plan = two_stations(lab)
    path = f"/testplans/{plan.uuid}/{name}"
    answer = ask(lab.app, path)
    assert (answer.status_code, answer.content_type, answer.charset) == (200, content_type, "utf-8")
    assert says in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert ask(lab.app_of("q"), path).status_code == 404
    assert ask(lab.app, f"{path}?x=1").status_code == 400
    assert ask(lab.app, path, method="HEAD").status_code == 200


def test_reports_leave_out_what_ran_on_hidden_hosts(lab: Lab) -> None:
    plans.host(lab.database, "closed-2", **{"allow-dev": "192.0.2.1"})
    hidden = entry("FAIL", output="secret", host="closed-2", description="hidden")
    seen = entry(host="open", description="open to all")
    plan = plans.add(lab.database, {"1": [step("Serial-Step-1", hidden, seen)]})
    app = lab.app_of("p", allow_own_addresses="false")
    for name in ("report.xml", "report.html", "report.txt"):
        path = f"/testplans/{plan.uuid}/{name}"
        shown = ask(app, path).text
        assert "open" in shown
        assert not any(word in shown for word in ("secret", "hidden", "closed-2"))
        assert "secret" in ask(app, path, client="192.0.2.1").text


def test_an_outage_in_the_middle_leaves_no_whole_report(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [entry("FAIL", "x" * 4000) for _ in range(20)]
    plan = plans.add(lab.database, {"1": [step("Serial-Step-1", *many)]})
    monkeypatch.setattr(plan_reports, "BATCH", 10)
    read = testplans.entries

    def entries(*args: Any, after: int, **kwargs: Any) -> Any:
        if after:
            raise DatabaseUnavailable("the database is away")
        return read(*args, after=after, **kwargs)

    monkeypatch.setattr(testplans, "entries", entries)
    answer = ask(lab.app, f"/testplans/{plan.uuid}/report.xml")
    with pytest.raises(DatabaseUnavailable):
        assert not answer.body
