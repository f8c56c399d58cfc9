"""What load balancers are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webob

from labapi.api import healthcheck
from labapi.api.app import backend
from labapi.api.healthcheck import Healthcheck, app_factory
from labapi.exceptions import DatabaseUnavailable
from tests.lab import Lab
from tests.processes import until


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(healthcheck, "KEPT", -1.0)
    running = Lab(tmp_path).start(agent=False)
    until(lambda: running.backend.waiters.listens)
    yield running
    running.stop()


def ask(app: Any, method: str = "GET") -> tuple[int, list[str]]:
    answer = webob.Request.blank("/healthcheck", method=method).get_response(app)
    return answer.status_int, answer.text.splitlines()


def test_each_part_has_a_line(lab: Lab) -> None:
    assert ask(lab.app) == (200, ["api: ok", "database: ok", "broker: ok"])
    assert ask(lab.app, "HEAD") == (200, [])


def test_a_process_that_will_stop_is_left(lab: Lab) -> None:
    lab.backend.draining.set()
    assert ask(lab.app) == (503, ["api: draining", "database: ok", "broker: ok"])


@pytest.mark.parametrize(
    ("required", "database", "broker"),
    [("", 200, 200), ("database", 503, 200), ("broker", 200, 503), ("database, broker", 503, 503)],
)
def test_what_is_required_counts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, required: str, database: int, broker: int
) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnavailable("the database is away")

    with backend(lab.backend):
        app = app_factory({}, required=required)
    assert ask(app)[0] == 200
    with monkeypatch.context() as patch:
        patch.setattr(lab.database, "read", away)
        assert ask(app) == (database, ["api: ok", "database: away", "broker: ok"])
    lab.backend.waiters.stop()
    until(lambda: not lab.backend.waiters.listens)
    assert ask(app) == (broker, ["api: ok", "database: ok", "broker: away"])


def test_the_database_is_asked_now_and_then_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "KEPT", 3600.0)
    app = Healthcheck(lab.backend, ["database"])
    lab.conductor.stop()  # it asks the database, too
    asked: list[object] = []
    monkeypatch.setattr(lab.database, "read", asked.append)
    assert [ask(app)[0] for _ in range(3)] == [200, 200, 200]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"required": "databse"}, "expected database, broker or nothing, not 'databse'"),
        ({"detailed": "true"}, "there is no such option; known: required"),
    ],
)
def test_options_that_cannot_be_used(lab: Lab, options: dict[str, str], said: str) -> None:
    with backend(lab.backend), pytest.raises(ValueError, match=said):
        app_factory({}, **options)
