"""How long requests take while the database is a black hole, and what else goes wrong with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest
import webob

from tests.lab import HOST, Lab, MariaDB, until
from tests.proxy import Proxy

CASE = {
    "plugin": "linux_system",
    "host": HOST,
    "method": "run_shell",
    "parameters": {"command": "true"},
}
SOON = 25.0  # seconds; far below what one statement may take here


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    server = MariaDB().create()
    yield server
    server.drop()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(3306)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, server: MariaDB, proxy: Proxy) -> Iterator[Lab]:
    lab = Lab(
        tmp_path_factory.mktemp("lab"),
        database__connection=server.url.replace(":3306", f":{proxy.port}"),
        api__database_time=2.0,
    ).start()
    yield lab
    proxy.flow()
    lab.stop()


def ask(lab: Lab, path: str, **options: object) -> tuple[int, float]:
    request = webob.Request.blank(f"/v2.1{path}", remote_addr="127.0.0.1", **options)
    began = time.monotonic()
    status, _, body = request.call_application(lab.app, catch_exc_info=True)[:3]
    b"".join(body)
    return int(status.split()[0]), time.monotonic() - began


def post(lab: Lab, query: str = "") -> tuple[int, float]:
    return ask(lab, f"/testcases{query}", method="POST", json=CASE, content_type="application/json")


def test_no_request_waits_longer_for_a_black_hole_than_it_may(lab: Lab, proxy: Proxy) -> None:
    until(lambda: post(lab, "?wait=10")[0] == 200)
    proxy.swallow()
    for status, took in (
        post(lab, "?wait=3"),
        post(lab),
        ask(lab, "/testcases"),
        ask(lab, "/slaves"),
    ):
        assert status == 503
        assert took < SOON
    proxy.flow()
    until(lambda: post(lab, "?wait=10")[0] == 200)


def test_who_waits_is_answered_when_the_database_goes_meanwhile(lab: Lab, proxy: Proxy) -> None:
    until(lambda: post(lab, "?wait=10")[0] == 200)
    slow = CASE | {"parameters": {"command": "sleep", "args": "60"}, "timeout": 60}
    timer = threading.Timer(0.5, proxy.swallow)
    timer.start()
    status, took = ask(
        lab, "/testcases?wait=3", method="POST", json=slow, content_type="application/json"
    )
    assert status == 503
    assert took < SOON
    proxy.flow()


def test_a_mistake_is_a_500_with_its_cause_in_the_log(
    lab: Lab, server: MariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    server.execute(f"ALTER TABLE {server.name}.hosts RENAME COLUMN meta TO misspelt")
    try:
        with caplog.at_level(logging.ERROR):
            status, _ = ask(lab, "/slaves/1")
    finally:
        server.execute(f"ALTER TABLE {server.name}.hosts RENAME COLUMN misspelt TO meta")
    assert status == 500
    causes = [record for record in caplog.records if record.exc_info]
    assert "Unknown column" in str(causes[0].exc_info[1])
    assert ask(lab, "/slaves/1")[0] == 200
