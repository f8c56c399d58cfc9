"""The audit line of a request says what was done, and to what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webob

from labapi.db import services
from tests.lab import HOST, ROOT, Lab, ask

CASE = {"plugin": "linux_system", "method": "run_shell", "parameters": {"command": "true"}}


class Audited:
    """A lab whose pipeline has the filter ``audit``."""

    def __init__(self, folder: Path) -> None:
        paste = folder / "api-paste.ini"
        self._file = folder / "audit"
        shipped = (ROOT / "etc" / "api-paste.ini").read_text()
        text = shipped.replace("    proxy\n", "    proxy\n    audit\n")
        paste.write_text(text.replace("#audit\n", f"#audit\nfile = {self._file}\n"))
        self.lab = Lab(folder, api__paste_config=str(paste)).start()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[webob.Response, Any]:
        """Send a request, and return its answer and its line."""
        response = ask(self.lab.app, path, body, method=method)
        assert response.body  # the line is written when all of the answer is read
        return response, self.last()

    def last(self) -> Any:
        """Return the last line."""
        return json.loads(self._file.read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    found = Audited(tmp_path_factory.mktemp("audited"))
    yield found
    found.lab.stop()


def test_several_cases_at_once(audited: Audited) -> None:
    made, line = audited.ask("POST", "/testcases", {**CASE, "hosts": [HOST]})
    assert (made.status_code, line["action"]) == (202, "testcases:create")
    assert line["target"] == made.json["testcases"][0]["batch"]


def test_a_case_that_is_made_and_cancelled(audited: Audited) -> None:
    made, line = audited.ask("POST", "/testcases", {**CASE, "host": HOST})
    assert (made.status_code, line["status"], line["outcome"]) == (202, 202, "success")
    assert (line["action"], line["target"]) == ("testcases:create", made.json["id"])
    assert line["user"] == "noauth"
    case = made.json["id"]
    _, line = audited.ask("DELETE", f"/testcases/{case}")
    assert (line["action"], line["target"]) == ("testcases:cancel", case)


def test_metadata_of_a_host(audited: Audited) -> None:
    _, line = audited.ask("PUT", "/slaves/1/metadata/rack", {"metadata": {"rack": "r1"}})
    assert (line["action"], line["target"]) == ("metadata:update", "1/rack")


def test_what_is_refused(audited: Audited) -> None:
    _, line = audited.ask("POST", "/testcases", {"host": HOST})
    assert (line["status"], line["action"], line["target"]) == (400, "testcases:create", "")
    _, line = audited.ask("DELETE", "/testcases/no-such-case")
    assert line["status"] == 404
    assert (line["action"], line["target"]) == ("testcases:cancel", "no-such-case")


def test_an_unknown_url(audited: Audited) -> None:
    _, line = audited.ask("POST", "/nothing")
    assert (line["status"], line["outcome"]) == (404, "failure")
    assert "action" not in line


def test_a_host_that_is_given_no_work(audited: Audited) -> None:
    number = audited.lab.database.read(services.every, binary=services.AGENT)[0].id
    _, line = audited.ask("PUT", f"/services/{number}", {"status": "disabled"})
    assert (line["action"], line["target"]) == ("services:update", str(number))


def test_a_host_that_is_benched(audited: Audited) -> None:
    _, line = audited.ask("PUT", "/slaves/1/health", {"health": "bad", "reason": "loud"})
    assert (line["action"], line["target"], line["user"]) == ("hosthealth:update", "1", "noauth")
    assert (line["host"], line["health"], line["reason"]) == (HOST, "bad", "loud")
    _, line = audited.ask("PUT", "/slaves/1/health", {"health": "good"})
    assert (line["host"], line["health"], line["reason"]) == (HOST, "good", None)


def test_a_lease_that_is_ended(audited: Audited) -> None:
    audited.lab.database.write(services.switch, services.AGENT, HOST, disabled=False, reason=None)
    made, line = audited.ask("POST", "/leases", {"hosts": [HOST], "seconds": 60})
    assert made.status_code == 201, made.text
    assert (line["action"], line["target"]) == ("leases:create", made.json["id"])
    request = webob.Request.blank(
        f"/v2.1/leases/{made.json['id']}", method="DELETE", remote_addr="127.0.0.1"
    )
    ended = request.get_response(audited.lab.app)
    assert (ended.status_code, ended.body) == (204, b"")
    line = audited.last()
    assert (line["action"], line["target"], line["owner"]) == (
        "leases:delete",
        made.json["id"],
        "noauth",
    )
