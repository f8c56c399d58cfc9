"""What those see of groups who are no administrators."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest

from labapi.db import groups, hosts, testcases
from tests.lab import HOST, ROOT, Lab, ask


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which everybody is a reader of the project ``noauth``, and none sees its host."""
    folder = tmp_path_factory.mktemp("lab")
    paste = folder / "api-paste.ini"
    text = (ROOT / "etc" / "api-paste.ini").read_text()
    text = text.replace("#noauth\n", "#noauth\nroles = reader\n")
    paste.write_text(
        text.replace(
            "source = application\n", "source = application\nallow_own_addresses = false\n"
        )
    )
    lab = Lab(folder, api__paste_config=str(paste)).start()
    yield lab
    lab.stop()


@pytest.fixture(autouse=True)
def no_groups(lab: Lab) -> Iterator[None]:
    """Remove the groups that a test has made."""
    yield
    for group in lab.database.read(groups.page, project=None, everybody=True, after=0, limit=9):
        lab.database.write(groups.remove, group.row.id)


def make(lab: Lab, name: str, projects: list[str]) -> None:
    values = {"name": name, "meta": {}, "health_case": None}
    now = datetime.datetime.now(datetime.UTC)
    lab.database.write(groups.create, values, [HOST], projects, now)


def test_they_see_the_groups_of_their_project(lab: Lab) -> None:
    make(lab, "own", ["noauth", "other"])
    make(lab, "foreign", ["other"])
    listed = ask(lab.app, "/groups").json["groups"]
    assert [(group["name"], group["hosts"]) for group in listed] == [("own", [HOST])]
    assert ask(lab.app, "/groups/own").json == listed[0]
    hidden = ask(lab.app, "/groups/foreign")
    assert hidden.status_code == 404
    missing = ask(lab.app, "/groups/no-such").json["itemNotFound"]["message"]
    assert hidden.json["itemNotFound"]["message"] == missing.replace("no-such", "foreign")
    assert ask(lab.app, "/groups?marker=foreign").status_code == 400


def test_they_see_no_host_that_is_guarded(lab: Lab) -> None:
    make(lab, "guarded", ["noauth"])
    lab.database.write(
        lambda c: c.exec_driver_sql("""UPDATE hosts SET meta='{"allow":"192.0.2.1"}'""")
    )
    assert ask(lab.app, "/groups/guarded").json["hosts"] == []
    (host,) = lab.database.read(testcases.target, HOST)
    lab.database.write(hosts.change_meta, host.id, lambda _: {"allow": "192.0.2.1"})
    assert ask(lab.app, "/groups/guarded").json["hosts"] == []
    lab.database.write(hosts.change_meta, host.id, lambda _: {})
    assert ask(lab.app, "/groups/guarded").json["hosts"] == [HOST]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/groups", {"name": "more"}),
        ("PUT", "/groups/own", {"name": "more"}),
        ("DELETE", "/groups/own", None),
        ("PUT", f"/groups/own/hosts/{HOST}", None),
        ("DELETE", f"/groups/own/hosts/{HOST}", None),
    ],
)
def test_they_change_none(lab: Lab, method: str, path: str, body: Any) -> None:
    make(lab, "own", ["noauth"])
    answer = ask(lab.app, path, body, method=method)
    assert answer.status_code == 403
    assert "groups:change" in answer.json["forbidden"]["message"]
