"""Hints arrive, whatever happens to the link to the broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labapi import config
from labapi.api.backend import hints
from labapi.api.backend.hints import Hints
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import Wake
from labapi.rpc.transport import CONDUCTOR_QUEUE, Transport
from tests.lab import RabbitMQ, until
from tests.proxy import Proxy


@pytest.fixture
def broker() -> Iterator[RabbitMQ]:
    broker = RabbitMQ().create()
    yield broker
    broker.drop()


@pytest.fixture
def heard(broker: RabbitMQ) -> Iterator[list[Wake]]:
    """What conductors hear."""
    found: list[Wake] = []
    reader = BatchConsumer(transport(broker.url), [CONDUCTOR_QUEUE], found.extend, name="test")  # type: ignore[arg-type]
    reader.start()
    assert reader.consuming.wait(60)
    yield found
    reader.stop()


@pytest.fixture
def link() -> Iterator[Proxy]:
    link = Proxy(5672)
    yield link
    link.close()


def transport(url: str) -> Transport:
    conf = config.new(messaging__transport_url=url)
    conf([], project="labapi", default_config_files=[])
    return Transport(conf)


def test_what_a_black_hole_swallowed_is_sent_again(
    broker: RabbitMQ, heard: list[Wake], link: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "AGAIN", 0.1)
    sender = Hints(transport(broker.url.replace("5672", str(link.port))))
    sender.start()
    sender.case_waits("a-case", "lab-1")
    until(lambda: [wake.hosts for wake in heard] == [["lab-1"]])
    link.swallow()
    sender.case_given("swallowed")
    sender.cancel_wanted("another")
    until(lambda: sender.away, what="seeing that the broker is away")
    sender.case_waits("a-case", "lab-2")
    link.flow()
    until(lambda: "lab-2" in [host for wake in heard for host in wake.hosts])
    assert "swallowed" in [case for wake in heard for case in wake.given]
    assert "another" in [case for wake in heard for case in wake.cancelled]
    until(lambda: not sender.away)
    sender.stop()
    assert sender._unconfirmed == []


def test_what_waits_while_the_broker_is_away_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "BACKLOG", 1)
    sender = Hints(transport("amqp://127.0.0.1:1/"))
    for number in range(2):
        sender._publish([Wake(given=[str(number)])])
    (kept,) = sender._unconfirmed
    assert kept.given == ["0"]
