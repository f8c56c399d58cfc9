"""Liveness drivers: the database, and coordination services on real servers."""

from __future__ import annotations

import datetime
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from labapi import config
from labapi.exceptions import ConfigError
from labapi.servicegroup import driver
from labapi.servicegroup.driver import Liveness
from tests.lab import until
from tests.programs import free_port

Load = Callable[..., Liveness]


@pytest.fixture(params=["redis", "memcached"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a coordination service with nothing of ours in it."""
    if request.param == "redis":
        space = f"labapi-test-{uuid.uuid4().hex}"
        yield f"redis://127.0.0.1:6379?namespace={space}"
        client = redis.Redis()
        for key in client.scan_iter(f"*{space}*"):
            client.delete(key)
        return
    port = free_port()
    server = subprocess.Popen(["memcached", "-l", "127.0.0.1", "-p", str(port), "-u", "nobody"])
    until(lambda: _listens(port))
    yield f"memcached://127.0.0.1:{port}"
    server.terminate()
    server.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def load() -> Iterator[Load]:
    made: list[Liveness] = []

    def make(**options: Any) -> Liveness:
        conf = config.new(**options)
        conf([], project="labapi", default_config_files=[])
        made.append(driver.load(conf))
        return made[-1]

    yield make
    for liveness in made:
        liveness.close()


def row(host: str, seen: datetime.datetime | None, *, stopped: bool = False) -> Any:
    return SimpleNamespace(host=host, binary="labapi-agent", last_seen_at=seen, stopped=stopped)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize(
    ("age", "stopped", "up"),
    [(0, False, True), (59, False, True), (61, False, False), (0, True, False)],
)
def test_the_database_says_when_a_host_was_heard(
    load: Load, age: float, stopped: bool, up: bool
) -> None:
    moment = now()
    seen = moment - datetime.timedelta(seconds=age)
    assert load().is_up(row("lab-1", seen, stopped=stopped), moment) is up
    assert not load().is_up(row("lab-1", None), moment)


def test_a_host_is_up_that_any_conductor_has_heard(load: Load, backend: str) -> None:
    options = {"servicegroup__driver": "tooz", "servicegroup__backend_url": backend}
    first, second, reader = (load(**options) for _ in range(3))
    first.heard(["lab-1"], now())
    second.heard(["lab-2"], now())
    # The database has not heard of them for long: the group has the say.
    old = now() - datetime.timedelta(hours=1)
    for host in ("lab-1", "lab-2"):
        until(lambda host=host: reader.is_up(row(host, old), now()), what=host)
    assert not reader.is_up(row("lab-3", old), now())
    assert not reader.is_up(row("lab-1", now(), stopped=True), now())


def test_a_host_that_falls_silent_is_down_in_time(load: Load, backend: str) -> None:
    options = {
        "servicegroup__driver": "tooz",
        "servicegroup__backend_url": backend,
        "conductor__service_down_time": 3,
    }
    conductor, reader = load(**options), load(**options)
    last = now()
    conductor.heard(["lab-1"], last)
    until(lambda: reader.is_up(row("lab-1", last), last))
    until(lambda: not reader.is_up(row("lab-1", last), now()))
    assert (now() - last).total_seconds() > 3


def test_while_the_service_is_away_the_database_speaks(load: Load) -> None:
    liveness = load(
        servicegroup__driver="tooz",
        servicegroup__backend_url=f"redis://127.0.0.1:{free_port()}",
    )
    assert liveness.is_up(row("lab-1", now()), now())
    assert not liveness.is_up(row("lab-1", now() - datetime.timedelta(hours=1)), now())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"servicegroup__driver": "zookeper"}, "there is no driver 'zookeper'"),
        ({"servicegroup__driver": "tooz"}, "backend_url: the driver tooz needs one"),
        (
            {"servicegroup__driver": "tooz", "servicegroup__backend_url": "nothing://x"},
            r"\[servicegroup\] backend_url: ",
        ),
    ],
)
def test_what_cannot_be_used(load: Load, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(**options)
