"""One row that cannot be shown spoils no list."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import webob

from tests.lab import HOST, Lab

DEEP = [f"{'[' * 970}{']' * 970}", f"{'[' * 300}{']' * 300}", f"{'[' * 100_000}", "[", "no JSON"]


def ask(lab: Lab, path: str, **more: Any) -> Any:
    request = webob.Request.blank(f"/v2.1{path}", remote_addr="127.0.0.1", **more)
    answer = request.get_response(lab.app)
    assert answer.status_code in (200, 202), answer.text
    return answer.json


def run(lab: Lab) -> str:
    parameters = {"command": "echo", "args": "hello"}
    body = {
        "plugin": "linux_system",
        "host": HOST,
        "method": "run_shell",
        "parameters": parameters,
    }
    case = ask(lab, "/testcases?wait=60", method="POST", json=body, content_type="application/json")
    assert case["result"] == "PASS"
    return str(case["id"])


def store(lab: Lab, statement: str, *values: Any) -> None:
    with lab.database.engine().begin() as connection:
        connection.exec_driver_sql(statement, values)


@pytest.mark.parametrize("text", DEEP, ids=["970", "300", "endless", "half", "none"])
def test_a_case(lab: Lab, text: str) -> None:
    bad, good = run(lab), run(lab)
    store(lab, "UPDATE testcases SET data = ? WHERE uuid = ?", text, bad)
    listed = {case["id"]: case for case in ask(lab, "/testcases")["testcases"]}
    assert list(listed[bad]["data"]) == ["cannot_be_shown"]
    assert listed[good]["result"] == "PASS"
    assert list(ask(lab, f"/testcases/{bad}")["data"]) == ["cannot_be_shown"]


@pytest.mark.parametrize("text", DEEP, ids=["970", "300", "endless", "half", "none"])
def test_a_service(lab: Lab, text: str) -> None:
    name = str(uuid.uuid4())
    store(
        lab,
        "INSERT INTO services (binary, host, zone, disabled, stopped, facts, created_at)"
        " VALUES ('labapi-agent', ?, 'lab', 0, 0, ?, '2026-01-01 00:00:00.000000')",
        name,
        text,
    )
    listed = {service["host"]: service for service in ask(lab, "/services")["services"]}
    assert list(listed[name]["facts"]) == ["cannot_be_shown"]
    assert listed[HOST]["state"] == "up"


@pytest.mark.parametrize("text", DEEP, ids=["970", "300", "endless", "half", "none"])
def test_a_host(lab: Lab, text: str) -> None:
    name = str(uuid.uuid4())
    plugins = f'{{"p": {{"m": {{"description": "x", "schema": {text}}}}}}}'
    store(
        lab,
        "INSERT INTO hosts (uuid, host, agent, release, slots, plugins, meta, created_at)"
        " VALUES (?, ?, 'a', '1', 1, ?, '{}', '2026-01-01 00:00:00.000000')",
        name,
        name,
        plugins,
    )
    listed = {host["host"]: host for host in ask(lab, "/slaves/detail").values()}
    assert listed[HOST]["compute_node_type"]
    assert listed[name]["compute_node_type"] == "" or text == DEEP[1]
    assert ask(lab, f"/slaves/{name}")["host"] == name
    body = {"plugin": "p", "method": "m", "host": name}
    request = webob.Request.blank(
        "/v2.1/testcases",
        method="POST",
        json=body,
        content_type="application/json",
        remote_addr="127.0.0.1",
    )
    assert request.get_response(lab.app).status_code in (202, 400)
