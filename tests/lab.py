"""A whole lab for a test: database, broker, conductor, agent and the API's WSGI application."""

from __future__ import annotations

import datetime
import shlex
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pymysql
import webob
from kombu.transport import memory
from sqlalchemy import Connection

from labapi import config
from labapi.agent.manager import Agent
from labapi.api import load
from labapi.api.backend.backend import Backend
from labapi.conductor.manager import Conductor
from labapi.db import attempts, migration, queue, services, testcases
from labapi.db.session import Database
from labapi.rpc import signing
from labapi.rpc.transport import Transport
from tests.processes import until

ROOT = Path(__file__).parents[1]

HOST = "lab-1"
ADDRESS = "192.0.2.10"


class Lab:
    """A lab that runs in the test's own process.

    :param folder: an empty folder for its state
    :param options: ``group__option`` → value
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        private, public = folder / "conductor.key", folder / "conductor.key.pub"
        if not private.exists():
            signing.create_key(private, public)
        defaults: dict[str, Any] = {
            "conductor__signing_key": str(private),
            "agent__trusted_keys": [str(public)],
            "state_path": str(folder),
            "agent__host": HOST,
            "agent__address": ADDRESS,
            "agent__kill_grace": 0.5,
            "agent__slots": 8,
            "conductor__sweep_interval": 0.3,
            "messaging__connect_timeout": 60.0,
            "messaging__confirm_timeout": 60.0,
            "database__timeout": 60.0,
            "api__paste_config": str(ROOT / "etc" / "api-paste.ini"),
        }
        self.conf = config.new(**{**defaults, **options})
        self.conf([], project="labapi", default_config_files=[])
        self.folder = folder
        self.transport = Transport(self.conf)
        self.database = Database(self.conf)

    def start(self, *, agent: bool = True) -> Lab:
        """Start everything and wait until the conductor and the agent's host are known."""
        migration.upgrade(self.database)
        self.backend = Backend.of(self.conf, self.transport, self.database)
        self.app = load.load(self.conf, self.backend)
        self.conductor = Conductor(self.conf, self.transport, self.database)
        self.backend.start()
        self.conductor.start()
        until(lambda: self.database.read(services.every, binary=services.CONDUCTOR))
        self.agent: Agent | None = None
        if agent:
            self.start_agent()
        return self

    def app_of(self, project: str, roles: str = "member, reader", **whitelist: str) -> Any:
        """Return the API as the users of a project have it.

        :param roles: of its users
        :param whitelist: options of the filter that guards hosts
        """
        text = Path(self.conf.api.paste_config).read_text()
        noauth = "use = egg:labapi-middleware#noauth\n"
        guard = "use = egg:labapi-middleware#ip_whitelist\n"
        identity = f"project_id = {project}\nroles = {roles}\ninsecure_allow_remote = true\n"
        options = "".join(f"{name} = {value}\n" for name, value in whitelist.items())
        text = text.replace(noauth, f"{noauth}{identity}")
        paste = self.folder / f"api-paste-{uuid.uuid4()}.ini"
        paste.write_text(text.replace(guard, f"{guard}{options}"))
        return load.load(self.conf, self.backend, paste)

    def start_agent(self) -> None:
        """Start the agent and wait until its host is known."""
        self.agent = Agent(self.conf, self.transport)
        self.agent.start()
        until(lambda: self.database.read(testcases.target, HOST))

    def stop(self) -> None:
        """Stop everything; what the in-process broker holds is dropped."""
        if self.agent is not None:
            self.agent.stop()
        self.conductor.stop()
        self.backend.stop()
        if self.transport.in_process:
            empty_in_process_broker()


def empty_in_process_broker() -> None:
    """Forget all queues of ``memory://``; kombu keeps them for the life of the process."""
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()


def ask(
    app: Any,
    path: str,
    body: Any = None,
    *,
    method: str = "",
    client: str = "127.0.0.1",
    **headers: str,
) -> webob.Response:
    """Send a request to the API below ``/v2.1`` and return its answer.

    :param body: JSON; with one the method is POST unless it is given
    :param client: the address that it comes from
    :param headers: with underscores for hyphens
    """
    request = webob.Request.blank(
        f"/v2.1{path}",
        method=method or ("GET" if body is None else "POST"),
        remote_addr=client,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    if body is not None:
        request.json = body
        request.content_type = "application/json"
    return request.get_response(app)


def claim(database: Database, host: str, count: int, now: datetime.datetime) -> list[Any]:
    """Claim the oldest cases that wait for a host, whatever room it has, and return their rows."""

    def first(connection: Connection) -> list[Any]:
        waiting = sorted(queue.waiting(connection, [host], count), key=lambda row: row.id)
        ids = [row.id for row in waiting[:count]]
        moved = queue.claim(connection, ids, {}, f"{uuid.uuid4().hex}-", now) if ids else set()
        return [testcases.get(connection, row.uuid) for row in waiting if row.id in moved]

    return database.write(first)


def wait_again(database: Database, case: str, why: str) -> None:
    """Let a case wait again, as after an attempt that was lost."""

    def again(connection: Connection) -> None:
        row = attempts.lock(connection, [case])[case]
        attempts.rerun(connection, [attempts.Again(row, why)])

    database.write(again)


class Gate:
    """A place where the script of a case waits until the test lets it go on.

    :param file: is not there while the gate is closed
    :ivar wait: the shell command that waits
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.wait = f"until test -e {shlex.quote(str(file))}; do sleep 0.02; done"

    def open(self) -> None:
        """Let it go on."""
        self._file.touch()


class MariaDB:
    """A database of a test's own on a MariaDB server."""

    def __init__(self, host: str = "127.0.0.1", port: int = 3306, user: str = "root") -> None:
        self._server = {"host": host, "port": port, "user": user, "connect_timeout": 60}
        self.name = f"labapi_test_{uuid.uuid4().hex[:12]}"
        self.url = f"mysql+pymysql://{user}@{host}:{port}/{self.name}"

    def create(self) -> MariaDB:
        """Create it."""
        self.execute(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4")
        return self

    def drop(self) -> None:
        """Drop it."""
        self.execute(f"DROP DATABASE IF EXISTS {self.name}")

    def execute(self, statement: str) -> None:
        """Run one statement on the server."""
        with pymysql.connect(**self._server) as connection, connection.cursor() as cursor:
            cursor.execute(statement)


class RabbitMQ:
    """A virtual host of a test's own on a RabbitMQ server on this machine."""

    def __init__(self, address: str = "127.0.0.1:5672") -> None:
        self.name = f"labapi-test-{uuid.uuid4().hex[:12]}"
        self.url = f"amqp://guest:guest@{address}/{self.name}"

    def create(self) -> RabbitMQ:
        """Create it and let the default user in."""
        rabbitmqctl("add_vhost", self.name)
        rabbitmqctl("set_permissions", "-p", self.name, "guest", ".*", ".*", ".*")
        return self

    def drop(self) -> None:
        """Delete it with all that is in it."""
        rabbitmqctl("delete_vhost", self.name)


def rabbitmqctl(*args: str) -> str:
    """Run rabbitmqctl and return what it prints."""
    done = subprocess.run(
        ["rabbitmqctl", "-q", *args], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise RuntimeError(f"rabbitmqctl {args[0]}: {done.stdout}{done.stderr}")
    return done.stdout
