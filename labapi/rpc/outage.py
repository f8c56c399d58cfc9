"""What an error of the message broker means, in the words of an operator: it names the broker."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

import amqp
from kombu.exceptions import OperationalError
from oslo_log import log

LOG = log.getLogger(__name__)

ERRORS = (amqp.exceptions.AMQPError, OperationalError, OSError)
AWAY = " is away: "
NO_QUEUE = (
    " has no queue for it any more: an operator has removed it, or the host"
    " (labapi-manage agent add HOST makes the queues of a host)"
)

_PORTS = {"amqp": 5672, "amqps": 5671}
_NODE_AWAY = "is down or inaccessible"  # RabbitMQ of the home of a classic queue
_UNREADABLE = "of [messaging] transport_url"
_AT_LOGIN = (0, 0)  # no method of a channel was refused, but the connection


class Contact:
    """Tells the log once of each outage of the broker, and of its end.

    :param name: of whoever lost contact
    :param where: the broker's address, as :func:`address` returns it
    :ivar trouble: what keeps it from the broker, empty if nothing does
    """

    def __init__(self, name: str, where: str) -> None:
        self._name = name
        self._where = where
        self._fault = ""
        self.trouble = ""

    def note(self, error: BaseException, connection: Any = None) -> None:
        """Log what ended a connection, once: an outage in a line, a fault with its traceback.

        :param connection: kombu's, None if there was none yet
        """
        # py-amqp shows a lost connection by an AttributeError, too; then it is not connected.
        lost = connection is not None and not connection.connected
        if lost or isinstance(error, ERRORS):
            before, self.trouble = self.trouble, said(error, self._where)
            # An outage has several faces: a lost connection, then refused ones, then timeouts.
            same = before == self.trouble or (AWAY in before and AWAY in self.trouble)
            if not same:
                LOG.warning("%s: %s", self._name, self.trouble)
        elif (fault := f"{type(error).__name__}: {error}") != self._fault:
            LOG.error("%s: cannot read its messages", self._name, exc_info=error)
            self._fault = fault

    def back(self) -> None:
        """Note that the broker is there."""
        if self.trouble:
            LOG.info("%s: the message broker %s is back", self._name, self._where)
        self.trouble = ""


def address(url: str) -> str:
    """Return ``host:port`` of the broker that a URL names; of several, with commas."""
    return ", ".join(map(_address, url.split(";")))


def shown(url: str) -> str:
    """Return a broker's URL without its password and its query; of several, with commas."""
    return ", ".join(map(_shown, url.split(";")))


def said(error: BaseException, where: str) -> str:
    """Return what happened.

    :param where: the broker's address, as :func:`address` returns it
    """
    broker = f"the message broker {where}"
    why = getattr(error, "reply_text", None) or getattr(error, "strerror", None) or str(error)
    why = why or type(error).__name__
    if isinstance(error, amqp.exceptions.AccessRefused):
        if getattr(error, "method_sig", None) in (None, _AT_LOGIN):
            return f"{broker} refused the user name or password of [messaging] transport_url"
        return f"{broker} refused it: {why}"
    if _NODE_AWAY in why:
        return f"{broker}{AWAY}a queue is on a node of its cluster that is down: {why}"
    if isinstance(error, amqp.exceptions.NotFound | amqp.exceptions.ConsumerCancelled):
        return f"{broker}{NO_QUEUE}"
    if isinstance(error, amqp.exceptions.NotAllowed):
        return f"{broker} refused the virtual host of [messaging] transport_url: {why}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {broker} failed: {why}"
    return f"{broker}{AWAY}{why}"


def _shown(url: str) -> str:
    parts = _parts(url)
    user = f"{parts.username}@" if parts.username else ""
    where = _address(url)
    return where if where == _UNREADABLE else f"{parts.scheme}://{user}{where}{parts.path}"


def _parts(url: str) -> SplitResult:
    return urlsplit(url if "://" in url else f"amqp://{url}")


def _address(url: str) -> str:
    parts = _parts(url)
    try:
        host, port = parts.hostname or "localhost", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:  # what looks like the host may be part of a password
        return _UNREADABLE
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return _UNREADABLE
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown
