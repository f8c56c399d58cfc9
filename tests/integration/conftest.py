"""MariaDB and RabbitMQ on this machine, each test in a corner of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import MariaDB, RabbitMQ


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    """Return an empty database."""
    database = MariaDB().create()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """Return an empty virtual host."""
    broker = RabbitMQ().create()
    yield broker
    broker.drop()
