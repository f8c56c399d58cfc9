"""Cases that ask for any host that can: what becomes of them, and what is told to whom."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labapi.api import load
from labapi.case import State
from labapi.context import HOST_GUARD
from labapi.db import testcases
from labapi.rpc.messages import MethodDescription
from labapi.scheduler import spec
from tests.hosts import announce, beat
from tests.lab import HOST, Lab, ask
from tests.processes import until

METHODS = {"linux_system": {"run_shell": MethodDescription(description="d", schema=None)}}
CASE = {"plugin": "linux_system", "method": "run_shell", "parameters": {"command": "true"}}
# No host has it, so such a case waits as long as a test wants it to.
WAITS = {**CASE, "requires": ["wanted=yes"], "on_no_host": "wait"}
ELSEWHERE = "192.0.2.1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a lab with a host of its own and two that are there in name only."""
    lab = Lab(
        tmp_path_factory.mktemp("lab"),
        scheduler__refresh_interval=0.1,
        conductor__service_down_time=3600.0,  # those two are heard of once
    ).start()
    for name in ("first", "second"):
        beat(lab.database, announce(lab.database, name, plugins=METHODS))
    yield lab
    lab.stop()


@pytest.fixture(autouse=True)
def _no_cases(lab: Lab) -> Iterator[None]:
    yield
    lab.database.write(lambda connection: connection.exec_driver_sql("DELETE FROM testcases"))


def row(host: str | None, project: str = "noauth", **columns: Any) -> dict[str, Any]:
    """Return a case that is on a host, or that a test has put where no conductor would."""
    return {
        "uuid": str(uuid.uuid4()),
        "project_id": project,
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "run_shell",
        "host": host,
        "parameters": {},
        "timeout": 3600.0,
        "state": State.FINISHED if host is None else State.RUNNING,
        "created_at": datetime.datetime.now(datetime.UTC),
        "dispatched_at": datetime.datetime.now(datetime.UTC),
        "idempotency": None,
        **columns,
    }


def on(lab: Lab, host: str, project: str = "noauth") -> str:
    return str(lab.database.write(testcases.create, row(host, project)))


def post(lab: Lab, body: dict[str, Any], **headers: str) -> Any:
    answer = ask(lab.app, "/testcases", body, **headers)
    assert answer.status_int == 202, answer.text
    return answer.json


def refused(lab: Lab, **fields: Any) -> str:
    answer = ask(lab.app, "/testcases", {**CASE, "on_no_host": "wait", **fields})
    assert answer.status_int in (400, 404), answer.text
    (fault,) = answer.json.values()
    return str(fault["message"])


def test_a_batch_is_made_once(lab: Lab) -> None:
    first = post(lab, {**WAITS, "count": 3}, Idempotency_Key="three")["testcases"]
    again = post(lab, {**WAITS, "count": 3}, Idempotency_Key="three")["testcases"]
    assert [case["id"] for case in again] == [case["id"] for case in first]
    assert {case["batch"] for case in first} == {first[0]["id"]}
    assert {case["state"] for case in first} == {"queued"}
    listed = ask(lab.app, f"/testcases?batch={first[0]['batch']}").json["testcases"]
    assert [case["id"] for case in reversed(listed)] == [case["id"] for case in first]


def test_of_two_equal_batches_at_once_one_is_made(lab: Lab) -> None:
    def rows() -> list[dict[str, Any]]:
        return [row(None, idempotency="same" if number == 0 else None) for number in range(3)]

    first, second = rows(), rows()
    assert lab.database.write(testcases.create_all, first) == first[0]["uuid"]
    assert lab.database.write(testcases.create_all, second) == first[0]["uuid"]
    # Its commit was answered, and the answer was lost.
    assert lab.database.write(testcases.create_all, first) == first[0]["uuid"]
    assert len(ask(lab.app, "/testcases").json["testcases"]) == 3


def test_a_wait_for_several_ends_when_its_time_is_up(lab: Lab) -> None:
    body = {**CASE, "hosts": [HOST, "first"], "parameters": {"command": "echo", "args": "hello"}}
    for wait in (1, 20):  # a busy machine may need longer for the one that ends
        answer = ask(lab.app, f"/testcases?wait={wait}", body)
        assert answer.status_int == 202, answer.text
        shown = {case["host"]: case for case in answer.json["testcases"]}
        if shown[HOST]["result"] is not None:
            break
    assert (shown[HOST]["result"], shown[HOST]["output"]) == ("PASS", "hello\n")
    assert (shown["first"]["result"], shown["first"]["output"]) == (None, "")


