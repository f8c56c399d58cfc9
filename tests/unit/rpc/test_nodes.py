"""A broker of several nodes, and queues that have a copy on each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Queue

from labapi import config
from labapi.exceptions import ConfigError
from labapi.rpc import buffered
from labapi.rpc.broker_user import url_for
from labapi.rpc.transport import BROKER_ERRORS, EXCHANGE, Transport
from tests.lab import RabbitMQ, rabbitmqctl
from tests.programs import free_port


@pytest.fixture
def server() -> Iterator[RabbitMQ]:
    server = RabbitMQ().create()
    yield server
    server.drop()


def transport_to(url: str, **options: Any) -> Transport:
    conf = config.new(messaging__transport_url=url, messaging__connect_timeout=60.0, **options)
    conf([], project="labapi", default_config_files=[])
    return Transport(conf)


def nowhere() -> str:
    return f"amqp://guest:guest@127.0.0.1:{free_port()}//"


def types(server: RabbitMQ) -> dict[str, str]:
    shown = rabbitmqctl("list_queues", "-p", server.name, "name", "type", "--formatter", "json")
    return {queue["name"]: queue["type"] for queue in json.loads(shown)}


@pytest.mark.parametrize("away", [0, 1, 3])
def test_the_node_that_is_there_is_found(server: RabbitMQ, away: int) -> None:
    transport = transport_to(";".join([*(nowhere() for _ in range(away)), server.url]))
    with transport.connect(heartbeat=False) as connection:
        assert connection.virtual_host == server.name
        assert connection.transport_cls is buffered.AMQP


@pytest.mark.parametrize("away", [1, 3])
def test_no_node_is_there(away: int) -> None:
    transport = transport_to(";".join(nowhere() for _ in range(away)))
    with pytest.raises(BROKER_ERRORS):
        transport.connect(heartbeat=False)


def test_the_queues_have_copies(server: RabbitMQ) -> None:
    transport = transport_to(server.url, messaging__queue_type="quorum")
    own = Queue("own", EXCHANGE, routing_key="own")
    brief = Queue("brief", EXCHANGE, routing_key="own", exclusive=True, auto_delete=True)
    with transport.connect(heartbeat=False) as connection:
        for _ in range(2):  # to declare them again is no mistake
            transport.declare(connection, own, brief)
        found = types(server)
        assert found.pop("brief") == "classic"
        assert "labapi.report" in found
        assert set(found.values()) == {"quorum"}


def test_queues_that_are_there_keep_their_type(
    server: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    with transport_to(server.url).connect(heartbeat=False) as connection:
        transport_to(server.url).declare(connection)
    transport = transport_to(server.url, messaging__queue_type="quorum")
    with transport.connect(heartbeat=False) as connection, caplog.at_level(logging.WARNING):
        transport.declare(connection, Queue("own", EXCHANGE, routing_key="own"))
    found = types(server)
    assert (found["labapi.report"], found["own"]) == ("classic", "quorum")
    assert "labapi.report is there already" in caplog.text


def test_all_urls_are_secure_or_none_is() -> None:
    with pytest.raises(ConfigError, match="all of its URLs are amqps"):
        transport_to("amqp://mq-1//;amqps://mq-2//")


def test_an_agent_is_told_of_all_nodes() -> None:
    urls = "amqp://labapi:secret@mq-1/lab;amqp://labapi:secret@mq-2:5673/lab"
    own = "labapi-agent-lab-1:word@"
    assert (
        url_for(urls, "lab-1", "lab", "word") == f"amqp://{own}mq-1/lab;amqp://{own}mq-2:5673/lab"
    )
