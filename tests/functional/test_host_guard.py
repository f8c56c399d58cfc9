"""Metadata that begin with ``allow`` guard a host, whichever way a request names it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from labapi.db import services
from tests.hosts import announce
from tests.lab import ADDRESS, HOST, ROOT, Lab, ask
from tests.processes import until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a lab whose only host lets nobody in but 192.0.2.1, this machine included."""
    lab = start(tmp_path_factory.mktemp("guarded"))
    set_metadata(lab, {"allow-dev": "192.0.2.1"})
    yield lab
    lab.stop()


def start(folder: Path) -> Lab:
    """Start a lab whose own addresses are no exception."""
    paste = folder / "api-paste.ini"
    shipped = (ROOT / "etc" / "api-paste.ini").read_text()
    section = "source = application\n"
    assert section in shipped
    paste.write_text(shipped.replace(section, f"{section}allow_own_addresses = false\n"))
    lab = Lab(folder, api__paste_config=str(paste)).start()
    assert ask(lab.app, "/slaves/1").status_code == 200
    return lab


def set_metadata(lab: Lab, metadata: dict[str, str]) -> None:
    response = ask(lab.app, "/slaves/1/metadata", {"metadata": metadata}, method="PUT")
    assert response.status_code == 200, response.text


def case(host: str) -> dict[str, Any]:
    return {
        "plugin": "linux_system",
        "host": host,
        "method": "run_shell",
        "parameters": {"command": "true"},
    }


def test_it_cannot_be_read_by_number_or_uuid(guarded: Lab) -> None:
    uuid = guarded.database.read(
        lambda connection: connection.exec_driver_sql("SELECT uuid FROM hosts").scalar_one()
    )
    for path in ("/slaves/1", f"/slaves/{uuid}", "/slaves/1/metadata", "/slaves/1/metadata/rack"):
        response = ask(guarded.app, path)
        assert response.status_code == 403
        assert response.json["forbidden"]["message"] == "IP Denied"


def test_lists_leave_it_out(guarded: Lab) -> None:
    assert ask(guarded.app, "/slaves").json == {}
    assert ask(guarded.app, "/slaves/detail").json == {}


@pytest.mark.parametrize("name", [HOST, ADDRESS])
def test_nothing_runs_on_it(guarded: Lab, name: str) -> None:
    assert ask(guarded.app, "/testcases", case(name)).status_code == 403
    assert ask(guarded.app, "/testcases").json == {"testcases": []}


def test_errors_do_not_tell_its_name(guarded: Lab) -> None:
    message = ask(guarded.app, "/testcases", case("nowhere")).json["itemNotFound"]["message"]
    assert HOST not in message


def test_errors_about_a_shared_address_do_not_tell_it_either(guarded: Lab) -> None:
    announce(guarded.database, "twin", address=ADDRESS)
    try:
        response = ask(guarded.app, "/testcases", case(ADDRESS))
        message = f"host: '{ADDRESS}' is the address of several hosts; known: twin"
        assert response.json["badRequest"]["message"] == message
    finally:
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM hosts WHERE host = 'twin'")
        )


def test_a_list_that_cannot_be_read_opens_nothing(guarded: Lab) -> None:
    response = ask(
        guarded.app, "/slaves/1/metadata/allow-x", {"metadata": {"allow-x": "all"}}, method="PUT"
    )
    assert response.status_code == 400
    assert "'all' is not an address or network" in response.json["badRequest"]["message"]
    assert ask(guarded.app, "/slaves/1").status_code == 403


def test_an_operator_can_mend_the_list_from_anywhere(guarded: Lab) -> None:
    try:
        set_metadata(guarded, {"allow-dev": "192.0.2.1", "allow-me": "127.0.0.0/8"})
        assert ask(guarded.app, "/slaves/1").status_code == 200
        done = ask(guarded.app, "/testcases?wait=60", case(HOST))
        assert (done.status_code, done.json["result"]) == (200, "PASS")
        cancelled = ask(guarded.app, f"/testcases/{done.json['id']}", method="DELETE")
        assert cancelled.status_code == 409
    finally:
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM testcases")
        )


