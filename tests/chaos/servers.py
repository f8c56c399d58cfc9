"""RabbitMQ and MariaDB on ports and in folders of their own, so that they can be killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import kombu
import pymysql

from labapi.rpc.transport import BROKER_ERRORS
from tests.processes import Process, free_port, until

START = 180.0  # seconds that a server may take to start on a busy machine


class Server:
    """A server in a process group of its own.

    :param folder: where it keeps what it keeps
    """

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: Process | None = None

    def command(self) -> list[str]:
        """Return what to start."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return its whole environment."""
        return dict(os.environ)

    def answers(self) -> bool:
        """Say whether it can be used."""
        raise NotImplementedError

    def start(self, *, wait: bool = True) -> None:
        """Start it."""
        log = self.folder / f"{self.name}.log"
        self.process = Process(self.command(), log, self.environment())
        if wait:
            until(self.answers, START, f"the start of {self.name}")

    def drop_connections(self) -> None:
        """Close all connections to it."""
        raise NotImplementedError

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        assert self.process is not None
        self.process.send(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.process.wait(60)

    def restart(self) -> None:
        """Start it again after it was killed; a leftover of the old one may still hold the port."""
        deadline = time.monotonic() + START
        while True:
            self.start(wait=False)
            assert self.process is not None
            while self.process.runs and time.monotonic() < deadline:
                if self.answers():
                    return
                time.sleep(0.2)
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} does not start again")
            time.sleep(0.5)


class MariaDBServer(Server):
    """A MariaDB with an empty database ``labapi``."""

    name = "mariadb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = folder / "mariadb"
        self.data.mkdir()
        shutil.chown(self.data, "mysql", "mysql")
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                "--user=mysql",
                f"--datadir={self.data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
            timeout=300,
        )
        self.url = f"mysql+pymysql://root@127.0.0.1:{self.port}/labapi"

    def command(self) -> list[str]:
        return [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={self.data}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.data}/s.sock",
            f"--pid-file={self.data}/pid",
        ]

    def answers(self) -> bool:
        try:
            self.execute("CREATE DATABASE IF NOT EXISTS labapi CHARACTER SET utf8mb4")
        except pymysql.MySQLError:
            return False
        return True

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement and return its rows."""
        with (
            pymysql.connect(
                host="127.0.0.1", port=self.port, user="root", connect_timeout=300, read_timeout=60
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return list(cursor.fetchall())

    def drop_connections(self) -> None:
        """End all connections but this one."""
        for number, *_ in self.execute("SHOW PROCESSLIST"):
            with contextlib.suppress(pymysql.MySQLError):
                self.execute(f"KILL {number}")


class RabbitMQServer(Server):
    """A RabbitMQ node of its own."""

    name = "rabbitmq"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.home = folder / "rabbitmq"
        self.home.mkdir()
        (self.home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        self.distribution_port = free_port()
        self.node = f"chaos{self.port}@localhost"
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} -setcookie labapi-chaos"
            ),
            "RABBITMQ_CTL_ERL_ARGS": "-setcookie labapi-chaos",
        }

    def command(self) -> list[str]:
        # The wrapper in /usr/sbin changes to the user rabbitmq; the node's folder is ours.
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def answers(self) -> bool:
        try:
            with kombu.Connection(self.url, connect_timeout=30) as connection:
                connection.connect()
        except BROKER_ERRORS:
            return False
        return True

    def drop_connections(self) -> None:
        """Close all connections."""
        subprocess.run(
            [
                "/usr/lib/rabbitmq/bin/rabbitmqctl",
                "-n",
                self.node,
                "close_all_connections",
                "chaos",
            ],
            env=self.environment(),
            capture_output=True,
            timeout=300,
            check=False,
        )
