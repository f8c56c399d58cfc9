from __future__ import annotations

import datetime
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from labapi.db import groups, testcases
from labapi.db.session import Database
from labapi.exceptions import Conflict, NotFound
from tests.hosts import announce

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
ADDRESS = "192.0.2.77"

Name = Callable[[str], str]


@pytest.fixture
def name() -> Name:
    """Return what makes names of this test's own."""
    mark = uuid.uuid4().hex[:8]
    return lambda text: f"{text}-{mark}"


def make(database: Database, group: str, hosts: list[str], projects: list[str]) -> groups.Group:
    values = {"name": group, "meta": {}, "health_case": None}
    found = database.read(groups.get, database.write(groups.create, values, hosts, projects, NOW))
    assert found is not None
    return found


def is_closed(database: Database, host: str, project: str | None) -> bool:
    (row,) = database.read(testcases.target, host, project)
    return bool(row.closed)


def test_a_host_is_for_the_projects_of_any_of_its_groups(database: Database, name: Name) -> None:
    host, other = announce(database, name("h")), announce(database, name("free"))
    make(database, name("a"), [host], [name("p"), name("q")])
    make(database, name("b"), [host], [name("r")])
    open_to = [p for p in ("p", "q", "r", "s") if not is_closed(database, host, name(p))]
    assert open_to == ["p", "q", "r"]
    assert is_closed(database, host, None)
    assert not is_closed(database, other, name("s"))
    assert not is_closed(database, other, None)


def test_a_host_is_closed_by_whichever_word_a_case_names_it(database: Database, name: Name) -> None:
    host = announce(database, name("h"), address=ADDRESS)
    make(database, name("a"), [host], [name("p")])
    assert is_closed(database, ADDRESS, name("q"))
    assert not is_closed(database, ADDRESS, name("p"))


def test_a_group_without_projects_lets_nobody_in(database: Database, name: Name) -> None:
    host = announce(database, name("h"))
    group = make(database, name("a"), [host], [])
    assert is_closed(database, host, name("p"))
    database.write(groups.remove, group.row.id)
    assert not is_closed(database, host, name("p"))
    assert database.read(groups.get, group.row.uuid) is None


def test_who_may_use_hosts_is_read_at_once(database: Database, name: Name) -> None:
    first, second, third = (announce(database, name(h)) for h in ("h1", "h2", "h3"))
    make(database, name("a"), [first, second], [name("p")])
    make(database, name("b"), [second], [])
    use = database.read(groups.use)
    assert use[first] == groups.Use(frozenset({name("a")}), frozenset({name("p")}))
    assert use[second] == groups.Use(frozenset({name("a"), name("b")}), frozenset({name("p")}))
    assert third not in use


def test_a_host_that_is_off_the_list_stays_in_its_groups(database: Database, name: Name) -> None:
    group = make(database, name("a"), [name("gone")], [name("p")])
    assert group.hosts == {name("gone"): None}
    announce(database, name("gone"))
    assert is_closed(database, name("gone"), name("q"))


def test_what_belongs_to_a_group_is_replaced_or_stays(database: Database, name: Name) -> None:
    group = make(database, name("a"), ["x", "y"], [name("p")])
    change = {"meta": {"k": "v"}, "health_case": {"plugin": "linux_system", "method": "ping"}}
    database.write(groups.change, group.row.id, change, ["y", "z"], None)
    changed = database.read(groups.get, name("a"))
    assert changed is not None
    assert (list(changed.hosts), changed.projects) == (["y", "z"], [name("p")])
    assert (changed.row.meta, changed.row.health_case["method"]) == ({"k": "v"}, "ping")
    database.write(groups.change, group.row.id, {"health_case": None}, None, [])
    changed = database.read(groups.get, name("a"))
    assert changed is not None
    assert (changed.row.health_case, changed.projects) == (None, [])


def test_pages_are_of_what_a_project_may_use(database: Database, name: Name) -> None:
    made = [make(database, name(g), [], [name("p")] if g != "b" else []) for g in ("a", "b", "c")]
    after = made[0].row.id - 1

    def page(after: int, **who: Any) -> list[str]:
        found = database.read(
            groups.page, **{"project": None, "everybody": False, **who}, after=after, limit=2
        )
        return [group.row.name for group in found]

    assert page(after, everybody=True) == [name("a"), name("b")]
    assert page(after, project=name("p")) == [name("a"), name("c")]
    assert page(made[0].row.id, project=name("p")) == [name("c")]
    assert page(after, project=name("q")) == page(after) == []


def test_two_requests_at_once_make_one_group_and_put_a_host_in_once(
    database: Database, name: Name
) -> None:
    seen: list[str] = []
    both = threading.Barrier(2)

    def work() -> None:
        both.wait()
        try:
            make(database, name("a"), [], [])
            seen.append("made")
        except Conflict:
            seen.append("refused")
        both.wait()
        group = database.read(groups.get, name("a"))
        assert group is not None
        database.write(groups.add_host, group.row.id, "x")
        database.write(groups.change, group.row.id, {}, ["x", "y"], ["p"])
        seen.append("done")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["done", "done", "made", "refused"]
    group = database.read(groups.get, name("a"))
    assert group is not None
    assert list(group.hosts) == ["x", "y"]


def test_nothing_is_put_into_a_group_that_was_deleted(database: Database, name: Name) -> None:
    group = make(database, name("a"), [], [])
    database.write(groups.remove, group.row.id)
    for change, args in (
        (groups.add_host, ("x",)),
        (groups.remove_host, ("x",)),
        (groups.change, ({"name": "b"}, None, None)),
        (groups.remove, ()),
    ):
        with pytest.raises(NotFound, match="deleted meanwhile"):
            database.write(change, group.row.id, *args)