def test_what_ran_there_is_guarded_as_the_host_is(guarded: Lab) -> None:
    key = {"Idempotency-Key": "again"}
    set_metadata(guarded, {"allow-me": "127.0.0.0/8"})
    try:
        done = ask(guarded.app, "/testcases?wait=60", case(HOST), **key)
        assert (done.status_code, done.json["result"]) == (200, "PASS")
        path = f"/testcases/{done.json['id']}"
        later = ask(guarded.app, "/testcases?wait=60", case(HOST)).json["id"]
        assert len(ask(guarded.app, "/testcases").json["testcases"]) == 2
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        for denied in (
            ask(guarded.app, path),
            ask(guarded.app, f"{path}/output"),
            ask(guarded.app, f"{path}/output?follow=true"),
            ask(guarded.app, path, method="DELETE"),
            ask(guarded.app, "/testcases", case(HOST), **key),
        ):
            assert denied.status_code == 403
            assert denied.json["forbidden"]["message"] == "IP Denied"
        assert ask(guarded.app, "/testcases").json == {"testcases": []}
        page = ask(guarded.app, f"/testcases?limit=1&marker={later}")
        assert (page.status_code, page.json) == (200, {"testcases": []})
    finally:
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM testcases")
        )


def test_the_link_of_a_page_does_not_name_it(guarded: Lab) -> None:
    uuid = guarded.database.read(
        lambda connection: connection.exec_driver_sql("SELECT uuid FROM hosts").scalar_one()
    )
    announce(guarded.database, "last")
    try:
        page = ask(guarded.app, "/slaves?limit=1")
        assert page.json == {}
        assert uuid not in page.headers["Link"]
        path = page.headers["Link"].split("/v2.1")[1].split(">")[0]
        assert [host["host"] for host in ask(guarded.app, path).json.values()] == ["last"]
    finally:
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM hosts WHERE host = 'last'")
        )


def test_pages_do_not_count_what_ran_there(guarded: Lab) -> None:
    set_metadata(guarded, {"allow-me": "127.0.0.0/8"})
    try:
        for _ in range(2):
            assert ask(guarded.app, "/testcases?wait=60", case(HOST)).status_code == 200
        path = f"/testcases?limit=1&host={HOST}"
        assert "Link" in ask(guarded.app, path).headers
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        hidden = ask(guarded.app, path)
        assert hidden.json == {"testcases": []}
        assert "Link" not in hidden.headers
    finally:
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM testcases")
        )


def test_a_key_tells_nothing_of_what_ran_there(guarded: Lab) -> None:
    key = {"Idempotency-Key": "of-somebody"}
    set_metadata(guarded, {"allow-me": "127.0.0.0/8"})
    try:
        assert ask(guarded.app, "/testcases?wait=60", case(HOST), **key).status_code == 200
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        other = {**case(HOST), "priority": 1}
        assert ask(guarded.app, "/testcases", other, **key).status_code == 403
    finally:
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM testcases")
        )


def test_who_waits_for_a_case_sees_no_more_of_it_once_it_has_its_host(guarded: Lab) -> None:
    body = {name: value for name, value in case(HOST).items() if name != "host"}
    body["parameters"] = {"command": "echo", "args": ["seen"]}
    key = {"Idempotency-Key": "of-a-case-without-a-host"}
    switch_off(guarded, off=True)
    set_metadata(guarded, {"allow-dev": "127.0.0.2"})
    try:
        made = ask(guarded.app, "/testcases", body, client="127.0.0.2", **key)
        path = f"/testcases/{made.json['id']}"
        followed = ask(guarded.app, f"{path}/output?follow=true")
        assert followed.status_code == 200
        with ThreadPoolExecutor() as pool:
            again = pool.submit(ask, guarded.app, "/testcases?wait=60", body, **key)
            until(lambda: len(guarded.backend.waiters._waiting.get(made.json["id"], ())) >= 1)
            switch_off(guarded, off=False)
            denied = again.result()
        assert denied.status_code == 403, denied.text
        until(lambda: ask(guarded.app, path, client="127.0.0.2").json["state"] == "finished")
        assert ask(guarded.app, path, client="127.0.0.2").json["output"] == "seen\n"
        assert "seen" not in followed.text
        assert "IP Denied" in followed.text
    finally:
        switch_off(guarded, off=False)
        set_metadata(guarded, {"allow-dev": "192.0.2.1"})
        guarded.database.write(
            lambda connection: connection.exec_driver_sql("DELETE FROM testcases")
        )


def switch_off(lab: Lab, *, off: bool) -> None:
    """Keep the host from taking cases, or let it take them."""
    reason = "a test" if off else None
    lab.database.write(services.switch, services.AGENT, HOST, disabled=off, reason=reason)
