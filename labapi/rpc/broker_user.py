"""What RabbitMQ lets the user of one agent do: read its own queues, and report for its own host.

An agent's password is known to everybody who is root on its machine. With it one can pretend to be
that host, and nothing more: the user cannot read other hosts' queues, cannot write other hosts'
reports or commands of any kind, and cannot declare, bind or delete anything.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from kombu import Connection

from labapi.exceptions import ConfigError
from labapi.rpc.transport import REPORTS, Transport, agent_queue, control_queue

TIMEOUT = 60.0  # seconds for one rabbitmqctl
NOTHING = "^$"


@dataclass(frozen=True, slots=True)
class Step:
    """One call of rabbitmqctl.

    :ivar args: its arguments
    :ivar stdin: what it reads: a password in the arguments would show in the list of processes
    :ivar done: part of the error that says that there is nothing to do any more
    """

    args: tuple[str, ...]
    stdin: str | None = None
    done: str | None = None

    def run(self) -> None:
        """Run it.

        :raises ConfigError: it is not there, takes too long or fails
        """
        try:
            done = subprocess.run(
                ["rabbitmqctl", "-q", *self.args],  # noqa: S607 (where it is, is the system's)
                input=f"{self.stdin or ''}\n",
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"rabbitmqctl {self.args[0]}: {error}") from error
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())
            if self.done and self.done in said:
                return
            raise ConfigError(f"rabbitmqctl {self.args[0]}: {said}")

    def __str__(self) -> str:
        """Return a line for a shell."""
        line = shlex.join(["rabbitmqctl", *self.args])
        return line if self.stdin is None else f"printf '%s\\n' {shlex.quote(self.stdin)} | {line}"


def user_of(host: str) -> str:
    """Return the name of an agent's user."""
    return f"labapi-agent-{host}"


def creation(host: str, vhost: str, password: str) -> list[Step]:
    """Return the steps that make an agent's user."""
    user = user_of(host)
    return [
        Step(("add_user", user), password),
        # Without this a user of a fresh server may have been given rights by a default.
        Step(("set_user_tags", user)),
        *rights(host, vhost),
    ]


def rights(host: str, vhost: str) -> list[Step]:
    """Return the steps that say what an agent's user may do, whatever it could do before."""
    user, name = user_of(host), re.escape(host)
    queues = rf"^labapi\.(agent|control)\.{name}\z"
    keys = rf"^(result|output|heartbeat)\.{name}\z"
    exchange = rf"^{re.escape(REPORTS.name)}\z"
    return [
        Step(("set_permissions", "-p", vhost, user, NOTHING, exchange, queues)),
        Step(("set_topic_permissions", "-p", vhost, user, REPORTS.name, keys, NOTHING)),
    ]


def removal(host: str) -> list[Step]:
    """Return the steps that remove an agent's user and end its connections."""
    user = user_of(host)
    return [
        Step(("delete_user", user), done="does not exist"),
        Step(("close_all_user_connections", user, "the user was removed")),
    ]


def vhost_of(url: str) -> str:
    """Return the virtual host that a broker's URL names."""
    return str(Connection(url).virtual_host or "/")


def url_for(url: str, host: str, vhost: str, password: str) -> str:
    """Return a broker's URL with an agent's user instead of the one that it names; or several."""
    return ";".join(_url_for(one, host, vhost, password) for one in url.split(";"))


def _url_for(url: str, host: str, vhost: str, password: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    login = f"{quote(user_of(host), safe='')}:{quote(password, safe='')}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{login}@{where}/{quote(vhost, safe='')}{query}"


def declare_queues(transport: Transport, connection: Connection, host: str) -> None:
    """Make the queues of a host, which its agent may not make."""
    for queue in (agent_queue(host), control_queue(host)):
        with connection.channel() as channel:
            transport.typed(queue)(channel).declare()


def delete_queues(connection: Connection, host: str) -> None:
    """Delete the queues of a host with what is in them."""
    for queue in (agent_queue(host), control_queue(host)):
        with connection.channel() as channel:
            queue(channel).delete()
