"""The managers, against the real application."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest

from labapi_client import exceptions
from labapi_client.caching import Caching
from labapi_client.lab import Lab
from labapi_client.managers.groups import Group
from labapi_client.managers.leases import Lease
from labapi_client.managers.limits import Limit
from labapi_client.managers.services import Service
from labapi_client.managers.slaves import Slave
from labapi_client.managers.testcases import Case
from labapi_client.plan_tree import Entry, Node, Plan
from tests.lab import ADDRESS, HOST, Gate

SHELL = ("linux_system", "run_shell", HOST)


def script(text: str) -> dict[str, object]:
    return {"command": "sh", "args": ["-c", text]}


def test_hosts(lab: Lab) -> None:
    (slave,) = lab.slaves.list()
    assert (slave.host, slave.address, slave.state, slave.status) == (
        HOST,
        ADDRESS,
        "up",
        "enabled",
    )
    assert "run_shell" in slave.compute_node_method["linux_system"]
    assert slave.last_seen.tzinfo is not None
    (brief,) = lab.slaves.list(detail=False)
    assert (brief.uuid, brief.host, brief.state) == (slave.uuid, HOST, None)
    assert lab.slaves.get(slave.uuid).id == lab.slaves.get(slave.id).id == slave.id
    assert lab.slaves.get(HOST).uuid == slave.uuid


def test_what_a_host_can_run(lab: Lab) -> None:
    plugins = lab.slaves.plugins(lab.slaves.get(HOST).uuid)
    method = plugins["linux_system"]["run_shell"]
    assert "command" in method.schema["properties"]
    assert method.description.startswith("Run a program")


def test_a_host_that_is_up_is_not_removed(lab: Lab) -> None:
    with pytest.raises(exceptions.Conflict, match="is up"):
        lab.slaves.delete(HOST)


def test_a_host_is_benched(lab: Lab) -> None:
    benched = lab.slaves.set_health(HOST, "bad", reason="a broken fan")
    assert (benched.health, benched.bad_reason) == ("bad", "a broken fan")
    assert lab.slaves.get(HOST).bad_since == benched.bad_since
    assert lab.slaves.set_health(HOST, "good").bad_since is None


def test_metadata(lab: Lab) -> None:
    (slave,) = lab.slaves.list(detail=False)
    notes = {"rack": "r7", "a.b:c": "ö"}
    assert lab.slaves.set_metadata(slave.uuid, notes) == notes
    assert lab.slaves.metadata(slave.id) == notes
    lab.slaves.unset_metadata(slave.uuid, ["rack"])
    assert lab.slaves.replace_metadata(slave.uuid, {"x": "y"}) == {"x": "y"}
    lab.slaves.unset_metadata(slave.uuid, ["x"])
    with pytest.raises(exceptions.NotFound, match="no metadata 'x'"):
        lab.slaves.unset_metadata(slave.uuid, ["x"])


def test_a_case_from_its_post_to_its_end(lab: Lab) -> None:
    case = lab.testcases.create(*SHELL, script("echo out; exit 3"), timeout=60, priority=5)
    assert (case.host, case.timeout, case.priority) == (HOST, 60.0, 5)
    assert not case.finished
    case = lab.testcases.wait(case.id)
    assert (case.state, case.result, case.exit_code) == ("finished", "FAIL", 3)
    assert (case.output, case.output_size, case.output_truncated) == ("out\n", 4, False)
    assert lab.testcases.get(case.id, output=False).output is None
    assert b"".join(lab.testcases.output(case.id)) == b"out\n"
    assert b"".join(lab.testcases.output(case.id, offset=1)) == b"ut\n"
    with pytest.raises(exceptions.Conflict, match="finished already"):
        lab.testcases.cancel(case.id)


def test_output_as_it_comes(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    run = lab.testcases.run(*SHELL, script(f"echo 1; {gate.wait}; printf '2\\377\\n'"))
    pieces = iter(run)
    assert next(pieces) == b"1\n"
    assert run.refresh().state == "running"
    # Without following, what has come so far.
    assert b"".join(lab.testcases.output(run.case.id)) == b"1\n"
    gate.open()
    assert b"".join(pieces) == b"2\xff\n"
    assert run.case.result == "PASS"


def test_any_host_that_can(lab: Lab) -> None:
    lab.slaves.set_metadata(HOST, {"rack": "r7"})
    try:
        run = lab.testcases.run(
            *SHELL[:2], parameters=script("echo here"), requires=["rack=r7"], prefer=["load1 < 90"]
        )
        assert b"".join(run) == b"here\n"
        assert (run.case.host, run.case.placement["requires"]) == (HOST, ["rack=r7"])
        asked = {"parameters": script("true"), "requires": ["rack=r8"], "on_no_host": "wait"}
        where = lab.testcases.dry_run(*SHELL[:2], **asked)
        assert (where.hosts, where.nearest.host) == ([], HOST)
        waiting = lab.testcases.create(*SHELL[:2], **asked)
        assert lab.testcases.get(waiting.id).waiting.nearest.host == HOST
        assert lab.testcases.cancel(waiting.id).result == "CANCELLED"
        met = {"requires": ["rack=r7", "!broken"], "free": True, "metadata": ["rack=r7"]}
        assert [slave.host for slave in lab.slaves.list(**met, limit=1)] == [HOST]
        assert list(lab.slaves.list(requires=["rack=r8"])) == []
    finally:
        lab.slaves.unset_metadata(HOST, ["rack"])


def test_several_cases(lab: Lab) -> None:
    three = lab.testcases.create_several(*SHELL[:2], parameters=script("true"), count=3)
    assert len({case.id for case in three}) == 3
    assert {case.id for case in lab.testcases.list(batch=three[0].batch, limit=2)} == {
        case.id for case in three
    }
    (one,) = lab.testcases.create_several(*SHELL[:2], parameters=script("true"), hosts="all")
    assert one.host == HOST
    assert {lab.testcases.wait(case.id).result for case in [*three, one]} == {"PASS"}


def test_cancel(lab: Lab) -> None:
    run = lab.testcases.run(*SHELL, script("echo begun; sleep 61"))
    assert next(iter(run)) == b"begun\n"
    assert run.cancel().state in ("cancelling", "finished")
    assert run.wait().result == "CANCELLED"


def test_waiting_ends_in_time(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    run = lab.testcases.run(*SHELL, script(f"{gate.wait}; echo late"), wait_timeout=0.3)
    with pytest.raises(exceptions.TimedOut):
        run.wait(timeout=0.1)
    with pytest.raises(exceptions.TimedOut):
        list(run)
    gate.open()
    assert lab.testcases.wait(run.case.id, timeout=60).output == "late\n"


def test_lists_page_by_themselves_and_lazily(lab: Lab) -> None:
    ids = [lab.testcases.create(*SHELL, script("true")).id for _ in range(5)]
    listed = lab.testcases.list(limit=2, host=HOST)
    assert [next(listed).id for _ in range(5)] == ids[::-1]
    with pytest.raises(exceptions.BadRequest, match="state"):
        list(lab.testcases.list(state="no-such-state"))


def test_services_and_limits(lab: Lab) -> None:
    (agent,) = lab.services.list(host=HOST, binary="labapi-agent")
    disabled = lab.services.disable(agent.id, reason="a new disk")
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "a new disk")
    assert disabled.disabled_by == "noauth"
    assert lab.services.enable(agent.id).status == "enabled"
    assert all(limit.remaining < limit.limit for limit in lab.limits.list())


def test_groups(lab: Lab) -> None:
    group = lab.groups.create("kernel", projects=["alpha"], metadata={"a": "b"})
    assert (group.name, group.hosts, group.projects) == ("kernel", [], ["alpha"])
    lab.groups.add_host(group.id, HOST)
    changed = lab.groups.update("kernel", name="boards", projects=["noauth"])
    assert (changed.hosts, changed.projects, changed.metadata) == ([HOST], ["noauth"], {"a": "b"})
    assert lab.slaves.get(HOST).groups == ["boards"]
    lab.groups.remove_host("boards", HOST)
    assert [group.hosts for group in lab.groups.list(limit=1)] == [[]]
    with pytest.raises(exceptions.Conflict):
        lab.groups.create("boards")
    lab.groups.delete("boards")
    with pytest.raises(exceptions.NotFound):
        lab.groups.get(group.id)


def test_leases(lab: Lab) -> None:
    lease = lab.leases.create([HOST], seconds=600, note="a bisect")
    try:
        assert (lease.state, lease.hosts, lease.seconds, lease.note) == (
            *("active", [HOST], 600.0, "a bisect"),
        )
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
        assert lab.leases.renew(lease.id, until=later).ends_at == later
        assert lab.leases.renew(lease.id, seconds=60).ends_at < later
        assert lab.slaves.get(HOST).lease.id == lease.id
        with pytest.raises(exceptions.Conflict):
            lab.leases.create([HOST], seconds=1)
        assert [one.id for one in lab.leases.list(state="active", limit=1)] == [lease.id]
    finally:
        lab.leases.delete(lease.id)
    ended = lab.leases.get(lease.id)
    assert (ended.state, ended.ended_by) == ("ended", "noauth")


def plan(*scripts: str) -> dict[str, object]:
    """Return a plan whose entries run at the same time."""
    entry = {"plugin": SHELL[0], "method": SHELL[1], "host": {"get_param": "Data:STA1"}}
    entries = {str(n): entry | {"parameters": script(text)} for n, text in enumerate(scripts, 1)}
    return {
        "name": "of the SDK",
        "environment": {"Data": {"STA1": "nowhere"}},
        "testplan": {"1": {"Parallel-Step-1": {"DESCRIPTION": "together", **entries}}},
    }


HERE = {"Data:STA1": HOST}


def test_a_plan_from_its_post_to_its_end(lab: Lab) -> None:
    run = lab.plans.run(plan("echo out", "exit 3"), HERE)
    looks = list(run)
    assert looks[-1].plan == run.plan
    assert [entry.path for look in looks for entry in look.ended] == ["1/Parallel-Step-1/2"]
    assert (run.plan.state, run.plan.result) == ("finished", "FAIL")
    found = lab.plans.get(run.plan.id)
    passed, failed = found.entries()
    assert (passed.result, passed.output["log"], passed.input["host"]) == ("PASS", "out\n", HOST)
    assert (failed.result, failed.exit_code, failed.number) == ("FAIL", 3, 2)
    assert lab.testcases.get(failed.case).plan == found.id
    test_case, step = found.nodes()
    assert (test_case.path, step.path, step.result) == ("1", "1/Parallel-Step-1", "FAIL")
    assert (step.description, step.counts["PASS"], step.counts["FAIL"]) == ("together", 1, 1)
    with pytest.raises(exceptions.Conflict):
        lab.plans.cancel(found.id)


def test_entries_of_a_plan_page_by_themselves_and_lazily(lab: Lab) -> None:
    made = lab.plans.create(plan(*["true"] * 5), HERE)
    assert lab.plans.wait(made.id, timeout=60).result == "PASS"
    paths = [f"1/Parallel-Step-1/{n}" for n in range(1, 6)]
    assert [one.path for one in lab.plans.entries(made.id, limit=2, output=False)] == paths
    assert [one.path for one in lab.plans.get(made.id, limit=2).entries()] == paths
    assert list(lab.plans.entries(made.id, result="FAIL")) == []


def test_lists_of_plans(lab: Lab) -> None:
    ids = [lab.plans.create(plan("true"), HERE).id for _ in range(3)]
    for plan_id in ids:
        assert lab.plans.wait(plan_id).result == "PASS"
    listed = lab.plans.list(limit=2, name="of the SDK", result="PASS")
    assert [next(listed).id for _ in range(3)] == ids[::-1]


def test_a_plan_is_posted_once(lab: Lab) -> None:
    first, again = (lab.plans.create(plan("true"), HERE, "of-this-test") for _ in range(2))
    assert first.id == again.id
    assert lab.plans.wait(first.id).result == "PASS"
    with pytest.raises(exceptions.Conflict):
        lab.plans.create(plan("false"), HERE, "of-this-test")


def test_a_plan_is_cancelled_and_run_again(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    run = lab.plans.run(plan(gate.wait, "true"), HERE)
    next(look for look in run if look.plan.counts["PASS"])
    assert run.cancel().state in ("cancelling", "finished")
    assert run.wait(60).result == "CANCELLED"
    gate.open()
    again = lab.plans.rerun(run.plan.id, "failed")
    assert lab.plans.wait(again.id, timeout=60).result == "PASS"
    first, second = (list(lab.plans.entries(plan)) for plan in (run.plan.id, again.id))
    assert [a.case == b.case for a, b in zip(first, second, strict=True)] == [False, True]


def test_a_plan_is_checked(lab: Lab) -> None:
    (one,) = lab.plans.check(plan("true"), HERE).entries
    assert (one.path, one.count) == ("testplan/1/Parallel-Step-1/1", 1)
    assert [host.host for host in one.hosts] == [HOST]
    with pytest.raises(exceptions.BadRequest) as caught:
        lab.plans.check({**plan("true"), "testplam": {}})
    assert len(caught.value.errors) >= 1


def test_reports_of_a_plan(lab: Lab) -> None:
    made = lab.plans.create(plan("true"), HERE)
    lab.plans.wait(made.id)
    assert lab.plans.report(made.id, "xml").startswith(b"<?xml")
    assert b"of the SDK" in lab.plans.report(made.id)
    assert b"<html" in lab.plans.report(made.id, "html")


def test_no_field_of_a_plan_is_unknown(lab: Lab) -> None:
    made = lab.plans.create(plan("true"), HERE)
    lab.plans.wait(made.id)
    found = lab.request("GET", f"/testplans/{made.id}").json()
    assert set(found) <= set(Plan.__struct_fields__)
    step = found["testplan"]["1"]["Parallel-Step-1"]
    assert set(step) - {"1"} <= set(Node.__struct_encode_fields__)
    assert set(step["1"]) <= set(Entry.__struct_encode_fields__)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"/slaves/{HOST}", Slave),
        ("/testcases/{case}", Case),
        ("/groups/{group}", Group),
        ("/leases/{lease}", Lease),
        ("/services", Service),
        ("/limits", Limit),
    ],
)
def test_no_field_of_the_api_is_unknown(lab: Lab, path: str, kind: type[msgspec.Struct]) -> None:
    case = lab.testcases.create(*SHELL, script("true")).id
    group = lab.groups.create(kind.__name__).id
    lease = lab.leases.create([HOST], seconds=60).id
    found = lab.request("GET", path.format(case=case, group=group, lease=lease)).json()
    lab.leases.delete(lease)
    lab.groups.delete(group)
    if kind in (Service, Limit):
        (listed,) = found.values()
        found = (listed if kind is Service else listed["rate"])[0]
    assert set(found) <= set(kind.__struct_fields__)


def test_a_caching_manager_before_a_real_one(lab: Lab) -> None:
    hosts = Caching(lab.slaves)
    (slave,) = hosts.list(detail=False)
    assert hosts.get(slave.uuid) is hosts.get(slave.uuid)
    assert hosts.get(slave.uuid).host == HOST
