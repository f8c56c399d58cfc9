"""What users see while the database or the broker is away, and that it ends by itself."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.chaos.lab import HOSTS, ChaosLab
from tests.lab import until

CASE = {
    "plugin": "linux_system",
    "host": HOSTS[0],
    "method": "run_shell",
    "parameters": {"command": "echo", "args": "hello"},
}


@pytest.fixture(scope="module")
def lab() -> Iterator[ChaosLab]:
    running = ChaosLab()
    try:
        running.start()
        yield running
    finally:
        running.stop()


def post(lab: ChaosLab, **query: Any) -> requests.Response:
    return requests.post(f"{lab.urls[0]}/testcases", json=CASE, params=query, timeout=180)


def finished(lab: ChaosLab, case: str) -> dict[str, Any] | None:
    found: dict[str, Any] = requests.get(f"{lab.urls[0]}/testcases/{case}", timeout=180).json()
    return found if found["state"] == "finished" else None


def test_without_the_database_the_answer_is_503_until_it_is_back(lab: ChaosLab) -> None:
    assert post(lab, wait=60).json()["result"] == "PASS"
    lab.mariadb.kill()
    try:
        for answer in (post(lab), requests.get(f"{lab.urls[0]}/slaves", timeout=180)):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "the database is" in answer.json()["serviceUnavailable"]["message"]
            assert "mariadb" not in answer.text.lower(), "nothing of the driver's own text"
    finally:
        lab.mariadb.restart()
    until(lambda: post(lab, wait=60).status_code == 200, 180)


def test_a_database_that_hangs_is_away_too(lab: ChaosLab) -> None:
    lab.mariadb.signal(signal.SIGSTOP)
    try:
        answer = requests.get(f"{lab.urls[0]}/slaves", timeout=180)
    finally:
        lab.mariadb.signal(signal.SIGCONT)
    assert answer.status_code == 503
    until(lambda: post(lab, wait=60).status_code == 200, 180)


def test_without_the_broker_a_case_waits(lab: ChaosLab) -> None:
    lab.rabbitmq.kill()
    try:
        answer = post(lab)
        assert answer.status_code == 202
        assert post(lab, wait=1).json()["state"] in ("queued", "running")
    finally:
        lab.rabbitmq.restart()
    done = until(lambda: finished(lab, answer.json()["id"]), 180, "the end of the case")
    assert (done["result"], done["output"]) == ("PASS", "hello\n")


def test_outages_are_told_once_and_so_is_their_end(lab: ChaosLab) -> None:
    file = lab.folder / "conductor-1.log"

    def told() -> list[str]:
        return re.findall(
            r"reports: .*?message broker \S+( is away| is back)[:\n]", file.read_text()
        )

    # The other conductor may have been quicker to serve the case of the test before.
    until(lambda: told()[-1:] == [" is back"], what="the end of the outage")
    ends = [word == " is back" for word in told()]
    assert not ends[0]
    assert all(one != other for one, other in itertools.pairwise(ends))
    assert "Traceback" not in file.read_text()
