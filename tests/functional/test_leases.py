"""What a lease of one project means for the others."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from labapi.db import groups, leases, services
from labapi.db.session import Record
from tests.hosts import make_lease
from tests.lab import HOST, ROOT, Gate, Lab, ask
from tests.processes import until

SECONDS = 600.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which everybody is a member of the project ``noauth``.

    Its host is heard of by its announcement, and not again: what a test says of it stays.
    """
    folder = tmp_path_factory.mktemp("lab")
    paste = folder / "api-paste.ini"
    text = (ROOT / "etc" / "api-paste.ini").read_text()
    paste.write_text(text.replace("#noauth\n", "#noauth\nroles = member\n"))
    lab = Lab(
        folder,
        api__paste_config=str(paste),
        scheduler__max_leased_hosts=1,
        agent__heartbeat_interval=600.0,
        conductor__service_down_time=3600.0,
    ).start()
    yield lab
    lab.stop()


def run(lab: Lab, script: str = "true") -> str:
    parameters = {"command": "sh", "args": ["-c", script]}
    case = {"plugin": "linux_system", "method": "run_shell", "host": HOST}
    made = ask(lab.app, "/testcases", {**case, "parameters": parameters})
    assert made.status_code == 202, made.text
    return str(made.json["id"])


def show(lab: Lab, case: str) -> Any:
    return ask(lab.app, f"/testcases/{case}").json


@pytest.fixture
def foreign(lab: Lab) -> Iterator[Record]:
    """A lease of another project."""
    found = lease(lab)
    yield found
    end(lab, found)


def lease(lab: Lab) -> Record:
    made = make_lease(lab.database, [HOST], project_id="other", seconds=SECONDS)
    found = lab.database.read(leases.get, made)
    assert found is not None
    return found


def end(lab: Lab, lease: Record) -> None:
    now = datetime.datetime.now(datetime.UTC)
    lab.database.write(leases.end, lease.id, now, "the test")


def test_the_cases_of_others_wait_until_it_ends(lab: Lab, foreign: Record) -> None:
    case = run(lab)
    for _ in range(2):
        lab.conductor._threads[0].sweep(datetime.datetime.now(datetime.UTC))  # type: ignore[union-attr]
        shown = show(lab, case)
        assert shown["state"] == "queued"
        until_when = f"{foreign.ends_at:%Y-%m-%dT%H:%M:%SZ}"
        assert shown["detail"] == f"the host is leased to another project until {until_when}"
    end(lab, foreign)
    until(lambda: show(lab, case)["result"] == "PASS")


def test_what_waits_for_a_host_that_is_for_others_by_now_says_so(lab: Lab) -> None:
    foreign = lease(lab)
    case = run(lab)
    values = {"name": "others", "meta": {}, "health_case": None}
    now = datetime.datetime.now(datetime.UTC)
    lab.database.write(groups.create, values, [HOST], ["other"], now)
    end(lab, foreign)
    lab.conductor._threads[0].sweep(datetime.datetime.now(datetime.UTC))  # type: ignore[union-attr]
    assert show(lab, case)["detail"] == "the host is in a group that your project may not use"
    group = lab.database.read(groups.get, "others")
    assert group is not None
    lab.database.write(groups.remove, group.row.id)
    until(lambda: show(lab, case)["state"] == "finished")


def test_they_learn_nothing_else_of_it(lab: Lab, foreign: Record) -> None:
    assert foreign.uuid not in ask(lab.app, "/leases").text
    for method, body in (("GET", None), ("PUT", {"seconds": 5}), ("DELETE", None)):
        answer = ask(lab.app, f"/leases/{foreign.uuid}", body, method=method)
        assert answer.status_code == 404
        message = f"there is no lease '{foreign.uuid}'; GET /v2.1/leases lists them"
        assert answer.json["itemNotFound"]["message"] == message
    assert ask(lab.app, f"/leases?marker={foreign.uuid}").status_code == 400
    taken = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 5})
    assert taken.status_code == 409
    assert foreign.uuid not in taken.text


def test_it_begins_when_the_cases_of_others_have_ended(lab: Lab) -> None:
    gate = Gate(lab.folder / "gate")
    case = run(lab, gate.wait)
    found = lease(lab)
    assert found.state == "waiting"
    waiting = run(lab)
    lab.conductor._threads[0].sweep(datetime.datetime.now(datetime.UTC))  # type: ignore[union-attr]
    assert show(lab, waiting)["detail"] == (
        "the host is about to be leased to another project, once what runs there has ended"
    )
    gate.open()
    until(lambda: show(lab, case)["state"] == "finished")
    until(lambda: lab.database.read(leases.get, found.uuid).state == "active")  # type: ignore[union-attr]
    assert show(lab, waiting)["state"] == "queued"
    end(lab, found)
    until(lambda: show(lab, waiting)["result"] == "PASS")


def test_one_that_waits_shows_its_place_and_what_it_waits_for(lab: Lab) -> None:
    gate = Gate(lab.folder / "gate2")
    case = run(lab, gate.wait)
    until(lambda: show(lab, case)["state"] == "running")
    lab.database.write(
        lambda c: c.exec_driver_sql("UPDATE testcases SET project_id='x' WHERE state='running'")
    )
    made = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": SECONDS}).json
    assert (made["state"], made["place"]) == ("waiting", 1)
    assert [one["host"] for one in made["waits_for"]] == [HOST]
    gate.open()
    until(lambda: ask(lab.app, f"/leases/{made['id']}").json["state"] == "active")
    assert "place" not in ask(lab.app, f"/leases/{made['id']}").json
    assert ask(lab.app, f"/leases/{made['id']}", method="DELETE").status_code == 204


def test_what_cannot_be_leased(lab: Lab) -> None:
    def refused(message: str) -> int:
        answer = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 5})
        ((_, fault),) = answer.json.items()
        assert message in fault["message"]
        return answer.status_code

    switch = {"binary": services.AGENT, "host": HOST}
    lab.database.write(services.switch, **switch, disabled=True, reason="loud")
    assert refused(f"hosts: '{HOST}' is disabled") == 409
    lab.database.write(services.switch, **switch, disabled=False, reason=None)
    lab.database.write(lambda c: c.exec_driver_sql("UPDATE services SET stopped=1"))
    assert refused(f"hosts: '{HOST}' is down") == 409
    lab.database.write(lambda c: c.exec_driver_sql("UPDATE services SET stopped=0"))
    values = {"name": "g", "meta": {}, "health_case": None}
    now = datetime.datetime.now(datetime.UTC)
    group = lab.database.write(groups.create, values, [HOST], ["other"], now)
    assert refused(f"hosts: '{HOST}' is in a group that your project may not use") == 403
    found = lab.database.read(groups.get, group)
    assert found is not None
    lab.database.write(groups.remove, found.row.id)


def test_a_project_has_no_more_than_it_may(lab: Lab) -> None:
    own = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 600}).json["id"]
    answer = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 5})
    assert answer.status_code == 403
    assert "may lease 1 hosts at the same time" in answer.json["forbidden"]["message"]
    assert ask(lab.app, f"/leases/{own}", method="DELETE").status_code == 204
