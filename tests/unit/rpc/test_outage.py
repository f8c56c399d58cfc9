"""What is said of a broker that cannot be used: which it is, what is wrong, and no password."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import amqp
import pytest
from kombu import Queue

from labapi import config
from labapi.exceptions import BrokerUnavailable, NoRoom, Unavailable
from labapi.rpc import outage
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import Message, Wake
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import CONDUCTOR, EXCHANGE, Transport
from tests.lab import until
from tests.programs import free_port, run


def way_to(url: str) -> Transport:
    conf = config.new(messaging__transport_url=url, messaging__connect_timeout=60.0)
    conf([], project="labapi", default_config_files=[])
    return Transport(conf)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://u:secret@lab-mq/lab", "lab-mq:5672"),
        ("amqps://u:secret@lab-mq/lab", "lab-mq:5671"),
        ("amqp://u:secret@[::1]:7//", "[::1]:7"),
        ("amqp://u:secret@a:1/lab;amqp://u:secret@b/lab", "a:1, b:5672"),
        ("amqp://u:sec/ret@lab-mq/lab", "of [messaging] transport_url"),
        ("amqp://u:12/3@lab-mq/lab", "of [messaging] transport_url"),
    ],
)
def test_a_broker_is_named_without_its_password(url: str, address: str) -> None:
    assert outage.address(url) == address
    assert "ret" not in outage.shown(url)
    assert "12/3" not in outage.shown(url)


def test_a_url_is_shown_with_its_user_and_virtual_host() -> None:
    assert outage.shown("amqps://labapi:secret@lab-mq/lab?x=1") == "amqps://labapi@lab-mq:5671/lab"


def test_a_queue_whose_node_is_down_was_not_removed() -> None:
    text = "home node 'rabbit@mq-1' of durable queue 'labapi.report' is down or inaccessible"
    said = outage.said(amqp.exceptions.NotFound(text), "mq-2:5672")
    assert said.startswith("the message broker mq-2:5672 is away: a queue is on a node")
    assert "removed" in outage.said(amqp.exceptions.NotFound("no queue 'x'"), "mq-2:5672")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://guest:bad@127.0.0.1//", "5672 refused the user name or password of "),
        ("amqp://guest:guest@127.0.0.1/none", "5672 refused the virtual host .* none not found"),
        ("amqp://127.0.0.1:1//", "1 is away: Connection refused"),
    ],
)
def test_what_is_wrong_is_said_once(url: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    publisher = Publisher(way_to(url))
    for level in (logging.WARNING, logging.DEBUG):
        with pytest.raises(
            BrokerUnavailable, match=f"the message broker 127.0.0.1:{said}"
        ) as error:
            publisher.publish([Envelope(Wake(), CONDUCTOR)])
        assert error.value.level == level
    transport = way_to(url)
    transport.retry_interval_max = 0.1
    consumer = BatchConsumer(transport, [], print, name="reader")
    consumer.start()
    until(lambda: consumer.trouble)
    consumer.stop()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("labapi")]
    assert len(lines) == 1
    assert re.search(f"reader: the message broker 127.0.0.1:{said}", lines[0])


def test_a_reader_says_once_what_holds_it_up(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fails = [Unavailable("the database is away"), Unavailable("the database is away")]
    fails.insert(1, NoRoom("9 cases wait here already"))
    got: list[Message] = []

    def handle(messages: list[Message]) -> None:
        if fails:
            raise fails.pop()
        got.extend(messages)

    queue = Queue("labapi.test.held", EXCHANGE, routing_key="test.held")
    consumer = BatchConsumer(transport, [queue], handle, name="reader")
    consumer.start()
    assert consumer.consuming.wait(60)
    Publisher(transport).publish([Envelope(Wake(), "test.held")])
    until(lambda: got)
    consumer.stop()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("labapi")]
    assert lines == ["reader: the database is away; trying again", "reader: works again"]


@pytest.mark.parametrize("command", [["dead-letter", "list"], ["agent", "add", "lab-7"]])
def test_a_command_says_which_broker_it_wanted(tmp_path: Path, command: list[str]) -> None:
    port = free_port()
    conf = tmp_path / "labapi.conf"
    conf.write_text(f"[messaging]\ntransport_url = amqp://u:S3cret@127.0.0.1:{port}/lab\n")
    done = run("labapi-manage", "--config-file", str(conf), *command)
    assert done.returncode == 1
    assert f"the message broker 127.0.0.1:{port} is away: Connection refused\n" in done.stderr
    assert "S3cret" not in done.stdout + done.stderr
