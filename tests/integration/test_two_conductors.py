"""What a case wrote is whole, through whichever conductor its pieces and its end travel."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import webob

from labapi.conductor.manager import Conductor
from tests.lab import HOST, Lab, MariaDB, RabbitMQ

SIZE = 200_007
CASES = 48
TOGETHER = 8


@pytest.fixture
def lab(tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ) -> Iterator[Lab]:
    """A lab with three conductors."""
    lab = Lab(
        tmp_path,
        database__connection=mariadb.url,
        messaging__transport_url=rabbitmq.url,
        api__inline_output=2 * SIZE,
        api__output_patience=600.0,
    ).start()
    others = [Conductor(lab.conf, lab.transport, lab.database) for _ in range(2)]
    for other in others:
        other.start()
    yield lab
    for other in others:
        other.stop()
    lab.stop()


def ask(lab: Lab, path: str, **more: Any) -> webob.Response:
    request = webob.Request.blank(f"/v2.1/testcases{path}", remote_addr="127.0.0.1", **more)
    return request.get_response(lab.app)


def post(lab: Lab, query: str = "") -> Any:
    script = f"head -c {SIZE} /dev/zero | tr '\\0' x"
    body = {
        "plugin": "linux_system",
        "host": HOST,
        "method": "run_shell",
        "parameters": {"command": "sh", "args": ["-c", script]},
    }
    return ask(lab, query, method="POST", json=body, content_type="application/json").json


def wait(lab: Lab) -> str:
    shown = post(lab, "?wait=120")
    assert shown["result"] == "PASS"
    return str(shown["output"])


def follow(lab: Lab) -> str:
    return str(ask(lab, f"/{post(lab)['id']}/output?follow=true").text)


def test_output_is_whole(lab: Lab) -> None:
    with ThreadPoolExecutor(TOGETHER) as pool:
        found = [pool.submit((wait, follow)[number % 2], lab) for number in range(CASES)]
        for each in found:
            assert each.result(300) == "x" * SIZE