def test_a_batch_shows_no_more_than_a_page_may_hold(lab: Lab) -> None:
    large = testcases.PAGE_BYTES // 4
    first = row(None, data=["x" * large], output_size=0)
    batch = first["batch"] = first["uuid"]
    cases = [first, *(row(None, data=["x"], batch=batch, output_size=0) for _ in range(7))]
    lab.database.write(testcases.create_all, cases)
    shown = lab.database.read(testcases.batch, batch, testcases.PAGE_BYTES // len(cases))
    assert [case.data for case in shown[1:]] == [["x"]] * 7
    assert "too large" in shown[0].data["cannot_be_shown"]


def test_the_place_follows_priority_and_age(lab: Lab) -> None:
    cases = [post(lab, {**WAITS, "priority": priority})["id"] for priority in (0, 5, 0)]
    places = [ask(lab.app, f"/testcases/{case}").json["waiting"]["place"] for case in cases]
    assert places == [2, 1, 3]


def test_a_case_that_waits_for_its_host_says_so_too(lab: Lab) -> None:
    for _ in range(16):
        on(lab, "first")
    ids = [post(lab, {**CASE, "host": "first"})["id"] for _ in range(2)]
    first, second = (f"/testcases/{case}" for case in ids)
    # What is known of hosts may be some milliseconds old.
    until(lambda: ask(lab.app, first).json["waiting"]["nearest"])
    waiting = ask(lab.app, first).json["waiting"]
    assert (waiting["place"], waiting["turned_away"]) == (1, {"free_slots": 1})
    assert waiting["nearest"]["host"] == "first"
    assert len(waiting["nearest"]["busy_with"]) == 16
    assert ask(lab.app, second).json["waiting"]["place"] == 2


def test_cases_of_others_are_counted_and_not_named(lab: Lab) -> None:
    started = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
    lab.database.write(testcases.create, row("first", "theirs", started_at=started))
    for _ in range(15):
        on(lab, "first", "mine")
    app = lab.app_of("mine")
    path = "/testcases/" + ask(app, "/testcases", {**CASE, "host": "first"}).json["id"]
    until(lambda: ask(app, path).json["waiting"]["nearest"])
    nearest = ask(app, path).json["waiting"]["nearest"]
    theirs = {"case": None, "project_id": None, "until": "2026-11-21T09:00:00Z"}
    assert nearest["busy_with"][0] == theirs
    assert {case["project_id"] for case in nearest["busy_with"][1:]} == {"mine"}
    assert nearest["until"] == "2026-11-21T09:00:00Z"
    assert ask(lab.app_of("theirs"), path).status_int == 404


@pytest.mark.parametrize("field", ["same_host_as", "different_host_from"])
def test_cases_of_other_projects_are_not_there(lab: Lab, field: str) -> None:
    theirs = on(lab, "first", "theirs")
    message = refused(lab, **{field: [theirs]})  # though this caller is an administrator
    assert message == f"{field}: there is no test case {theirs}"


def test_what_cannot_be_fulfilled_is_refused(lab: Lab) -> None:
    one, other, third = on(lab, "first"), on(lab, "second"), on(lab, "first")
    assert refused(lab, same_host_as=[one, other]).startswith("same_host_as:")
    assert refused(lab, same_host_as=[one], different_host_from=[one]) == (
        f"different_host_from: {one} is to be on the host of {one}, which same_host_as names"
    )
    assert third in refused(lab, same_host_as=[one], different_host_from=[third])


def test_so_is_what_cannot_be_fulfilled_later(lab: Lab) -> None:
    one = post(lab, WAITS)["id"]
    beside = post(lab, {**CASE, "same_host_as": [one]})["id"]
    further = post(lab, {**CASE, "same_host_as": [beside]})["id"]
    assert further in refused(lab, same_host_as=[one], different_host_from=[further])
    post(lab, {**CASE, "different_host_from": [further]})


def test_a_case_beside_others_says_what_it_waits_for(lab: Lab) -> None:
    one = post(lab, WAITS)["id"]
    beside = post(lab, {**CASE, "same_host_as": [one]})
    assert beside["placement"] == {"same_host_as": [one]}
    path = f"/testcases/{beside['id']}"
    until(lambda: ask(lab.app, path).json["waiting"]["turned_away"] == {"same_host": 3})


@pytest.fixture
def hidden(lab: Lab) -> Iterator[Any]:
    """Return the API for clients of whom one host, with metadata of its own, must not be known."""
    metadata = {"allow-dev": ELSEWHERE, "secret": "yes"}
    put = ask(lab.app, f"/slaves/{HOST}/metadata", {"metadata": metadata}, method="PUT")
    assert put.status_int == 200
    app = lab.app_of("noauth", "admin", allow_own_addresses="false")
    until(lambda: {host["host"] for host in dry(app)["hosts"]} == {"first", "second"})
    yield app
    ask(lab.app, f"/slaves/{HOST}/metadata", {"metadata": {}}, method="PUT")


def dry(app: Any, client: str = "127.0.0.1", **fields: Any) -> Any:
    answer = ask(app, "/testcases?dry_run=true", {**CASE, **fields}, client=client)
    assert answer.status_int == 200, answer.text
    return answer.json


def test_hidden_hosts_are_in_no_answer(lab: Lab, hidden: Any) -> None:
    found = dry(hidden)
    assert {host["host"] for host in found["hosts"]} == {"first", "second"}
    assert (found["count"], found["turned_away"]) == (2, {})
    none = dry(hidden, requires=["!secret", "wanted=yes"], on_no_host="wait")
    assert none["turned_away"] == {"requires wanted=yes": 2}
    assert none["nearest"]["host"] != HOST
    assert {host["host"] for host in dry(hidden, hosts="all")["hosts"]} == {"first", "second"}
    listed = ask(hidden, "/slaves?state=up").json.values()
    assert {host["host"] for host in listed} == {"first", "second"}
    assert ask(hidden, "/slaves?metadata=secret%3Dyes").json == {}
    answer = ask(hidden, "/testcases", {**CASE, "requires": ["secret=yes"]})
    assert "no host has ever had the key 'secret'" in answer.json["badRequest"]["message"]
    answer = ask(hidden, "/testcases", {**CASE, "requires": ["secre=yes"]})
    assert "secret" not in answer.json["badRequest"]["message"]
    case = ask(hidden, "/testcases", WAITS).json
    waiting = ask(hidden, f"/testcases/{case['id']}").json["waiting"]
    assert waiting["turned_away"] == {"requires wanted=yes": 2}
    assert waiting["nearest"]["host"] != HOST


def test_a_case_that_will_not_wait_does_not_count_hidden_hosts(lab: Lab, hidden: Any) -> None:
    ask(lab.app, "/slaves/first/metadata", {"metadata": {"n": "1"}}, method="PUT")
    until(lambda: dry(hidden, requires=["n = 1"], on_no_host="wait")["hosts"])
    asked = {**CASE, "requires": ["n > 1"], "on_no_host": "fail"}
    path = f"/testcases/{ask(hidden, '/testcases', asked).json['id']}"
    until(lambda: ask(hidden, path).json["state"] == "finished")
    told = ask(hidden, path).json["detail"]
    assert told == "there is no host for it now; turned away: requires n > 1 2"
    ask(lab.app, "/slaves/first/metadata", {"metadata": {}}, method="PUT")


def test_hidden_hosts_are_not_leased(lab: Lab, hidden: Any) -> None:
    never = ask(hidden, "/leases", {"count": 3, "seconds": 600})
    asked = {"count": 1, "requires": ["secret=yes"], "seconds": 600}
    lease = ask(hidden, "/leases", asked, client=ELSEWHERE)
    until(lambda: ask(hidden, f"/leases/{lease.json['id']}").json["hosts"] == [HOST])
    assert ask(hidden, f"/leases/{never.json['id']}").json["hosts"] == []
    for one in (never, lease):
        ask(hidden, f"/leases/{one.json['id']}", method="DELETE")


def test_others_may_see_them(hidden: Any) -> None:
    found = dry(hidden, client=ELSEWHERE, requires=["secret=yes"])
    assert [host["host"] for host in found["hosts"]] == [HOST]


def test_one_case_is_explained_to_each_client_by_the_hosts_it_may_see(hidden: Any) -> None:
    path = "/testcases/" + ask(hidden, "/testcases", WAITS).json["id"]
    for _ in range(2):
        for client, visible in (("127.0.0.1", 2), (ELSEWHERE, 3)):
            waiting = ask(hidden, path, client=client).json["waiting"]
            assert sum(waiting["turned_away"].values()) == visible


def test_a_case_takes_along_what_its_client_may_reach(lab: Lab, hidden: Any) -> None:
    case = ask(hidden, "/testcases", WAITS, client="::ffff:127.0.0.1").json
    assert case["placement"] == {"requires": ["wanted=yes"]}
    placement = spec.read(lab.database.read(testcases.get, case["id"]).placement)
    assert placement.client == "127.0.0.1"
    assert placement.access == spec.Access(prefix="allow")


def test_a_case_without_a_host_is_not_closed_by_default(lab: Lab) -> None:
    app = lab.app_of("noauth", "admin", allow_own_addresses="false", closed_by_default="true")
    case = ask(app, "/testcases", WAITS)
    # No host lets this client in, and none is named; its own case is there all the same.
    assert case.status_int == 202, case.text
    assert ask(app, f"/testcases/{case.json['id']}").json["waiting"]["nearest"] is None
    assert len(ask(app, "/testcases").json["testcases"]) == 1


def test_a_guard_that_tells_nothing_for_later_lets_cases_name_their_hosts_only(lab: Lab) -> None:
    paste = lab.folder / "unguarded.ini"
    shipped = Path(lab.conf.api.paste_config).read_text()
    paste.write_text(shipped.replace("source = application\n", ""))
    inner = load.load(lab.conf, lab.backend, paste)

    def app(environ: Any, start_response: Any) -> Any:
        environ[HOST_GUARD] = lambda meta: "No." if meta.get("allow") else None
        return inner(environ, start_response)

    answer = ask(app, "/testcases", WAITS)
    assert answer.status_int == 403
    assert answer.json["forbidden"]["message"].endswith("; name a host")
    assert ask(app, "/testcases", {**CASE, "host": "first"}).status_int == 202
    assert ask(app, "/testcases", {**CASE, "hosts": "all"}).status_int == 202
    until(lambda: dry(app, hosts="all")["count"] == 3)
