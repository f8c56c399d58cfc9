"""A labapi of a measurement's own: configuration, database, virtual host, programs."""

from __future__ import annotations

import contextlib
import datetime
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bench.environments import ROOT
from bench.processes import Server
from labapi import config
from labapi.db import hosts, migration, services, testcases
from labapi.db.session import Database
from labapi.rpc import signing
from labapi.rpc.messages import MethodDescription
from tests.lab import MariaDB, RabbitMQ
from tests.programs import free_port

BIN = Path(sys.executable).parent

# Nobody's measurement is to meet the limit; that it counts is what costs.
_SHIPPED_RULE = "rule_all = * *: 6000 per minute per address"
_BENCH_RULE = "rule_all = * *: 1000000 per second per address"
BARE = """\
[pipeline:main]
pipeline = somebody api

[filter:somebody]
paste.filter_factory = bench.somebody:filter_factory

[app:api]
use = egg:labapi#api
"""


class Installation:
    """One ``labapi.conf`` and what it names.

    :param folder: for everything on disk
    :param database: SQLAlchemy URL, None for SQLite in the folder
    :param broker: kombu URL
    :param options: ``group__option`` → value
    """

    def __init__(
        self, folder: Path, *, database: str | None, broker: str, bare: bool = False, **options: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        paste = folder / "api-paste.ini"
        shipped = (ROOT / "etc" / "api-paste.ini").read_text()
        assert _SHIPPED_RULE in shipped
        paste.write_text(BARE if bare else shipped.replace(_SHIPPED_RULE, _BENCH_RULE))
        private, public = folder / "conductor.key", folder / "conductor.key.pub"
        signing.create_key(private, public)
        values: dict[str, Any] = {
            "state_path": folder / "state",
            "api__port": self.port,
            "api__workers": 1,
            "api__paste_config": paste,
            "database__connection": database,
            "messaging__transport_url": broker,
            "agent__host": "lab-1",
            "agent__address": "127.0.0.1",
            "conductor__signing_key": private,
            "agent__trusted_keys": public,
            **options,
        }
        self.file = folder / "labapi.conf"
        self.file.write_text(_ini(values))
        (folder / "state").mkdir(exist_ok=True)

    def database(self) -> Database:
        """Return the database with its tables."""
        conf = config.load(["--config-file", str(self.file)], prog="bench", description="")
        database = Database(conf)
        migration.upgrade(database)
        return database

    def program(self, name: str, *more: str) -> Server:
        """Start one of labapi's programs, with more arguments."""
        argv = [str(BIN / name), "--config-file", str(self.file), *more]
        log = self.folder / f"{'-'.join([name, *more[1:]])}.log"
        return Server(argv, log, self.environment())

    def api(self) -> Server:
        """Start the API and wait until it takes requests."""
        return self.program("labapi-api").listens(self.port)

    def environment(self) -> dict[str, str]:
        """Return what other servers need to find this installation."""
        return {"PYTHONPATH": str(ROOT), "LABAPI_CONFIG": str(self.file)}


def on_servers(stack: contextlib.ExitStack, folder: Path, **options: Any) -> Installation:
    """Return one on MariaDB and RabbitMQ.

    :param stack: gives back what it borrows of them
    :param options: as :class:`Installation` takes them
    """
    database, broker = stack.enter_context(mariadb()), stack.enter_context(rabbitmq())
    return Installation(folder, database=database, broker=broker, **options)


@contextlib.contextmanager
def rabbitmq() -> Iterator[str]:
    """Lend the URL of a virtual host."""
    broker = RabbitMQ().create()
    try:
        yield broker.url
    finally:
        broker.drop()


@contextlib.contextmanager
def mariadb() -> Iterator[str]:
    """Lend the URL of a database."""
    database = MariaDB().create()
    try:
        yield database.url
    finally:
        database.drop()


def add_hosts(database: Database, first: int, last: int) -> None:
    """Add hosts ``bench-<number>``, each with two plugins of five methods with schemas."""
    now = datetime.datetime.now(datetime.UTC)
    for start in range(first, last + 1, 500):
        names = [f"bench-{number}" for number in range(start, min(start + 500, last + 1))]
        database.write(_announce, names, now)


def _announce(connection: Connection, names: list[str], now: datetime.datetime) -> None:
    said = {"address": "192.0.2.1", "release": "1.0", "slots": 8, "plugins": PLUGINS}
    announced = {name: {**said, "agent": str(uuid.uuid4())} for name in names}
    hosts.announce(connection, announced, now)
    services.beat(connection, services.AGENT, dict.fromkeys(names), now)


def host_uuid(database: Database, name: str) -> str:
    """Return a host's UUID."""
    return database.read(lambda c: str(testcases.target(c, name)[0].uuid))


PLUGINS = {
    plugin: {
        f"method_{number}": MethodDescription(
            description=f"Do what {plugin} does, in its way number {number}. path: a file's name;"
            " count: how often (1); fast: skip what takes long",
            schema={
                "type": "object",
                "properties": {
                    "path": {"type": "string", "minLength": 1, "maxLength": 4096},
                    "count": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "fast": {"type": "boolean"},
                },
                "required": ["path"],
                "additionalProperties": False,
            },
        )
        for number in range(5)
    }
    for plugin in ("linux_system", "build_server")
}


def _ini(values: dict[str, Any]) -> str:
    sections: dict[str, list[str]] = {"DEFAULT": []}
    for name, value in values.items():
        group, _, key = name.rpartition("__")
        if value is not None:
            sections.setdefault(group or "DEFAULT", []).append(f"{key} = {value}")
    return "\n".join(
        line for section, lines in sections.items() for line in (f"[{section}]", *lines, "")
    )
