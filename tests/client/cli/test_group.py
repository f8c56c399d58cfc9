"""``lab group …``."""

from __future__ import annotations

from tests.client.cli.conftest import Type
from tests.lab import HOST


def test_a_group_from_its_beginning_to_its_end(type_: Type) -> None:
    made = type_(
        *("group", "create", "kernel", "--host", HOST, "--project", "noauth", "-f", "json")
    ).json()
    try:
        assert (made["hosts"], made["projects"]) == ([HOST], ["noauth"])
        (listed,) = type_("group", "list", "-f", "json").json()
        assert listed == {"name": "kernel", "hosts": [HOST], "projects": ["noauth"]}
        assert f"| kernel | {HOST} | noauth   |" in type_("group", "list").out
        assert type_("group", "remove", "kernel", HOST).status == 0
        assert type_("group", "show", "kernel", "-f", "json").json()["hosts"] == []
        assert type_("group", "add", "kernel", HOST).status == 0
        changed = type_(
            *("group", "set", "kernel", "--name", "linux", "--project", "a", "--project", "b"),
            *("-f", "json"),
        ).json()
        assert (changed["name"], changed["projects"]) == ("linux", ["a", "b"])
        assert changed["hosts"] == [HOST]
        assert type_("group", "set", "linux").status == 2
    finally:
        assert type_("group", "delete", made["id"]).status == 0
    assert type_("group", "show", "linux").status == 2
