"""Test plans from their POST to their end, in one process with everything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import HOST, Lab, ask
from tests.processes import until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # Nobody looks by itself: what moves plans on is what conductors are told.
    lab = Lab(tmp_path_factory.mktemp("lab"), conductor__plan_interval=600.0).start()
    yield lab
    lab.stop()


def shell(script: str, **more: Any) -> dict[str, Any]:
    """Return an entry that runs a script on the one host."""
    what = {"plugin": "linux_system", "host": HOST, "method": "run_shell"}
    return {**what, "parameters": {"command": "sh", "args": ["-c", script]}, **more}


def run(lab: Lab, testplan: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Run a plan; return its tree."""
    made = ask(lab.app, "/testplans", {"name": "a plan", "testplan": testplan, **more})
    assert made.status_int == 202, made.text
    path = f"/testplans/{made.json['id']}"
    until(lambda: ask(lab.app, path).json["state"] == "finished", 60)
    found: dict[str, Any] = ask(lab.app, path).json
    return found


def test_a_plan_with_all_kinds_of_entries(lab: Lab) -> None:
    once = lab.folder / "once"
    uses = {"command": "echo", "args": ["got", {"get_param": "WORD"}]}
    tree = run(
        lab,
        {
            "1": {
                "Serial-Step-1": {
                    "1": shell("echo hello; echo world", register="WORD"),
                    "2": {**shell(""), "parameters": uses},
                    "3": shell(
                        f"mkdir {once} && exit 1 || exit 0",
                        retry={"on": ["FAIL"], "attempts": 2},
                    ),
                },
                "Parallel-Step-1": {
                    "1": shell("exit 1", continue_on=["FAIL"]),
                    "2": shell("exit 1"),
                },
                "Serial-Step-2": {"1": shell("true"), "2": shell("true", always=True)},
            },
            "2": {"Serial-Step-1": {"1": shell("true")}},
        },
    )
    assert (tree["state"], tree["result"]) == ("finished", "FAIL")
    first = tree["testplan"]["1"]
    assert first["Serial-Step-1"]["2"]["output"]["log"] == "got hello\n"
    again = first["Serial-Step-1"]["3"]
    assert (again["output"]["result"], again["tries"], again["flaky"]) == ("PASS", 2, True)
    assert first["Parallel-Step-1"]["counts"]["FAIL"] == 2
    assert [first["Serial-Step-2"][n]["state"] for n in "12"] == ["skipped", "finished"]
    assert tree["testplan"]["2"]["result"] == "PASS"


def test_stop_on_fail(lab: Lab) -> None:
    step = {"Serial-Step-1": {"1": shell("exit 1")}}
    tree = run(lab, {"1": step, "2": step}, stop_on_fail=True)
    assert tree["testplan"]["2"]["Serial-Step-1"]["1"]["state"] == "skipped"


def test_a_plan_is_cancelled(lab: Lab) -> None:
    step = {"1": shell("sleep 60"), "2": shell("true"), "3": shell("true", always=True)}
    body = {"name": "long", "testplan": {"1": {"Serial-Step-1": step}}}
    path = f"/testplans/{ask(lab.app, '/testplans', body).json['id']}"
    until(lambda: ask(lab.app, path).json["state"] == "running")
    assert ask(lab.app, path, method="DELETE").status_int == 202
    until(lambda: ask(lab.app, path).json["state"] == "finished", 60)
    tree = ask(lab.app, path).json
    entries = tree["testplan"]["1"]["Serial-Step-1"]
    assert tree["result"] == "CANCELLED"
    assert [entries[n]["output"]["result"] for n in "123"] == ["CANCELLED", None, "PASS"]


def test_all_hosts_of_a_test_case_are_those_of_its_lease(lab: Lab) -> None:
    lease = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 60}).json["id"]
    everywhere = shell("true", hosts="all")
    del everywhere["host"]
    plan = {"1": {"lease": lease, "Serial-Step-1": {"1": everywhere}}}
    # What is known of hosts may be some milliseconds old.
    dry = {"name": "a plan", "testplan": plan}
    until(lambda: ask(lab.app, "/testplans?dry_run=true", dry).status_int == 200)
    tree = run(lab, plan)
    assert tree["testplan"]["1"]["Serial-Step-1"][f"1[{HOST}]"]["output"]["result"] == "PASS"
    ask(lab.app, f"/leases/{lease}", method="DELETE")
