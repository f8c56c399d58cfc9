"""Exchanges, queues and connections: everything here that depends on the broker's names.

The topic exchange ``labapi`` carries commands and hints, ``labapi.reports`` what agents say:

====================  ============================  =============================
routing key           queue                         read by
====================  ============================  =============================
``conductor``         ``labapi.conductor``          conductors
``agent.<host>``      ``labapi.agent.<host>``       the host's agent: cases to run
``control.<host>``    ``labapi.control.<host>``     the host's agent: cancel, introduce
====================  ============================  =============================

====================  ============================  =============================
``result.<host>``     ``labapi.report``             conductors
``output.<host>``     ``labapi.report``             conductors
``heartbeat.<host>``  ``labapi.heartbeat``          conductors
====================  ============================  =============================

Agents write to ``labapi.reports`` only, and nothing that they or the conductors take commands from
is bound to it: RabbitMQ before 4.0 checks the routing key that a user writes under, but not the
further keys in the headers CC and BCC, so whoever may write to a topic exchange reaches every queue
that is bound to it.

Results and output share a queue, so that a case's last words come after the ones before them.
The host stands last and whole, so that a host name with dots cannot be taken for another key, and
a broker's topic permissions can bind an agent to its own name. A third topic exchange,
``labapi.events``, announces changes of state (``testcase.<state>``) to whoever binds a queue to it.
"""

from __future__ import annotations

import copy
import re
import ssl
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import amqp
from kombu import Connection, Exchange, Queue, binding
from kombu.utils.url import parse_url
from oslo_config import cfg
from oslo_log import log

from labapi import tls
from labapi.exceptions import ConfigError
from labapi.rpc import buffered, in_process, outage
from labapi.rpc.dead_letters import DEAD_LETTERS
from labapi.rpc.frames import frame_handler
from labapi.rpc.messages import HOST_PATTERN

LOG = log.getLogger(__name__)

EXCHANGE = Exchange("labapi", type="topic", durable=True)
REPORTS = Exchange("labapi.reports", type="topic", durable=True)
EVENTS = Exchange("labapi.events", type="topic", durable=True)

_WAYS: dict[str, Any] = {
    "memory": in_process.Transport,
    "amqp": buffered.AMQP,
    "pyamqp": buffered.AMQP,
    "amqps": buffered.AMQPS,
}

HOST_NAME = re.compile(HOST_PATTERN, re.ASCII)
HOST_NAME_IS = "at most 200 letters, digits and . _ : -, of which the first is a letter or a digit"

BROKER_ERRORS = outage.ERRORS

CONDUCTOR = "conductor"
CONDUCTOR_QUEUE = Queue("labapi.conductor", EXCHANGE, routing_key=CONDUCTOR)
REPORT_QUEUE = Queue(
    "labapi.report",
    bindings=[
        binding(REPORTS, routing_key="result.#"),
        binding(REPORTS, routing_key="output.#"),
    ],
)
# What a heartbeat says is stale after a minute: no conductor should find hours of them.
HEARTBEAT_QUEUE = Queue(
    "labapi.heartbeat",
    REPORTS,
    routing_key="heartbeat.#",
    queue_arguments={"x-message-ttl": 60_000},
)

SHARED = (
    EXCHANGE,
    REPORTS,
    EVENTS,
    CONDUCTOR_QUEUE,
    REPORT_QUEUE,
    HEARTBEAT_QUEUE,
    DEAD_LETTERS,
)


def agent_queue(host: str) -> Queue:
    """Return the durable queue of cases for one host."""
    return Queue(f"labapi.agent.{host}", EXCHANGE, routing_key=agent_key(host))


def control_queue(host: str) -> Queue:
    """Return the durable queue of control messages for one host."""
    return Queue(f"labapi.control.{host}", EXCHANGE, routing_key=control_key(host))


def agent_key(host: str) -> str:
    """Return the routing key of cases for one host."""
    return f"agent.{host}"


def control_key(host: str) -> str:
    """Return the routing key of control messages for one host."""
    return f"control.{host}"


def sender(routing_key: str) -> str | None:
    """Return the host that a report comes from, None for a key of another kind of message.

    The broker lets an agent use the keys of its own host only, so this is what to believe; what
    the message says has to agree with it.
    """
    kind, _, host = routing_key.partition(".")
    if kind in ("result", "output", "heartbeat"):
        return host
    # The default exchange takes a queue's name as routing key; that does not tell the sender.
    return "" if routing_key in (REPORT_QUEUE.name, HEARTBEAT_QUEUE.name) else None


CLASSIC, QUORUM = "classic", "quorum"
# Such a queue has a copy on several nodes of a cluster. RabbitMQ 4 drops a message that it has
# given out twenty times, and it is given out again and again while the database is away.
_QUORUM_ARGUMENTS = {"x-queue-type": QUORUM, "x-delivery-limit": 1_000_000_000}


