"""One suite over every backend: fixtures for pytest, each with its servers' names as ids."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labapi import config
from labapi.db import migration
from labapi.db.session import Database
from labapi.rpc.transport import Transport
from tests.lab import MariaDB, RabbitMQ, empty_in_process_broker


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Return a database with the current schema and nothing in it."""
    server = MariaDB().create() if request.param == "mariadb" else None
    url = server.url if server else f"sqlite:///{tmp_path_factory.mktemp('db')}/labapi.sqlite"
    conf = config.new(database__connection=url, database__timeout=60.0)
    conf([], project="labapi", default_config_files=[])
    opened = Database(conf)
    migration.upgrade(opened)
    yield opened
    opened.close()
    if server:
        server.drop()


@pytest.fixture(scope="module", params=["memory", "rabbitmq"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Return the way to an empty broker."""
    server = RabbitMQ().create() if request.param == "rabbitmq" else None
    conf = config.new(
        messaging__transport_url=server.url if server else "memory://",
        messaging__connect_timeout=60.0,
        messaging__confirm_timeout=60.0,
    )
    conf([], project="labapi", default_config_files=[])
    yield Transport(conf)
    if server:
        server.drop()
    else:
        empty_in_process_broker()
