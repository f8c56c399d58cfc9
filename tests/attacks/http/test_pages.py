"""No page takes the memory of the API, whatever callers and hosts have filled its cases with."""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Any

import pytest
import webob

from labapi.case import State
from labapi.db import testcases
from tests.lab import HOST, Lab

# A caller's parameters, and as much again from a host: small things, so that they grow in memory.
LARGE = [[] for _ in range(300_000)]
CASES = 12


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    for number in range(CASES):
        large = LARGE if number % 2 else []
        lab.database.write(testcases.create, _row(parameters={"x": large}, data=large))
    yield lab
    lab.stop()


def _row(**values: Any) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid4()),
        "project_id": "noauth",
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "ping",
        "host": HOST,
        "timeout": 10.0,
        "state": State.FINISHED,
        "created_at": datetime.datetime.now(datetime.UTC),
        "output_size": 0,
        "idempotency": None,
        **values,
    }


def _get(lab: Lab, url: str) -> webob.Response:
    request = webob.Request.blank(url, environ={"REMOTE_ADDR": "127.0.0.1"})
    return request.get_response(lab.app)


def test_pages_of_large_cases_are_short_and_lead_to_all_of_them(project: Lab) -> None:
    url, seen = "/v2.1/testcases", []
    while url:
        response = _get(project, url)
        assert response.status_int == 200
        assert len(response.body) < 2 * testcases.PAGE_BYTES
        seen += [case["id"] for case in response.json["testcases"]]
        link = re.search("<(.*)>", response.headers.get("Link", ""))
        url = link[1].removeprefix("http://localhost") if link else ""
    assert len(set(seen)) == len(seen) == CASES


def test_a_case_that_is_larger_than_a_page_has_one_to_itself(
    project: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testcases, "PAGE_BYTES", 1000)
    response = _get(project, "/v2.1/testcases")
    assert len(response.json["testcases"]) == 1
    assert "marker=" in response.headers["Link"]