class Transport:
    """How this program reaches the broker; opens no connection by itself.

    :param conf: configuration with the ``[messaging]`` group
    :ivar url: of the broker; of several nodes, joined by semicolons
    :ivar address: host and port of the broker
    :ivar shown: its URL as it may be shown
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        options = conf.messaging
        self.url: str = options.transport_url
        self.address = outage.address(self.url)
        self.shown = outage.shown(self.url)
        self.connect_timeout: float = options.connect_timeout
        self.confirm_timeout: float = options.confirm_timeout
        self.heartbeat: int = options.heartbeat
        self.retry_interval_max: float = options.retry_interval_max
        self._quorum = options.queue_type == QUORUM
        self._urls = self.url.split(";")
        try:
            Connection(self.url).get_transport_cls()
        except (KeyError, ValueError, ImportError):
            raise ConfigError(
                "[messaging] transport_url is not the URL of a broker that kombu knows;"
                " for example amqp://user:password@host/vhost"
            ) from None
        self._tls = self._checked_tls(tls.files("messaging", options))

    def _checked_tls(self, files: tls.Files) -> dict[str, Any]:
        """Return py-amqp's options for TLS; without them it checks no server's name.

        :raises ConfigError: the URL and the files do not go together, or a file cannot be used
        """
        if any("ssl" in parse_url(url) for url in self._urls):
            raise ConfigError(
                "[messaging] transport_url: take the ssl options out of the URL, write amqps://,"
                " and name the files in ca_file, cert_file and key_file"
            )
        secure = {url.startswith("amqps:") for url in self._urls}
        if len(secure) > 1:
            raise ConfigError("[messaging] transport_url: all of its URLs are amqps://, or none is")
        if secure == {False}:
            if files:
                raise ConfigError(
                    "[messaging] ca_file, cert_file and key_file need a transport_url of amqps://"
                )
            return {}
        files.context()
        only = None if ";" in self.url else urlsplit(self.url).hostname
        return {
            "ssl": {
                "ca_certs": files.ca,
                "certfile": files.cert,
                "keyfile": files.key,
                "cert_reqs": ssl.CERT_REQUIRED,
                "server_hostname": only,  # None: that of the URL which is tried
            }
        }

    @property
    def in_process(self) -> bool:
        """Say whether the broker is a set of queues in this process."""
        return self.url.startswith("memory:")

    def said(self, error: BaseException) -> str:
        """Return what an error of the broker means."""
        return outage.said(error, self.address)

    def within(self, seconds: float) -> Transport:
        """Return the same way to the broker, with this limit on every wait."""
        hurried = copy.copy(self)
        hurried.connect_timeout = min(self.connect_timeout, seconds)
        hurried.confirm_timeout = min(self.confirm_timeout, seconds)
        return hurried

    def require_broker(self) -> None:
        """Refuse the in-process broker, for programs that are one service of several.

        :raises ConfigError: the URL is ``memory://``
        """
        if self.in_process:
            raise ConfigError(
                "[messaging] transport_url is memory://, which joins the services of one process"
                " only; give the URL of a broker, or run labapi-all"
            )

    def connect(
        self, *, heartbeat: bool, vhost: str | None = None, guarded: bool = False
    ) -> Connection:
        """Open a connection.

        :param guarded: read it so that no message, however malformed, ends it
        :param vhost: another virtual host than that of the URL
        :param heartbeat: have the broker watch it; the caller must call ``heartbeat_check``
        :raises BROKER_ERRORS: the broker cannot be reached within ``connect_timeout``
        """
        options: dict[str, Any] = {} if self.in_process else {"write_timeout": self.confirm_timeout}
        if guarded and not self.in_process:
            options["frame_handler"] = frame_handler

        def way(url: str) -> Connection:
            connection = Connection(
                url,
                transport=_WAYS.get(urlsplit(url).scheme),  # else kombu's own
                connect_timeout=self.connect_timeout,
                heartbeat=self.heartbeat if heartbeat else 0,
                transport_options=options,
                **self._tls,
            )
            if vhost is not None:  # as an argument, that of the URL would count
                connection.virtual_host = vhost
            return connection

        *nodes, last = self._urls
        for url in nodes:
            # kombu's own list of URLs would leave our transport behind with the first of them.
            try:
                return way(url).ensure_connection(max_retries=0, reraise_as_library_errors=False)
            except BROKER_ERRORS as error:
                LOG.debug("%s: %s", outage.address(url), error)
        connection = way(last)
        connection.connect()
        return connection

    def declare(self, connection: Connection, *queues: Queue) -> None:
        """Make sure that the exchanges, the conductors' queues and these queues exist.

        The conductors' queues are there for what is said before the first conductor starts.
        A user that may not configure them (an agent with a user of its own) relies on the operator
        having made them: publishing and consuming then say what is missing. A queue that is there
        already keeps its type.
        """
        entities = deque((*SHARED, *queues))
        while entities:
            with connection.channel() as channel:  # a refusal closes it
                try:
                    while entities:
                        entity = entities.popleft()
                        self.typed(entity)(channel).declare()
                except amqp.exceptions.AccessRefused:
                    LOG.debug("may not declare %s; taken as made by the operator", entity.name)
                except amqp.exceptions.PreconditionFailed as error:
                    LOG.warning(
                        "%s is there already, and differs from what [messaging] queue_type says;"
                        " it stays as it is: %s",
                        entity.name,
                        error.reply_text,
                    )

    def typed(self, entity: Exchange | Queue) -> Exchange | Queue:
        """Return a queue as operators want it; one that goes with its reader needs no copies."""
        if not self._quorum or not isinstance(entity, Queue) or entity.exclusive:
            return entity
        arguments = {**(entity.queue_arguments or {}), **_QUORUM_ARGUMENTS}
        return Queue(
            entity.name,
            entity.exchange,
            routing_key=entity.routing_key,
            bindings=entity.bindings,
            queue_arguments=arguments,
        )
