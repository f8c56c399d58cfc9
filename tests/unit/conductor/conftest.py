"""A conductor's parts over every database; the broker is a list."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from labapi import config
from labapi.case import State
from labapi.conductor.dispatch import Dispatcher
from labapi.conductor.hearing import Hearing
from labapi.conductor.reaper import Reaper
from labapi.conductor.reports import Reports
from labapi.db import attempts, services, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseChanged
from labapi.rpc.publisher import Envelope
from labapi.rpc.signing import Signer
from labapi.servicegroup import driver
from tests.hosts import announce

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


class Outbox:
    """Stands for the broker."""

    def __init__(self) -> None:
        self.sent: list[Envelope] = []
        self.signer: Signer | None = None
        self.away = False
        self.unroutable: set[str] = set()

    def publish(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        if self.away:
            raise BrokerUnavailable("the message broker is away")
        self.sent += envelopes
        return [e for e in envelopes if e.mandatory and e.routing_key in self.unroutable]

    def take(self, kind: type[Any]) -> list[Any]:
        """Return the messages of a kind, and forget them; each change of a case by itself."""
        found = [e.message for e in self.sent if isinstance(e.message, kind)]
        self.sent = [e for e in self.sent if not isinstance(e.message, kind)]
        if kind is CaseChanged:
            return [change for message in found for change in message.apart()]
        return found


class Parts:
    """The conductor's parts around one database."""

    def __init__(self, database: Database) -> None:
        self.conf = config.new(conductor__service_down_time=60.0, scheduler__dispatch_ahead=0)
        self.conf([], project="labapi", default_config_files=[])
        self.database = database
        self.outbox: Any = Outbox()
        liveness = driver.load(self.conf)
        self.dispatcher = Dispatcher(self.conf, database, self.outbox, liveness)
        self.reports = Reports(self.conf, database, self.outbox, self.dispatcher.freed)
        self.line = 1
        self.hearing = Hearing(self.conf, lambda: self.line)
        self.reaper = Reaper(self.conf, database, self.outbox, self.dispatcher, self.hearing)
        self.awake = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=600)
        self.listen(datetime.datetime.now(datetime.UTC))
        self.host = f"host-{uuid.uuid4().hex[:8]}"
        self.announce(self.host)

    def listen(self, until: datetime.datetime) -> None:
        """Be awake from the last time on."""
        while self.awake < until:
            self.awake = min(self.awake + datetime.timedelta(seconds=2), until)
            self.hearing.listen(self.awake)

    def sweep(self, moment: datetime.datetime) -> None:
        """Be awake until then, and sweep."""
        self.listen(moment)
        self.reaper.sweep(moment)

    def announce(self, host: str, slots: int = 4) -> None:
        announce(self.database, host, NOW, slots=slots)
        self.beat(host, datetime.datetime.now(datetime.UTC))

    def beat(self, host: str, moment: datetime.datetime, **more: Any) -> None:
        self.database.write(services.beat, services.AGENT, {host: None}, moment, **more)

    def add(self, **values: Any) -> str:
        case = str(uuid.uuid4())
        row = {
            "uuid": case,
            "request_id": "req-1",
            "plugin": "linux_system",
            "method": "run_shell",
            "host": self.host,
            "parameters": {},
            "timeout": 10.0,
            "state": State.QUEUED,
            "created_at": datetime.datetime.now(datetime.UTC),
            "output_size": 0,
            "idempotency": None,
        }
        self.database.write(testcases.create, {**row, **values})
        return case

    def get(self, case: str) -> Record:
        row = self.database.read(testcases.get, case)
        assert row is not None
        return row

    def set(self, case: str, **values: Any) -> None:
        self.database.write(attempts.change, {self.get(case).id: values})


@pytest.fixture
def parts(database: Database) -> Parts:
    return Parts(database)
