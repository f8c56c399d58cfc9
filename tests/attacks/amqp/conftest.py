"""A virtual host, the user of one agent on it, and raw channels."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import amqp
import pytest
from kombu import Connection

from labapi import config
from labapi.rpc import broker_user
from labapi.rpc.transport import Transport
from tests.lab import RabbitMQ, rabbitmqctl

PASSWORD = "of-one-agent"


@dataclass(frozen=True)
class Broker:
    """A broker with one agent's user.

    :ivar transport: as API and conductors reach it
    :ivar host: of the agent
    :ivar agent_url: as the agent reaches it
    """

    transport: Transport
    host: str
    agent_url: str


def transport_to(url: str) -> Transport:
    """Return the way to a broker."""
    conf = config.new(
        messaging__transport_url=url,
        messaging__connect_timeout=60.0,
        messaging__confirm_timeout=60.0,
    )
    conf([], project="labapi", default_config_files=[])
    return Transport(conf)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """Return it, with the exchanges, the shared queues and those of the host."""
    server = RabbitMQ().create()
    host = f"lab-{uuid.uuid4().hex[:8]}"
    transport = transport_to(server.url)
    with transport.connect(heartbeat=False) as connection:
        transport.declare(connection)
        broker_user.declare_queues(transport, connection, host)
    for step in broker_user.creation(host, server.name, PASSWORD):
        step.run()
    yield Broker(transport, host, broker_user.url_for(server.url, host, server.name, PASSWORD))
    rabbitmqctl("delete_user", broker_user.user_of(host))
    server.drop()


@pytest.fixture
def admin(broker: Broker) -> Iterator[amqp.Channel]:
    """Return a raw channel of a user that may write anything."""
    yield from _channel(broker.transport.url)


@pytest.fixture
def agent(broker: Broker) -> Iterator[amqp.Channel]:
    """Return a raw channel of the agent's user."""
    yield from _channel(broker.agent_url)


def _channel(url: str) -> Iterator[amqp.Channel]:
    connection = Connection(url, connect_timeout=60)
    channel = connection.channel()
    channel.confirm_select()
    yield channel
    connection.release()
