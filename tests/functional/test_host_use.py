"""Who uses a host, and what of it another project sees."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, update

from labapi.case import State
from labapi.db import testcases
from labapi.db.models import Host, HostGroup, HostGroupHost, HostGroupProject, Lease
from tests.lab import HOST, Lab, ask
from tests.processes import until

NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
LATER = "2026-11-21T09:00:00Z"
LEASE = "5b9e675c-728d-4eb7-9b9f-cc76ebdd4381"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a lab whose host is in two groups, leased, and runs cases of two projects."""
    lab = Lab(tmp_path_factory.mktemp("used"), conductor__sweep_interval=600.0).start()
    lab.database.write(_use)
    for project in ("mine", "theirs"):
        lab.database.write(testcases.create, _case(project, NOW))
    lab.database.write(testcases.create, _case("mine", None))
    yield lab
    lab.stop()


def _use(connection: Any) -> None:
    for number, project in enumerate(("mine", "theirs"), start=1):
        connection.execute(
            insert(HostGroup).values(
                id=number, uuid=str(uuid.uuid4()), name=f"of-{project}", created_at=NOW
            )
        )
        connection.execute(insert(HostGroupHost).values(group_id=number, host=HOST))
        connection.execute(insert(HostGroupProject).values(group_id=number, project_id=project))
    connection.execute(
        insert(Lease).values(
            id=1,
            uuid=LEASE,
            project_id="theirs",
            request_id="req-1",
            count=1,
            state="active",
            created_at=NOW,
            ends_at=NOW + datetime.timedelta(hours=1),
        )
    )
    connection.execute(
        update(Host).values(
            lease_id=1, bad_since=NOW, bad_reason="three cases ended as agent_lost", bad_by="x"
        )
    )


def _case(project: str, started: datetime.datetime | None) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid4()),
        "project_id": project,
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "ping",
        "host": HOST,
        "parameters": {},
        "timeout": 3600.0,
        "state": State.RUNNING,
        "attempt": uuid.uuid4().hex,
        "created_at": NOW,
        "dispatched_at": datetime.datetime.now(datetime.UTC),
        "started_at": started,
        "idempotency": None,
    }


def _shown(lab: Lab, project: str, roles: str) -> list[dict[str, Any]]:
    """Return the host as it is shown alone, and in the list."""
    app = lab.app_of(project, roles)

    def both() -> Any:
        alone = ask(app, f"/slaves/{HOST}").json
        (listed,) = ask(app, "/slaves/detail").json.values()
        # It may be heard of between the two.
        return (alone, listed) if alone["last_seen"] == listed["last_seen"] else None

    alone, listed = until(both)
    assert {**listed, "uuid": alone["uuid"], "facts": alone["facts"]} == alone
    return [alone, listed]


def test_a_project_sees_its_own_groups_and_cases_and_times_of_others(used: Lab) -> None:
    for host in _shown(used, "mine", "member"):
        assert host["groups"] == ["of-mine"]
        assert host["lease"] == {"id": None, "project_id": None, "until": LATER}
        first, second, third = host["running"]
        assert (first["project_id"], first["until"]) == ("mine", LATER)
        assert ask(used.app, f"/testcases/{first['case']}").json["project_id"] == "mine"
        assert second == {"case": None, "project_id": None, "until": LATER}
        assert (third["project_id"], third["until"]) == ("mine", None)  # it has not begun


def test_an_administrator_sees_all_of_them(used: Lab) -> None:
    for host in _shown(used, "other", "admin"):
        assert host["groups"] == ["of-mine", "of-theirs"]
        assert host["lease"] == {"id": LEASE, "project_id": "theirs", "until": LATER}
        assert [case["project_id"] for case in host["running"]] == ["mine", "theirs", "mine"]
        assert all(case["case"] for case in host["running"])


def test_everybody_sees_that_it_is_benched(used: Lab) -> None:
    for host in _shown(used, "other", "reader"):
        assert (host["health"], host["groups"]) == ("bad", [])
        assert host["bad_since"] == "2026-11-21T08:00:00Z"
        assert host["bad_reason"] == "three cases ended as agent_lost"
